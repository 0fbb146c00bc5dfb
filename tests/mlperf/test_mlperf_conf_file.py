"""The configuration parser, line by line, and against the official one."""

from __future__ import annotations

import pathlib

import mlperf_loadgen
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loadgen_service.mlperf.conf.parser import as_integer, as_number, parse_conf


@pytest.mark.parametrize(
    "line",
    ["# a comment", "#alone", "a.b.c=5", "", "   ", "a.b.c", "a.b.c # note", "a.b.c ="],
)
def test_lines_without_a_value_say_nothing(line: str) -> None:
    table = parse_conf([line])
    assert not table.values
    assert not table.errors


@pytest.mark.parametrize("line", ["#text more", "a.b.c = 5 # note", "a.b.c = five", "a.b.c : 5"])
def test_a_bad_line_names_itself_and_voids_the_file(line: str) -> None:
    table = parse_conf(["*.*.min_duration = 5", line])
    assert [error.line_number for error in table.errors] == [2]
    assert not table.values


def test_the_last_number_and_the_last_line_win() -> None:
    assert parse_conf(["a.b.c = 5 6"]).values == {"a.b.c": "6"}
    assert parse_conf(["a.b.c = 5", "a.b.c = 7"]).values == {"a.b.c": "7"}


def test_a_scenarios_wildcard_beats_a_models() -> None:
    table = parse_conf(["m.*.k = 1", "*.Server.k = 2", "*.*.k = 3"])
    assert table.find("m", "Server", "k") == "2"
    assert table.find("m", "Offline", "k") == "1"
    assert table.find("n", "Offline", "k") == "3"
    assert table.find("n", "Offline", "other") is None


@pytest.mark.parametrize(
    ("token", "value"), [("0x10", 16), ("010", 8), ("1e3", 1), ("0.5", 0), ("-1", 2**64 - 1)]
)
def test_integers_are_read_as_c_reads_them(token: str, value: int) -> None:
    assert as_integer(token) == value


def test_numbers_are_read_as_c_reads_them() -> None:
    assert as_number("0x10") == 16.0
    assert as_number("1e-3") == 0.001


words = st.sampled_from(
    ["*.*.min_duration", "m.*.min_duration", "*.Server.min_duration", "m.Server.min_duration",
     "m.Server.target_qps", "*.Server.target_qps", "=", "#", "#x", "5", "0x1F", "010", "09", "1e3",
     "2.5", ".5", "7.", "x", "5x", "=5"]
)  # fmt: skip


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(st.lists(words, max_size=5).map(" ".join), max_size=4))
def test_the_official_parser_reads_the_same(lines: list[str], tmp_path: pathlib.Path) -> None:
    path = tmp_path / "user.conf"
    path.write_text("\n".join(lines) + "\n")
    theirs = mlperf_loadgen.TestSettings()
    accepted = theirs.FromConfig(str(path), "m", "Server", 2) == 0
    table = parse_conf(lines)
    assert accepted == (not table.errors)
    duration = table.find("m", "Server", "min_duration")
    rate = table.find("m", "Server", "target_qps")
    assert theirs.min_duration_ms == (10_000 if duration is None else as_integer(duration))
    assert theirs.server_target_qps == (1.0 if rate is None else as_number(rate))


def test_only_the_blanks_of_c_separate_tokens() -> None:
    for blank in "\x1c\x1d\x1e\x1f\x85\xa0":
        assert parse_conf([f"*.Server.target_qps{blank}=10 = 1"]).values == {
            f"*.Server.target_qps{blank}=10": "1"
        }
    assert parse_conf(["\v*.Server.target_qps\f=\t5 \r"]).values == {"*.Server.target_qps": "5"}
