"""Settings from any source: homes in paths, values out of bounds, and YAML for every reader."""

from __future__ import annotations

import pytest
import yaml

from loadgen_service.cli.settings_sources import read_settings
from loadgen_service.core.settings import Settings
from loadgen_service.errors import SettingsError
from loadgen_service.plain_yaml import dump_yaml


@pytest.mark.parametrize("text", ["1e3", "0o12", "0x1F", "12", "1.5", ".5", "+3", "yes", "null"])
def test_text_that_looks_like_a_number_is_quoted(text: str) -> None:
    written = dump_yaml({"model": text})
    assert written in (f"model: '{text}'\n", f'model: "{text}"\n')
    assert yaml.safe_load(written) == {"model": text}


def test_home_is_meant_by_a_tilde_wherever_a_path_is_written(
    tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "run.yaml").write_text("out: ~/from-yaml\ntrace_file: ~/t\n", encoding="utf-8")
    read = read_settings(Settings, {"tls_ca": "~/ca"}, {"LOADGEN_DATASET": "~/d"}, "~/run.yaml")
    found = (read.out, read.trace_file, read.tls_ca, read.dataset)
    assert found == tuple(f"{tmp_path}/{name}" for name in ("from-yaml", "t", "ca", "d"))
    assert read_settings(Settings, {"model": "~m"}, {}, None).model == "~m"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("target_qps", "1e-308", "greater than or equal to"),
        ("target_qps", "inf", "finite"),
        ("target_latency_ms", "nan", "finite"),
        ("model", "m\udcff", "is not UTF-8"),
    ],
)
def test_values_that_no_run_can_follow_are_one_line(name: str, value: str, said: str) -> None:
    with pytest.raises(SettingsError, match=f"^{name}: .*{said}"):
        read_settings(Settings, {name: value}, {}, None)


def test_a_wrong_value_is_shown_in_part() -> None:
    with pytest.raises(SettingsError) as caught:
        read_settings(Settings, {"concurrency": "x" * 10_000}, {}, None)
    assert len(str(caught.value)) < 600
