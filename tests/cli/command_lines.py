"""Judges a written `loadgen` or `sut-server` command line by the parsers, without running it."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import shlex
from collections.abc import Sequence
from typing import NoReturn

from loadgen_service.cli.flags import OneLineParser, given_flags
from loadgen_service.cli.main import VERBS
from loadgen_service.cli.settings_sources import read_settings
from loadgen_service.core.search.rate_sweep import parse_range
from loadgen_service.core.settings import Settings
from loadgen_service.core.settings.serve import ServeSettings
from loadgen_service.errors import LoadgenError
from loadgen_service.worker.process import parse_options as parse_worker
from sut_server.errors import UsageError
from sut_server.options import parse_options as parse_sut_server

PROGRAMS = ("loadgen", "sut-server")
# read while settings are made; an example's files do not exist here
FILES_OF_MLPERF = ("user_conf", "audit_config")


class _Parsed(Exception):
    """Thrown where a verb would begin its work."""

    def __init__(self, namespace: argparse.Namespace) -> None:
        super().__init__()
        self.namespace = namespace


def complaint(words: Sequence[str]) -> str:
    """What the program says against this command line; "" if it would begin its work."""
    program, *arguments = words
    try:
        with contextlib.redirect_stderr(io.StringIO()) as said:
            if program == "sut-server":
                parse_sut_server(arguments)
            else:
                _parse_loadgen(arguments)
    except SystemExit as left:
        return said.getvalue().strip() if left.code else ""
    except (LoadgenError, UsageError) as error:
        return str(error)
    return ""


def _parse_loadgen(arguments: Sequence[str]) -> None:
    verb, *flags = arguments
    if verb in ("--help", "--version"):
        return
    if verb not in VERBS:
        raise UsageError(f"unknown verb {verb}")
    if verb == "worker":
        parse_worker(_without(flags, "--token-file"))
        return
    namespace = _namespace_of(verb, flags)
    if "config" in namespace:
        model = ServeSettings if verb == "serve" else Settings
        given = given_flags(namespace, model)
        for name in FILES_OF_MLPERF:
            given.pop(name, None)
        if verb == "sweep":
            parse_range(str(given.pop("target_qps", "")))
        read_settings(model, given, {}, None)


def _without(flags: Sequence[str], name: str) -> list[str]:
    """``flags`` without ``name FILE`` or ``name=FILE``: the file is another host's."""
    kept: list[str] = []
    words = iter(flags)
    for word in words:
        if word == name:
            next(words, None)
        elif not word.startswith(name + "="):
            kept.append(word)
    return kept


def _namespace_of(verb: str, flags: Sequence[str]) -> argparse.Namespace:
    """What the verb's own parser makes of ``flags``.

    It is caught where the verb hands the words over, so that no second list of flags is kept here.
    """
    module = importlib.import_module(f"loadgen_service.cli.verbs.{verb}")
    parse = OneLineParser.parse_strictly

    def parse_and_leave(self: OneLineParser, argv: Sequence[str]) -> NoReturn:
        raise _Parsed(parse(self, argv))

    OneLineParser.parse_strictly = parse_and_leave  # type: ignore[method-assign]
    try:
        module.main(list(flags))
    except _Parsed as parsed:
        return parsed.namespace
    finally:
        OneLineParser.parse_strictly = parse  # type: ignore[method-assign]
    raise AssertionError(f"loadgen {verb} parsed nothing")


def commands_in(text: str) -> list[list[str]]:
    """The command lines of both programs in a shell text: continued, commented, prefixed, piped."""
    found = []
    for line in text.replace("\\\n", " ").splitlines():
        words = _words(line)
        while words and (words[0] in ("$", "#", "exec", "sudo") or _is_variable(words[0])):
            words = words[1:]
        if words and words[0].rpartition("/")[2] in PROGRAMS:
            found.append([words[0].rpartition("/")[2], *_until_shell(words[1:])])
    return found


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line, comments=True)
    except ValueError:  # output, not a command: an apostrophe that is never closed
        return []


def _is_variable(word: str) -> bool:
    return "=" in word and word.partition("=")[0].isidentifier()


def _until_shell(words: Sequence[str]) -> list[str]:
    """Up to a pipe, a redirection or `&`; `...` stands for more of the same."""
    kept = []
    for word in words:
        if word in ("|", ">", ">>", "&", "&&", ";", "2>", "2>&1") or word.startswith((">", "2>")):
            break
        if word != "...":
            kept.append(word)
    return kept
