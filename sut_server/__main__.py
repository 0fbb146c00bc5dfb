"""``python -m sut_server`` is the command ``sut-server``."""

import sys

from sut_server.main import main

sys.exit(main())
