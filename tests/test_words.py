"""Identifiers, file names and docstrings use the words of the field: docs/reference/glossary.md."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGES = ("loadgen_service", "sut_server", "proto/grpc_wire", "proto/host_tuning")

# word -> what to say; in identifiers, file names and docstrings
BANNED_WORDS = {
    "patience": "connection limits, reconnect timeout or clock timeout",
    "crew": "leased workers",
    "intake": "slow path",
    "wakefulness": "busy-poll",
    "alike": "equal, or the same",
    "gathering": "coalesced read",
    "mend": "fix, or repair",
    "mends": "fixes",
    "mended": "fixed",
    "folk": "users",
    "portion": "batch, or chunk",
    "portions": "batches, or chunks",
    "shebang": "all of it",
    "whilst": "while",
}
# in identifiers only: as a word of prose it may be the right one
BANNED_IN_NAMES = {
    "usual": "fast path, default or expected: whichever it is",
    "huddle": "barrier",
}
# held by nobody yet; a file leaves the list with its words
WORDS_TO_COME = {
    "sut_server/options.py",
    *(
        f"proto/grpc_wire/{name}.py"
        for name in (
            *("client", "client_stream", "connection", "fast_templates", "gzip", "in_place"),
            *("intake", "limits", "response_template", "server", "server_fast_path"),
            "server_stream",
        )
    ),
}
PLACE = {"place", "places"}
# packages whose names say slot, region, path, position, location, source or folder instead
WITHOUT_PLACE = tuple(
    f"loadgen_service/{name}/" for name in ("binding", "cli", "compare", "mlperf")
)

PART_OF_A_NAME = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")


def names_in(tree: ast.AST) -> Iterator[str]:
    """Every name that a file defines or uses: of functions, classes, arguments and values."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield name
            case ast.ClassDef(name=name) | ast.Name(id=name):
                yield name
            case ast.arg(arg=name) | ast.Attribute(attr=name):
                yield name


def docstrings_in(tree: ast.AST) -> Iterator[str]:
    """Those of the module, its classes and its functions."""
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    for node in ast.walk(tree):
        if isinstance(node, kinds):
            yield ast.get_docstring(node) or ""


def banned_words(name: str, tree: ast.AST) -> dict[str, str]:
    """Words of the file ``name`` that are not the field's, with what to say."""
    in_names = {part.lower() for text in [name, *names_in(tree)]
                for part in PART_OF_A_NAME.findall(text)}  # fmt: skip
    in_prose = {word.lower() for text in docstrings_in(tree) for word in re.findall(r"\w+", text)}
    found = {word: say for word, say in BANNED_WORDS.items() if word in in_names | in_prose}
    found |= {word: say for word, say in BANNED_IN_NAMES.items() if word in in_names}
    if name.startswith(WITHOUT_PLACE) and in_names & PLACE:
        found["place"] = "slot, region, path, position, location, source or folder"
    return found


def test_names_and_docstrings_use_the_words_of_the_field():
    paths = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    trees = {str(path.relative_to(ROOT)): ast.parse(path.read_text("utf-8")) for path in paths}
    assert trees
    found = {name: words for name, tree in trees.items() if (words := banned_words(name, tree))}
    guilty = {name: words for name, words in found.items() if name not in WORDS_TO_COME}
    assert not guilty


def test_banned_words_are_found_in_names_and_docstrings():
    text = '''"""A crew."""\ndef take_usual(read_place): "Alike in kind."\nself.PATIENCE_NS = 1'''
    found = banned_words("loadgen_service/cli/x.py", ast.parse(text))
    assert set(found) == {"crew", "usual", "place", "alike", "patience"}
    assert set(banned_words("x/intake.py", ast.parse("usually = replace()"))) == {"intake"}
    assert not banned_words("sut_server/x.py", ast.parse('"""The usual place."""'))
