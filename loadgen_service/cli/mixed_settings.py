"""The streams of a mixed run from a settings file: what is of all, then each stream's own.

Precedence: defaults, the file's top, the stream's part, environment, flags.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from loadgen_service.cli.settings_sources import (
    ENVIRONMENT_PREFIX,
    STREAMS,
    join_settings,
    known_settings,
    load_mapping,
)
from loadgen_service.core.settings import Settings
from loadgen_service.core.settings.mixed_streams import (
    RUN_FIELDS,
    StreamSettings,
    has_one_worker,
    require_mixable,
    require_names,
    spread_workers,
)
from loadgen_service.errors import SettingsError

NAME: Final = "name"
WORKERS: Final = "workers"
SCHEDULE_SEED: Final = "schedule_rng_seed"


def read_streams(
    path: str | None, flags: Mapping[str, object], environment: Mapping[str, str]
) -> list[StreamSettings]:
    """The streams that a settings file names, with their workers; none without ``streams``.

    ``workers`` beside the streams, in the environment or by flag is the number of all of them; in a
    stream it is the stream's own. Raises SettingsError naming the stream and the setting.
    """
    content = load_mapping(path) if path else {}
    if STREAMS not in content:
        return []
    parts = _parts(content.pop(STREAMS), str(path))
    require_names([name for name, _ in parts])
    top = known_settings(Settings, content, f"--config {path}")
    source = _Source(str(path), top, flags, environment)
    streams = [source.stream(name, own, {}) for name, own in parts]
    seeds = [_schedule_seed(one, index) for index, one in enumerate(streams)]
    counts = spread_workers(
        source.all_workers(),
        {one.name: _own_workers(one, own) for one, (_, own) in zip(streams, parts, strict=True)},
        {one.name for one in streams if has_one_worker(one.settings)},
    )
    return [
        source.stream(name, own, {WORKERS: count, **seed})
        for (name, own), count, seed in zip(parts, counts, seeds, strict=True)
    ]


def _schedule_seed(stream: StreamSettings, index: int) -> dict[str, object]:
    """Arrivals of its own for each stream: by one seed, streams of equal rates would all ask at the
    same instants. A seed that somebody gave, or MLPerf's files, stands.
    """
    if SCHEDULE_SEED in stream.settings.model_fields_set:
        return {}
    return {SCHEDULE_SEED: stream.settings.schedule_rng_seed + index}


def _own_workers(stream: StreamSettings, own: Mapping[str, object]) -> int | None:
    return stream.settings.workers if WORKERS in own else None


@dataclass(frozen=True, slots=True)
class _Source:
    """What stands beside the streams of one file, and what overrides both."""

    path: str
    top: Mapping[str, object]
    flags: Mapping[str, object]
    environment: Mapping[str, str]

    def all_workers(self) -> int | None:
        """How many workers all streams together are to have; None where nobody says."""
        asked = join_settings(
            Settings, [(f"in {self.path}", _only(self.top))], _only(self.flags), self.environment
        )
        return asked.workers if WORKERS in asked.model_fields_set else None

    def stream(
        self, name: str, own: Mapping[str, object], decided: Mapping[str, object]
    ) -> StreamSettings:
        """One stream; ``decided``: what follows from its position among the streams."""
        known = known_settings(Settings, own, f"--config {self.path}: stream {name}")
        for field in RUN_FIELDS:
            if field in known:
                raise SettingsError(
                    f"stream {name}: {field}: is of the whole run; give it beside streams"
                )
        layers = [
            (f"in {self.path}", _without(self.top)),
            (f"in stream {name} in {self.path}", known),
        ]
        try:
            settings = join_settings(
                Settings, layers, {**_without(self.flags), **decided}, self._environment()
            )
        except SettingsError as error:
            raise SettingsError(f"stream {name}: {error}") from None
        stream = StreamSettings(name, settings)
        require_mixable(stream)
        return stream

    def _environment(self) -> dict[str, str]:
        """Without the number of all workers."""
        own = ENVIRONMENT_PREFIX + WORKERS.upper()
        return {name: value for name, value in self.environment.items() if name != own}


def _only(values: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in values.items() if name == WORKERS}


def _without(values: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in values.items() if name != WORKERS}


def _parts(given: object, path: str) -> list[tuple[str, dict[str, object]]]:
    if not isinstance(given, list) or not all(isinstance(one, dict) for one in given):
        raise SettingsError(
            f"--config {path}: streams: give a list, each with a name and its settings, such as "
            "- {name: chat, model: llama}"
        )
    parts = []
    for position, one in enumerate(given):
        part = {str(key): value for key, value in one.items()}
        if not isinstance(part.get(NAME), str):
            raise SettingsError(f"--config {path}: streams[{position}]: name: give it a name")
        parts.append((str(part.pop(NAME)), part))
    return parts
