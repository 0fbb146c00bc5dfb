"""Whole runs against a Triton server."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

RUN_S = 110.0


TOP1 = 0.9
"""What ONNX Runtime alone gets right of the twenty images: 18."""


def run(address: str, out: Path, *flags: str, scheme: str = "grpc") -> dict:
    """The summary of ``loadgen run`` against ``address``; exit 0 or 1, never less."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "loadgen_service", "run", "--json", "--out", str(out)),
            *("--sut", f"{scheme}://{address}", "--model", "efficientnet-lite0"),
            *("--dataset", "imagenet-sample", *flags),
        ],
        capture_output=True,
        text=True,
        timeout=RUN_S,
    )
    assert done.returncode in (0, 1), done.stderr
    return json.loads(done.stdout)
