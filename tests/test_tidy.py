"""The house style, as far as a program can check it: lengths, docstrings, names, banned calls."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("loadgen_service", "sut_server", "proto/grpc_wire", "proto/host_tuning")

FILE_LINES_MAX = 600
TEST_FILE_LINES_MAX = 600
FUNCTION_LINES_MAX = 60
COLUMNS_MAX = 100

BANNED_FILES = re.compile(r"(^|_)(utils?|common|helpers?|manager|misc)(_|$)")
BANNED_CLASSES = re.compile(r"(Manager|Helper|Utils?|Impl|Handler)$")

# call -> why not
BANNED_CALLS = {
    "time.sleep": "a wait needs a deadline and a named cause",
    "os.system": "start processes by argument list",
    "eval": "data is never code",
    "exec": "data is never code",
    "pickle.load": "data is never code",
    "pickle.loads": "data is never code",
    "yaml.load": "yaml.safe_load",
    "np.random.seed": "randomness comes from named seeds over MT19937 words",
    "np.random.default_rng": "numpy's Generator may change its stream between versions",
}
# files that may use a banned call, with the reason beside the call
EXCUSED: dict[str, set[str]] = {}


def python_files(*folders: str) -> list[Path]:
    return sorted(
        path
        for folder in folders
        for path in (ROOT / folder).rglob("*.py")
        if not path.stem.endswith(("_pb2", "_pb2_grpc"))
    )


OURS = python_files(*PACKAGES)
EVERYTHING = [*OURS, *python_files("tests", "bench")]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def code_lines(node: ast.AST) -> int:
    """Lines of a function without its docstring and its decorators."""
    assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    total = (node.end_lineno or 0) - node.lineno + 1
    first = node.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
        total -= (first.end_lineno or 0) - first.lineno + 1
    return total


@pytest.mark.parametrize("path", EVERYTHING, ids=name_of)
def test_files_functions_and_lines_are_short(path):
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    limit = FILE_LINES_MAX if path in OURS else TEST_FILE_LINES_MAX
    assert len(lines) <= limit, f"{len(lines)} lines"
    long = [i for i, line in enumerate(lines, 1) if len(line) > COLUMNS_MAX]
    assert not long, f"lines over {COLUMNS_MAX} columns: {long}"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert code_lines(node) <= FUNCTION_LINES_MAX, f"{node.name}: {code_lines(node)} lines"


@pytest.mark.parametrize("path", EVERYTHING, ids=name_of)
def test_every_module_says_what_it_is_for(path):
    text = path.read_text(encoding="utf-8")
    if text.strip():
        assert ast.get_docstring(ast.parse(text)), "no module docstring"


@pytest.mark.parametrize("path", OURS, ids=name_of)
def test_public_names_have_docstrings(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    bare = [
        node.name
        for node in tree.body
        if isinstance(node, kinds) and not node.name.startswith("_") and not ast.get_docstring(node)
    ]
    assert not bare, f"without a docstring: {bare}"


@pytest.mark.parametrize("path", OURS, ids=name_of)
def test_no_banned_call_and_no_banned_name(path):
    assert not BANNED_FILES.search(path.stem), "name the concept instead"
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ClassDef):
            assert not BANNED_CLASSES.search(node.name), f"{node.name}: name the concept instead"
        if isinstance(node, ast.Call):
            call = ast.unparse(node.func)
            if call in BANNED_CALLS and call not in EXCUSED.get(name_of(path), set()):
                pytest.fail(f"line {node.lineno}: {call}: {BANNED_CALLS[call]}")


@pytest.mark.parametrize("path", OURS, ids=name_of)
def test_importing_does_nothing(path):
    """At module level: no call to print, no signal, no logger set-up, no environment."""
    if path.name == "__main__.py":
        return
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            pytest.fail(f"line {node.lineno}: a call at import: {ast.unparse(node.value)[:60]}")


@pytest.mark.parametrize("path", OURS, ids=name_of)
def test_every_type_ignore_names_its_code(path):
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"# type: ignore(?!\[)", text)


def test_scenarios_are_rows_of_one_table():
    """No comparison with a scenario's name outside the table, its planner and its pacer.

    LoadGen's own files are excused: their lines differ by LoadGen's scenario, not by ours.
    """
    allowed = {
        "loadgen_service/core/",
        "loadgen_service/cli/verbs/demo",
        "loadgen_service/mlperf/",
        "loadgen_service/binding/",
    }
    pattern = re.compile(r"scenario (==|in|!=) ")
    guilty = [
        name_of(path)
        for path in OURS
        if not name_of(path).startswith(tuple(allowed))
        and pattern.search(path.read_text(encoding="utf-8"))
    ]
    assert not guilty, f"branches on a scenario's name: {guilty}"


def test_test_files_have_names_of_their_own():
    names = [path.name for path in python_files("tests") if path.name.startswith("test_")]
    twice = {name for name in names if names.count(name) > 1}
    assert not twice
    assert not list((ROOT / "tests").rglob("__init__.py"))
