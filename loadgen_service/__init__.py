"""loadgen: MLPerf LoadGen's measurement, over a network. Importing this package does nothing.

``open_run``, ``run``, ``Report`` and ``Settings`` are loaded when they are first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from loadgen_service.version import __version__

if TYPE_CHECKING:
    from loadgen_service.api import Report, Settings, open_run, run

__all__ = ["Report", "Settings", "__version__", "open_run", "run"]


def __getattr__(name: str) -> object:
    if name in __all__:
        from loadgen_service import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
