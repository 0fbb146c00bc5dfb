"""``loadgen worker``: one issuing process of a LoadGen service, on any host."""

from __future__ import annotations

from collections.abc import Sequence


def main(argv: Sequence[str]) -> int:
    """Serve a coordinator until told to leave; returns the exit code."""
    from loadgen_service.cli.memory import keep_batch_memory
    from loadgen_service.worker.process import main as worker_main

    keep_batch_memory()
    return worker_main(argv)
