"""A task sets what makes runs comparable, yields to explicit flags, and is recorded."""

from __future__ import annotations

import pytest

from loadgen_service.cli.settings_sources import read_settings
from loadgen_service.core.settings import Settings
from loadgen_service.errors import SettingsError


def settings(**flags: object) -> Settings:
    return read_settings(Settings, flags, {}, None)


def test_a_task_brings_its_data_and_the_limit_of_the_scenario():
    found = settings(task="imagenet-sample")
    assert (found.task, found.dataset) == ("imagenet-sample", "imagenet-sample")
    assert found.target_latency_ms == 100
    assert found.accuracy_target == 0
    assert settings(task="imagenet-sample", scenario="offline").target_latency_ms == 0


def test_accuracy_is_asked_for_where_it_is_measured():
    assert settings(task="digits", mode="accuracy").accuracy_target == 0.97


def test_what_the_user_says_wins():
    assert settings(task="digits", target_latency_ms="50").target_latency_ms == 50


def test_an_unknown_task_is_one_line():
    with pytest.raises(SettingsError, match=r"task nothing: .*imagenet-sample"):
        settings(task="nothing")
