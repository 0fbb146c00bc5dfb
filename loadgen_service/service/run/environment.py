"""Where a run happened: versions, kernel, processor and its governor, for the summary."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

PACKAGES: Final = ("numpy", "grpcio", "uvloop", "pyarrow", "pydantic", "tritonclient")
"""Those whose version may move a figure."""
_CPU_INFO: Final = Path("/proc/cpuinfo")
_GOVERNOR: Final = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")


def environment() -> dict[str, str]:
    """Of the service's own host and process; a word where the host does not tell."""
    return {
        "loadgen_service": _version("loadgen-service"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "host": platform.node(),
        "cpu_count": str(os.cpu_count() or 0),
        "cpu": _cpu_model(),
        "kernel": platform.release(),
        "governor": _first_line(_GOVERNOR) or "not told (a virtual machine, or no scaling)",
        **{name: _version(name) for name in PACKAGES},
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _cpu_model() -> str:
    try:
        lines = _CPU_INFO.read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def _first_line(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
