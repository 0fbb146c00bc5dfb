"""Reference pages as Markdown, made from settings, schemas, parsers, metrics and .proto files.

A setting or a metric without a description raises Undocumented, which fails the build.
"""

from __future__ import annotations

import ast
import contextlib
import io
import os
import re
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from loadgen_service.cli.flags import flag_of, literal_choices, sections

ROOT: Final = Path(__file__).parents[2]
METRIC_FILES: Final = ("loadgen_service/web", "sut_server")
METRIC_NAME: Final = re.compile(r"(loadgen|sut_server)_[a-z_]+")
SUFFIXES: Final = {"counter": "_total", "info": "_info"}
"""What Prometheus' text format adds to a name."""

HEAD: Final = "<!-- made by docs/generate/reference_pages.py -->\n"


class Undocumented(Exception):
    """A setting or metric that nobody described."""


# ------------------------------------------------------------------ settings
def settings_page() -> str:
    """Every setting of a run and of a service: flag, values, default, meaning."""
    from loadgen_service.core.settings import Settings
    from loadgen_service.core.settings.serve import ServeSettings

    lines = [
        HEAD,
        "# Settings",
        "",
        "Each setting of a run has four spellings with one meaning:",
        "",
        "- a flag, `--target-qps 200`;",
        "- a key of the YAML file that `--config` names, `target_qps: 200`;",
        "- an environment variable, `LOADGEN_TARGET_QPS=200`;",
        "- a field of the JSON schema that `loadgen schema` prints.",
        "",
        "A flag wins over the environment, which wins over the file. An unknown key is an error.",
        "",
    ]
    for title, names in sections(Settings).items():
        heading, text = _heading(title)
        lines += [f"## {heading}", "", f"{text}.", "", *_settings_table(Settings, names), ""]
    lines += ["## The service", "", "Flags of `loadgen serve`.", ""]
    lines += _settings_table(ServeSettings, list(ServeSettings.model_fields))
    return "\n".join(lines) + "\n"


HEADINGS: Final = {"serverside": "Server's own figures", "mlperf": "MLPerf"}
"""Section of the settings -> heading, where capitals are not enough."""


def _heading(title: str) -> tuple[str, str]:
    """``traffic: What is issued`` -> its heading and its sentence."""
    word, _, text = title.partition(": ")
    return HEADINGS.get(word, word.capitalize()), text


def _settings_table(model: type[BaseModel], names: list[str]) -> Iterator[str]:
    yield "| setting | values | default | meaning |"
    yield "|---|---|---|---|"
    for name in names:
        field = model.model_fields[name]
        if not field.description:
            raise Undocumented(f"{model.__name__}.{name} has no description")
        yield (
            f"| `{flag_of(name)}` | {_values(field)} | {_default(field)} "
            f"| {_cell(field.description)} |"
        )


def _values(field: FieldInfo) -> str:
    if choices := literal_choices(field):
        return ", ".join(f"`{choice}`" for choice in choices)
    kind = _kind(field.annotation)
    bounds = [
        f"{sign} {value:,}" if isinstance(value, int) else f"{sign} {value}"
        for sign, name in ((">", "gt"), ("≥", "ge"), ("<", "lt"), ("≤", "le"))
        for part in field.metadata
        if (value := getattr(part, name, None)) is not None and value < 2**60
    ]
    return " ".join([kind, *bounds])


def _kind(annotation: Any) -> str:
    words = {int: "integer", float: "number", str: "text", bool: "yes or no"}
    if annotation in words:
        return words[annotation]
    if typing.get_origin(annotation) is list:
        return "list"
    inner = [part for part in typing.get_args(annotation) if part is not type(None)]
    return _kind(inner[0]) if inner else str(annotation)


def _default(field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=True)
    if default in ("", None) or default == []:
        return ""
    if isinstance(default, bool):
        return "yes" if default else "no"
    return f"`{', '.join(default) if isinstance(default, list) else default}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*").replace("<", "&lt;")


# ------------------------------------------------------------------- summary
def summary_page() -> str:
    """Types of summary.json and mixed.json, from the models' JSON schemas."""
    from loadgen_service.core.summary.mixed import MixedSummary
    from loadgen_service.core.summary.run import Summary

    lines = [
        HEAD,
        "# Types in summary.json",
        "",
        "Made from the models; `loadgen schema --of summary` prints the JSON schema.",
        "What each field means stands in [summary.json](summary.md).",
        "",
    ]
    seen: dict[str, dict[str, Any]] = {}
    for model in (Summary, MixedSummary):
        schema = model.model_json_schema(mode="serialization")
        seen |= {model.__name__: schema} | schema.get("$defs", {})
    for name in ("Summary", "MixedSummary", *sorted(set(seen) - {"Summary", "MixedSummary"})):
        if "properties" in seen[name]:
            lines += [f"## {name}", "", *_schema_table(seen[name]), ""]
    return "\n".join(lines)


def _schema_table(schema: dict[str, Any]) -> Iterator[str]:
    has_notes = any(part.get("description") for part in schema["properties"].values())
    yield "| field | type |" + (" note |" if has_notes else "")
    yield "|---|---|" + ("---|" if has_notes else "")
    for name, part in schema["properties"].items():
        note = f" {_cell(part.get('description', ''))} |" if has_notes else ""
        yield f"| `{name}` | {_schema_type(part)} |{note}"


def _schema_type(part: dict[str, Any]) -> str:
    if "$ref" in part:
        name = part["$ref"].rsplit("/", 1)[-1]
        return f"[{name}](#{name.lower()})" if name not in _PLAIN else _PLAIN[name]
    if "anyOf" in part:
        return " or ".join(_schema_type(option) for option in part["anyOf"])
    if "const" in part:
        return f"`{part['const']}`"
    if "enum" in part:
        return " or ".join(f"`{word}`" for word in part["enum"])
    if part.get("type") == "array":
        return f"list of {_schema_type(part.get('items', {}))}"
    if part.get("type") == "object":
        inner = part.get("additionalProperties")
        return f"map to {_schema_type(inner)}" if isinstance(inner, dict) else "object"
    return str(part.get("type", "any"))


_PLAIN: Final[dict[str, str]] = {"JsonValue": "any"}


# ------------------------------------------------------------------- metrics
def metrics_page() -> str:
    """Every Prometheus metric of the service and of sut-server, from the code that makes it."""
    lines = [
        HEAD,
        "# Metrics",
        "",
        "Labels, buckets and the way to scrape them: [Scrape metrics](../how-to/prometheus.md).",
        "",
    ]
    for folder, title in zip(METRIC_FILES, ("The service", "sut-server"), strict=True):
        rows = {name: row for path in sorted((ROOT / folder).rglob("*.py"))
                for name, row in _metrics_of(path)}  # fmt: skip
        if not rows:
            raise Undocumented(f"no metric found under {folder}")
        lines += [f"## {title}", "", "| metric | type | meaning |", "|---|---|---|"]
        lines += [rows[name] for name in sorted(rows)] + [""]
    return "\n".join(lines)


def _metrics_of(path: Path) -> Iterator[tuple[str, str]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            kind = _family(ast.unparse(node.func))
            texts = _texts(node.args)
        elif isinstance(node, ast.Tuple):
            kind, texts = "", _texts(node.elts)
        else:
            continue
        for at, text in enumerate(texts):
            if METRIC_NAME.fullmatch(text) and len(texts) > at + 1:
                shown = kind or ("histogram" if "sut_server" in text else "gauge")
                name = text + SUFFIXES.get(shown, "")
                yield name, f"| `{name}` | {shown} | {_cell(texts[at + 1])} |"


def _family(call: str) -> str:
    name = call.rsplit(".", 1)[-1]
    return name.removesuffix("MetricFamily").lower() if name.endswith("MetricFamily") else ""


def _texts(nodes: list[ast.expr]) -> list[str]:
    return [n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)]


# ------------------------------------------------------------------ commands
def commands_page() -> str:
    """The help of every command, as printed at 90 columns."""
    from loadgen_service.cli.main import VERBS, main

    lines = [HEAD, "# Commands", "", "What each command prints with `--help`.", ""]
    lines += ["## loadgen", "", *_fenced(_said(main, ["--help"])), ""]
    for verb, text in VERBS.items():
        lines += [f"## loadgen {verb}", "", f"{text[:1].upper()}{text[1:]}.", ""]
        lines += [*_fenced(_said(main, [verb, "--help"])), ""]
    lines += ["The flags behind `--help-all` are the [settings](settings.md).", ""]
    from sut_server.main import main as sut_server

    lines += ["## sut-server", "", *_fenced(_said(sut_server, ["--help"])), ""]
    return "\n".join(lines)


def _said(main: Callable[[list[str]], object], arguments: list[str]) -> str:
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "90"
    try:
        with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit):
            main(arguments)
    finally:
        os.environ.pop("COLUMNS")
        if before is not None:
            os.environ["COLUMNS"] = before
    if not out.getvalue().strip():
        raise Undocumented(f"{arguments} printed no help")
    return out.getvalue().rstrip()


def _fenced(text: str) -> list[str]:
    return ["```text", text, "```"]


# ------------------------------------------------------------------ protocol
def protocol_page() -> str:
    """The .proto files of the control plane and of what a SUT may offer."""
    lines = [
        HEAD,
        "# Control protocol",
        "",
        "gRPC between users, service and workers, and what a SUT may add to KServe v2.",
        "Regenerate the stubs with `make stubs`.",
        "",
    ]
    for name in ("loadgen.proto", "sut.proto"):
        text = (ROOT / "proto" / "loadgen_proto" / name).read_text(encoding="utf-8")
        lines += [f"## {name}", "", "```proto", text.rstrip(), "```", ""]
    return "\n".join(lines)


PAGES: Final[dict[str, Callable[[], str]]] = {
    "reference/settings.md": settings_page,
    "reference/cli.md": commands_page,
    "reference/summary-types.md": summary_page,
    "reference/metrics.md": metrics_page,
    "reference/protocol.md": protocol_page,
}
"""Path of a page in the site -> what makes its text."""
