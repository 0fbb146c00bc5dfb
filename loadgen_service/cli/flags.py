"""Flags made from the fields of a settings model: one flag a field, one group a section.

Values stay text here; the model itself parses and judges them, so a flag, a YAML value and an
environment variable obey the same rule and get the same message.

Flags of ``--help``: those that most runs need, grouped by who needs them.

``--help-all`` prints every flag by section of the settings.
"""

from __future__ import annotations

import argparse
import difflib
import sys
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal, NoReturn

from pydantic import BaseModel
from pydantic.fields import FieldInfo

FIRST_SCREEN: Final[dict[str, tuple[str, ...]]] = {
    "every run": (
        "--config",
        "--sut",
        "--model",
        "--scenario",
        "--target-qps",
        "--target-latency-ms",
        "--min-duration-ms",
        "--dataset",
        "--workers",
        "--out",
        "--http-port",
    ),
    "an endpoint": ("--concurrency", "--arrivals", "--connections", "--header", "--tls-ca"),
    "a language model": (
        "--prompt-tokens",
        "--output-tokens",
        "--use-token-latencies",
        "--ttft-latency-ms",
        "--tpot-latency-ms",
    ),
    "an MLPerf submission": ("--mode", "--mlperf-model", "--user-conf"),
    "a fleet": ("--service", "--token-file", "--service-tls-ca", "--fleet"),
    "an accelerator host": ("--shared-memory", "--sut-metrics"),
}
"""Title -> flags of a run."""


WHOLE_VALUES: Final = frozenset({"header", "shape"})
"""List fields whose values may hold a comma: the flag is repeated instead."""

_METAVARS: Final[dict[type, str]] = {int: "N", float: "X", str: "TEXT"}
_UNITS: Final = ("ms", "qps", "seed", "us", "bytes")


class OneLineParser(argparse.ArgumentParser):
    """A parser whose complaint is one line, with a close match instead of the usage text."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._first_screen: Mapping[str, Sequence[str]] = {}

    def shorten_help(self, first_screen: Mapping[str, Sequence[str]]) -> None:
        """Let ``--help`` print these flags only, title -> flags; ``--help-all`` prints all."""
        self._first_screen = first_screen
        self.add_argument("--help-all", action=_HelpAll, help="every flag, then exit")

    def print_help(self, file: Any = None) -> None:
        """Print the first screen where there is one, else every flag."""
        text = self._format_first_screen() if self._first_screen else self.format_help()
        self._print_message(text, file or sys.stdout)

    def _format_first_screen(self) -> str:
        known = {text: action for action in self._actions for text in action.option_strings}
        formatter = self._get_formatter()
        formatter.add_usage(self.usage, [], [])
        formatter.add_text(self.description)
        for title, flags in self._first_screen.items():
            formatter.start_section(title)
            formatter.add_arguments([known[flag] for flag in flags if flag in known])
            formatter.end_section()
        formatter.add_text(f"--help-all lists all {len(self._actions)} flags.")
        return formatter.format_help()

    def error(self, message: str) -> NoReturn:
        """Print one line and leave with 2, the exit code of a user's mistake."""
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")

    def parse_strictly(self, argv: Sequence[str]) -> argparse.Namespace:
        """Parse ``argv``; an unknown flag is an error that names its nearest neighbour."""
        namespace, unknown = self.parse_known_args(argv)
        if unknown:
            known = [text for action in self._actions for text in action.option_strings]
            self.error(f"unknown argument {unknown[0]}{did_you_mean(unknown[0], known)}")
        return namespace


class _HelpAll(argparse.Action):
    """Prints every flag by section and leaves with 0."""

    def __init__(self, option_strings: Sequence[str], dest: str, **options: Any) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, **options)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        sys.stdout.write(parser.format_help())
        parser.exit(0)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``; did you mean NEAREST?`` or nothing."""
    close = difflib.get_close_matches(word.split("=")[0], list(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else ""


def model_parser(prog: str, description: str, model: type[BaseModel]) -> OneLineParser:
    """A parser with ``--config`` and one flag for each field of ``model``, grouped by section."""
    # no abbreviations: a flag that is added later must not break a command that works today
    parser = OneLineParser(
        prog=prog,
        usage=f"{prog} [FLAGS]",
        description=description.replace("``", ""),
        allow_abbrev=False,
    )
    parser.add_argument("--config", metavar="FILE", help="YAML file of settings; flags win over it")
    add_model_flags(parser, model)
    return parser


def add_model_flags(parser: argparse.ArgumentParser, model: type[BaseModel]) -> None:
    """Add the flags of ``model``; a flag that is not given leaves no trace in the namespace."""
    for title, names in sections(model).items():
        group = parser.add_argument_group(title)
        for name in names:
            _add_flag(group, name, model.model_fields[name])


def sections(model: type[BaseModel]) -> dict[str, list[str]]:
    """Section title -> field names, from the classes that ``model`` is joined of, in its order."""
    found: dict[str, list[str]] = {}
    for owner in model.__mro__:
        own = [n for n in vars(owner).get("__annotations__", {}) if n in model.model_fields]
        if own:
            title = (owner.__doc__ or owner.__name__).strip().splitlines()[0].rstrip(".")
            found[f"{owner.__name__.removesuffix('Settings').lower() or 'settings'}: {title}"] = own
    return found


def flag_of(name: str) -> str:
    """``target_qps`` -> ``--target-qps``."""
    return "--" + name.replace("_", "-")


def given_flags(namespace: argparse.Namespace, model: type[BaseModel]) -> dict[str, object]:
    """The fields of ``model`` that the command line named, as text (or bool, or list of text)."""
    values = vars(namespace)
    return {
        name: split_list(name, values[name]) if is_list(field) else values[name]
        for name, field in model.model_fields.items()
        if name in values
    }


def is_list(field: FieldInfo) -> bool:
    """Whether the field holds several values."""
    return typing.get_origin(field.annotation) is list


def split_list(name: str, value: object) -> object:
    """Several values from text: by comma, unless values of this field may hold one."""
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or name in WHOLE_VALUES:
        return texts
    pieces: list[object] = []
    for text in texts:
        pieces += [p.strip() for p in text.split(",")] if isinstance(text, str) else [text]
    return [piece for piece in pieces if piece != ""]


def _add_flag(group: argparse._ArgumentGroup, name: str, field: FieldInfo) -> None:
    shown = _help_text(name, field)
    if field.annotation is bool:
        group.add_argument(
            flag_of(name),
            action=argparse.BooleanOptionalAction,
            default=argparse.SUPPRESS,
            help=shown,
        )
    elif is_list(field):
        group.add_argument(
            flag_of(name),
            action="append",
            default=argparse.SUPPRESS,
            metavar="TEXT" if name in WHOLE_VALUES else "A,B",
            help=shown,
        )
    else:
        group.add_argument(
            flag_of(name), default=argparse.SUPPRESS, metavar=_metavar(name, field), help=shown
        )


def _help_text(name: str, field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=True)
    text = field.description or name.replace("_", " ")
    if default not in ("", [], None):
        text += f" (default {str(default).lower() if isinstance(default, bool) else default})"
    return text.replace("%", "%%")  # argparse reads % as a format


def _metavar(name: str, field: FieldInfo) -> str:
    choices = literal_choices(field)
    if choices:
        return "{" + ",".join(choices) + "}"
    unit = name.rsplit("_", 1)[-1]
    if unit in _UNITS:
        return unit.upper()
    kind = field.annotation
    if isinstance(kind, types.UnionType):
        kind = next(a for a in typing.get_args(kind) if a is not type(None))
    return _METAVARS.get(kind, "TEXT") if isinstance(kind, type) else "TEXT"


def literal_choices(field: FieldInfo) -> tuple[str, ...]:
    """The words that a field allows, or none."""
    if typing.get_origin(field.annotation) is Literal:
        return tuple(str(a) for a in typing.get_args(field.annotation))
    return ()
