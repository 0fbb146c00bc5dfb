"""How a script's test calls are run: chosen by argument, by environment, or by default."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields, replace
from typing import Final

from loadgen_service.errors import UserError

PREFIX: Final = "LOADGEN_BINDING_"
WAYS: Final = ("run", "serve")


@dataclass(frozen=True, slots=True)
class Choice:
    """How test calls are run. Environment: ``LOADGEN_BINDING_`` and the name in capitals.

    ``way``: run (our engine, in this process) or serve. run: ``out`` is the run directory (empty: a
    new one under ``results``), ``timeout_ms`` ends a sample that is never answered. serve:
    ``model`` is the served name, ``inputs`` the tensors that come over the network instead of a
    sample number (NAME:DATATYPE:DIM,DIM;...), ``flags`` go to sut-server (--host, --port, TLS),
    ``max_samples`` is the most that one call of the script gets.
    """

    way: str = "run"
    out: str = ""
    results: str = "results"
    timeout_ms: int = 3_600_000
    model: str = "mlperf"
    inputs: str = ""
    flags: str = ""
    max_samples: int = 64


_CONFIGURED: Final[dict[str, object]] = {}


def configure(**choices: object) -> None:
    """Choose by argument what the environment would; see ``Choice``. Raises UserError."""
    known = {one.name for one in fields(Choice)}
    for name in choices:
        if name not in known:
            raise UserError(f"configure: no {name}; there are {', '.join(sorted(known))}")
    _CONFIGURED.update(choices)


def chosen() -> Choice:
    """What holds now. Raises UserError naming a value that does not fit."""
    values: dict[str, object] = {}
    for one in fields(Choice):
        value = _CONFIGURED.get(one.name, os.environ.get(PREFIX + one.name.upper(), one.default))
        try:
            values[one.name] = int(str(value)) if isinstance(one.default, int) else str(value)
        except ValueError:
            raise UserError(f"{PREFIX}{one.name.upper()}: {value!r} is no number") from None
    choice = replace(Choice(), **values)  # type: ignore[arg-type]
    if choice.way not in WAYS:
        raise UserError(f"{PREFIX}WAY: {choice.way!r}; use one of {', '.join(WAYS)}")
    return choice
