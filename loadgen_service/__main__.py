"""``python -m loadgen_service`` is the ``loadgen`` command."""

import sys

from loadgen_service.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
