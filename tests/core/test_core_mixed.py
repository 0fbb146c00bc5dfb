"""Which streams may stand beside each other, and who gets which workers."""

from __future__ import annotations

import pytest

from loadgen_service.core.settings import Settings
from loadgen_service.core.settings.mixed_streams import (
    STREAMS_MAX,
    StreamSettings,
    require_mixable,
    require_names,
    spread_workers,
)
from loadgen_service.errors import SettingsError


def settings(**changes: object) -> Settings:
    return Settings.model_validate({"sut": ["grpc://h:1"], "model": "m", **changes})


def test_names_become_folders_that_differ_on_every_file_system() -> None:
    require_names(["chat", "images-2", "v1.5_b"])
    for bad in ("", "../up", ".hidden", "a/b", "x" * 41, "a b"):
        with pytest.raises(SettingsError, match="cannot name a folder"):
            require_names(["chat", bad])
    with pytest.raises(SettingsError, match="2 of them are named chat"):
        require_names(["chat", "Chat"])
    with pytest.raises(SettingsError, match="name at least one"):
        require_names([])
    with pytest.raises(SettingsError, match="at most 32"):
        require_names([f"s{i}" for i in range(STREAMS_MAX + 1)])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sut": []}, "stream chat: sut: name at least one"),
        ({"model": ""}, "stream chat: model: name the model"),
        ({"mode": "submission"}, "stream chat: mode: submission is several series"),
        ({"mode": "find_peak", "scenario": "server"}, "stream chat: mode: find_peak is several"),
        ({"engine": "mlcommons"}, "stream chat: engine: mlcommons cannot be mixed"),
    ],
)
def test_a_stream_that_cannot_be_mixed_is_named(changes: dict[str, object], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        require_mixable(StreamSettings("chat", settings(**changes)))


def test_each_stream_has_a_worker_where_nobody_says_more() -> None:
    assert spread_workers(None, {"a": None, "b": 3, "c": None}, set()) == [1, 3, 1]


def test_a_total_is_spread_over_the_streams_that_ask_for_none() -> None:
    assert spread_workers(8, {"a": None, "b": 3, "c": None}, set()) == [3, 3, 2]
    assert spread_workers(4, {"a": None, "b": None}, {"b"}) == [3, 1]


@pytest.mark.parametrize(
    ("total", "own", "said"),
    [
        (1, {"a": None, "b": None}, "give at least 2"),
        (3, {"a": 3, "b": None}, "give at least 4"),
        (5, {"a": 1, "b": 2}, "but the streams ask for 3"),
        (2, {"a": 1, "b": 2}, "give at least 3"),
    ],
)
def test_a_total_that_does_not_fit_is_refused(
    total: int, own: dict[str, int | None], said: str
) -> None:
    with pytest.raises(SettingsError, match=said):
        spread_workers(total, own, set())
