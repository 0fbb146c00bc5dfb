"""Mixed traffic: several streams in one run, each with settings of its own, from one common start.

Decides which streams may stand beside each other, and how workers are spread over them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from loadgen_service.core.scenarios import SCENARIOS
from loadgen_service.core.settings import Settings
from loadgen_service.errors import SettingsError

STREAMS_MAX: Final = 32
"""Each stream has a process of its own at least, and a line of its own in every table."""

RUN_FIELDS: Final = ("out", "lease_timeout_ms")
"""Settings of the whole mixed run, which no stream can have for itself."""

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """One stream: its name, which is its folder too, and its settings, ``workers`` among them."""

    name: str
    settings: Settings


def require_names(names: Sequence[str]) -> None:
    """Raise SettingsError unless there are streams, each with a name of its own."""
    if not names:
        raise SettingsError("streams: name at least one, such as - {name: chat, model: ...}")
    if len(names) > STREAMS_MAX:
        raise SettingsError(f"streams: {len(names)} of them; at most {STREAMS_MAX} fit one run")
    for name in names:
        if not _NAME.fullmatch(name):
            raise SettingsError(
                f"streams: name {name!r} cannot name a folder; use up to 40 letters, digits, "
                "dots, dashes and underscores, a letter or digit first"
            )
    # folders of some file systems do not tell letters' case
    for name, count in Counter(name.lower() for name in names).items():
        if count > 1:
            raise SettingsError(
                f"streams: {count} of them are named {name}; give each its own name"
            )


def require_mixable(stream: StreamSettings) -> None:
    """Raise SettingsError for a stream that cannot stand beside others, or names no target."""
    name, settings = stream.name, stream.settings
    if not settings.sut:
        raise SettingsError(f"stream {name}: sut: name at least one, such as grpc://127.0.0.1:8001")
    if not settings.model:
        raise SettingsError(f"stream {name}: model: name the model to ask, such as resnet50")
    if settings.mode in ("submission", "find_peak"):
        raise SettingsError(
            f"stream {name}: mode: {settings.mode} is several series one after another, and a "
            "mixed run has one common start; use performance or accuracy"
        )
    if settings.engine != "native":
        raise SettingsError(
            f"stream {name}: engine: {settings.engine} cannot be mixed: the official LoadGen "
            "knows no other traffic than its own; use native"
        )


def spread_workers(total: int | None, own: Mapping[str, int | None], single: set[str]) -> list[int]:
    """Workers of each stream, in order. A worker belongs to one stream and issues nothing else.

    ``own``: what each asks for itself, None: nothing; ``single``: streams whose scenario has one
    issuing worker. ``total`` (None: not said) is spread evenly over the others.
    Raises SettingsError.
    """
    asked = {name: count or (1 if name in single else 0) for name, count in own.items()}
    if total is None:
        return [count or 1 for count in asked.values()]
    rest, open_ones = total - sum(asked.values()), [name for name, n in asked.items() if not n]
    if rest < len(open_ones):
        raise SettingsError(
            f"workers: {total} for {len(asked)} streams ({', '.join(asked)}); every stream has "
            f"workers of its own, so give at least {sum(count or 1 for count in asked.values())}"
        )
    if rest and not open_ones:
        raise SettingsError(
            f"workers: {total}, but the streams ask for {total - rest}; leave out one of the two"
        )
    for place, name in enumerate(open_ones):
        asked[name] = rest // len(open_ones) + (place < rest % len(open_ones))
    return list(asked.values())


def has_one_worker(settings: Settings) -> bool:
    """Whether only one worker can issue this scenario."""
    return SCENARIOS[settings.scenario].one_worker
