"""Where settings come from: flags, then environment, then a YAML file, then defaults.

A task and LoadGen's files lie between: task and user.conf yield to all three, audit.config
overrides them.

Every mistake becomes one SettingsError line that names the setting and its source.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from loadgen_service.cli.flags import did_you_mean, flag_of, is_list, literal_choices, split_list
from loadgen_service.core.settings import Settings
from loadgen_service.errors import SettingsError
from loadgen_service.mlperf.conf.settings import mlperf_layers
from loadgen_service.plain_yaml import YamlTrouble, load_yaml

ENVIRONMENT_PREFIX = "LOADGEN_"

STREAMS = "streams"
"""The key of a settings file under which the streams of a mixed run stand."""

SHOWN_LETTERS = 200
"""Of a wrong value in a message."""

PATHS = frozenset(
    (
        *("task", "dataset", "labels", "sequences", "trace_file", "tokenizer", "out"),
        *("tls_ca", "tls_cert", "tls_key", "user_conf", "audit_config"),
    )
)
"""Settings that may name a file or folder of this host."""

Model = TypeVar("Model", bound=BaseModel)


def read_settings(
    model: type[Model],
    flags: Mapping[str, object],
    environment: Mapping[str, str],
    config_path: str | None,
    prefix: str = ENVIRONMENT_PREFIX,
) -> Model:
    """Join the three sources over the defaults and let ``model`` judge the result.

    :raises SettingsError: unreadable file, unknown key, wrong value; one line.
    """
    layers = [(f"in {config_path}", read_yaml(model, config_path))] if config_path else []
    return join_settings(model, layers, flags, environment, prefix)


def join_settings(
    model: type[Model],
    layers: Sequence[tuple[str, Mapping[str, object]]],
    flags: Mapping[str, object],
    environment: Mapping[str, str],
    prefix: str = ENVIRONMENT_PREFIX,
) -> Model:
    """``layers``: the source and the values of each part of a file, lowest first; then environment
    and flags.

    :raises SettingsError: wrong value; one line that names its source.
    """
    values: dict[str, object] = {}
    sources: dict[str, str] = {}
    for source, given in layers:
        _take(values, sources, given, source)
    for name, value in from_environment(model, environment, prefix).items():
        _take(values, sources, {name: value}, f"from {prefix}{name.upper()}")
    for name, value in flags.items():
        _take(values, sources, {name: value}, f"from {flag_of(name)}")
    values = {name: _own_text(name, value) for name, value in values.items()}
    if model is Settings:
        values, sources = _with_mlperf(*_with_task(values, sources))
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise SettingsError(describe(model, error, sources)) from None


def _own_text(name: str, value: object) -> object:
    """A value as it is used: ``~`` in a path is the user's home, wherever the path was written.

    Raises SettingsError for bytes that are no text.
    """
    if isinstance(value, list):
        return [_own_text(name, one) for one in value]
    if not isinstance(value, str):
        return value
    try:
        value.encode()
    except UnicodeEncodeError:
        raise SettingsError(f"{name}: {value!a} is not UTF-8 text; write it as such") from None
    return os.path.expanduser(value) if name in PATHS else value


def _with_task(
    values: dict[str, object], sources: dict[str, str]
) -> tuple[dict[str, object], dict[str, str]]:
    """What the user gave, over what the named task asks for."""
    name = str(values.get("task") or "")
    if not name:
        return values, sources
    from loadgen_service.compare.task import load_task

    words = {key: str(values.get(key) or "") for key in ("scenario", "mode")}
    scenario = words["scenario"] or str(Settings.model_fields["scenario"].default)
    asked = load_task(name).settings(scenario, words["mode"])
    return {**asked, **values}, {**dict.fromkeys(asked, f"from task {name}"), **sources}


def _with_mlperf(
    values: dict[str, object], sources: dict[str, str]
) -> tuple[dict[str, object], dict[str, str]]:
    """What the user gave, between the layers of LoadGen's files."""
    below, above = mlperf_layers(values)
    return (
        {**below.values, **values, **above.values},
        {**below.sources, **sources, **above.sources},
    )


def read_yaml(model: type[BaseModel], path: str) -> dict[str, object]:
    """The mapping in a settings file, its keys checked against the fields of ``model``."""
    content = load_mapping(path)
    if STREAMS in content:
        raise SettingsError(
            f"--config {path}: streams: only `loadgen run` takes several streams at once, without "
            "--each; leave them out here"
        )
    return known_settings(model, content, f"--config {path}")


def load_mapping(path: str) -> dict[str, object]:
    """The mapping in a YAML file, as it stands there. Raises SettingsError."""
    try:
        text = Path(path).expanduser().read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or "is not UTF-8 text"
        raise SettingsError(f"--config {path}: {reason}") from None
    try:
        content = load_yaml(text)
    except YamlTrouble as error:
        where = f":{error.line}" if error.line else ""
        raise SettingsError(f"--config {path}{where}: {error}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise SettingsError(f"--config {path}: must be a mapping of settings, NAME: VALUE")
    return content


def known_settings(
    model: type[BaseModel], content: Mapping[str, object], where: str
) -> dict[str, object]:
    """``content`` with its lists split. Raises SettingsError for a key that is no setting."""
    for key in content:
        if key not in model.model_fields:
            hint = did_you_mean(str(key), model.model_fields)
            raise SettingsError(f"{where}: unknown setting {key}{hint}")
    return {
        name: split_list(name, value) if is_list(model.model_fields[name]) else value
        for name, value in content.items()
    }


def from_environment(
    model: type[BaseModel], environment: Mapping[str, str], prefix: str
) -> dict[str, object]:
    """Fields named as ``LOADGEN_TARGET_QPS``; other variables are not ours to judge."""
    found: dict[str, object] = {}
    for name, field in model.model_fields.items():
        value = environment.get(prefix + name.upper())
        if value is not None:
            found[name] = split_list(name, value) if is_list(field) else value
    return found


def describe(model: type[BaseModel], error: ValidationError, sources: Mapping[str, str]) -> str:
    """The first mistake in one line, and how many more there are."""
    mistakes = error.errors(include_url=False)
    more = f" (and {len(mistakes) - 1} more)" if len(mistakes) > 1 else ""
    return _one_line(model, mistakes[0], sources) + more


def _one_line(model: type[BaseModel], mistake: ErrorDetails, sources: Mapping[str, str]) -> str:
    message = mistake["msg"].removeprefix("Value error, ").replace("\n", " ")
    if not mistake["loc"]:
        return message
    name = str(mistake["loc"][0])
    source = sources.get(name, "by default")
    given = repr(mistake["input"])
    shown = given if len(given) <= SHOWN_LETTERS else f"{given[:SHOWN_LETTERS]}..."
    return f"{name}: {_plain(message)}, got {shown} {source}" + did_you_mean(
        str(mistake["input"])[:SHOWN_LETTERS], literal_choices(model.model_fields[name])
    )


def _plain(message: str) -> str:
    # pydantic speaks of "Input"; the user knows the setting's name
    return message.replace("Input should be", "must be").replace(", unable to parse string as", ":")


def _take(
    values: dict[str, object],
    sources: dict[str, str],
    more: Mapping[str, object],
    source: str,
) -> None:
    values.update(more)
    sources.update(dict.fromkeys(more, source))
