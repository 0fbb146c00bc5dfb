"""Starts one server of the matrix by hand, with its models, and says how to aim at it.

usage: start_server.py NAME. Needs its environment: make NAME. Ends with Ctrl-C or SIGTERM.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import tempfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "triton"))

from kserve_servers import SERVERS
from stream_servers import litserve, llama, triton_tokens

MATRIX = {**SERVERS, "litserve": litserve, "llama": llama, "triton-tokens": triton_tokens}
MODEL = {"litserve": "echo", "llama": "smollm2-135m", "triton-tokens": "tokens"}


def main(name: str) -> int:
    """Serve until a signal; 2 for a name that is not in the matrix or not installed."""
    if name not in MATRIX:
        print(f"start_server: no {name!r}; servers are {', '.join(MATRIX)}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        serve(name)
    except pytest.skip.Exception:
        target = name.removesuffix("-tokens")
        print(f"start_server: {name} is not installed; run: make {target}", file=sys.stderr)
        return 2
    return 0


def serve(name: str) -> None:
    """Print an address and a model for each protocol, and wait for the signal."""
    with tempfile.TemporaryDirectory() as folder, MATRIX[name](Path(folder)) as served:
        for protocol, address in served.at.items():
            print(f"--sut {protocol}://{address} --model {MODEL.get(name, 'digits')}", flush=True)
        print("Ctrl-C ends it", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) == 2 else ""))
