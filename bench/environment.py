"""Where and on what was measured: figures of two environments do not belong in one table."""

from __future__ import annotations

import contextlib
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from processes import AIPERF_VENV, BENCH_VENV, MissingPeer, RowFailed, output_of


def machine() -> dict[str, str | int | None]:
    """Processor, kernel and interpreter."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": f"{platform.python_version()} ({platform.python_compiler()})",
    }


def versions() -> dict[str, str]:
    """Of everything that was compared."""
    found = {}
    for name in ("loadgen-service", "grpcio", "tritonclient", "uvloop", "numpy", "onnxruntime",
                 "mlcommons-loadgen", "protobuf"):  # fmt: skip
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    with contextlib.suppress(MissingPeer, RowFailed):
        found["h2load"] = output_of(["h2load", "--version"], 0).strip()
    if (BENCH_VENV / "bin" / "perf_analyzer").exists():
        found["perf_analyzer"] = "2.41.0"
    for path in AIPERF_VENV.glob("lib/*/site-packages/aiperf-*.dist-info"):
        found["aiperf"] = path.name.removeprefix("aiperf-").removesuffix(".dist-info")
    return found


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()
