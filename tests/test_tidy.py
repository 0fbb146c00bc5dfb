"""The house style, as far as a program can check it: lengths, docstrings, names, banned calls."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from source_trees import nodes_of, text_of, tree_of

from loadgen_service.core.protocols import PROTOCOLS, SCHEMES
from loadgen_service.core.scenarios import SCENARIOS

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


def faults(check: Callable[[Path], Iterator[str]], paths: list[Path]) -> list[str]:
    """``file: fault`` of every fault that ``check`` finds in ``paths``."""
    assert paths
    return [f"{name_of(path)}: {fault}" for path in paths for fault in check(path)]


def code_lines(node: ast.AST) -> int:
    """Lines of a function without its docstring and its decorators."""
    assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    total = (node.end_lineno or 0) - node.lineno + 1
    first = node.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
        total -= (first.end_lineno or 0) - first.lineno + 1
    return total


def too_long(path: Path) -> Iterator[str]:
    lines = text_of(path).splitlines()
    limit = FILE_LINES_MAX if path in OURS else TEST_FILE_LINES_MAX
    if len(lines) > limit:
        yield f"{len(lines)} lines, at most {limit}"
    long = [number for number, line in enumerate(lines, 1) if len(line) > COLUMNS_MAX]
    if long:
        yield f"lines over {COLUMNS_MAX} columns: {long}"
    for node in nodes_of(path):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if code_lines(node) > FUNCTION_LINES_MAX:
            yield f"{node.name}: {code_lines(node)} lines, at most {FUNCTION_LINES_MAX}"


def test_files_functions_and_lines_are_short():
    assert not faults(too_long, EVERYTHING)


def without_a_purpose(path: Path) -> Iterator[str]:
    if text_of(path).strip() and not ast.get_docstring(tree_of(path)):
        yield "no module docstring"


def test_every_module_says_what_it_is_for():
    assert not faults(without_a_purpose, EVERYTHING)


def undocumented(path: Path) -> Iterator[str]:
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    for node in tree_of(path).body:
        public = isinstance(node, kinds) and not node.name.startswith("_")
        if public and not ast.get_docstring(node):
            yield f"{node.name} has no docstring"


def test_public_names_have_docstrings():
    assert not faults(undocumented, OURS)


def banned(path: Path) -> Iterator[str]:
    if BANNED_FILES.search(path.stem):
        yield "name the concept instead"
    for node in nodes_of(path):
        if isinstance(node, ast.ClassDef) and BANNED_CLASSES.search(node.name):
            yield f"{node.name}: name the concept instead"
        if isinstance(node, ast.Call):
            call = ast.unparse(node.func)
            if call in BANNED_CALLS and call not in EXCUSED.get(name_of(path), set()):
                yield f"line {node.lineno}: {call}: {BANNED_CALLS[call]}"


def test_no_banned_call_and_no_banned_name():
    assert not faults(banned, OURS)


def done_at_import(path: Path) -> Iterator[str]:
    if path.name == "__main__.py":
        return
    for node in tree_of(path).body:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            yield f"line {node.lineno}: a call at import: {ast.unparse(node.value)[:60]}"


def test_importing_does_nothing():
    """At module level: no call to print, no signal, no logger set-up, no environment."""
    assert not faults(done_at_import, OURS)


def bare_type_ignores(path: Path) -> Iterator[str]:
    for number, line in enumerate(text_of(path).splitlines(), 1):
        if re.search(r"# type: ignore(?!\[)", line):
            yield f"line {number}: a type: ignore without its code"


def test_every_type_ignore_names_its_code():
    assert not faults(bare_type_ignores, OURS)


def imports_of_tests(path: Path) -> Iterator[str]:
    for node in nodes_of(path):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(
            ("test_", "conftest")
        ):
            yield f"line {node.lineno}: what tests share stands in a module of its own"


@pytest.mark.parametrize(
    ("check", "text", "fault"),
    [
        (too_long, '"""Doc."""\n' + "x" * 101, "lines over 100 columns: [2]"),
        (too_long, "\n" * 601, "601 lines, at most 600"),
        (too_long, "def f():\n" + "    pass\n" * 60, "f: 61 lines, at most 60"),
        (without_a_purpose, "x = 1\n", "no module docstring"),
        (undocumented, "class A:\n    pass\n", "A has no docstring"),
        (banned, "class JobManager:\n    pass\n", "JobManager: name the concept instead"),
        (banned, "eval('1')\n", "line 1: eval: data is never code"),
        (done_at_import, "print()\n", "line 1: a call at import: print()"),
        (
            imports_of_tests,
            "from test_a import b\n",
            "line 1: what tests share stands in a module of its own",
        ),
        (bare_type_ignores, "x = 1  # type: ignore\n", "line 1: a type: ignore without its code"),
    ],
)
def test_a_guilty_file_is_listed(check, text, fault, tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    path = tmp_path / "guilty.py"
    path.write_text(text)
    assert faults(check, [path]) == [f"guilty.py: {fault}"]


# where LoadGen's own files or vocabulary differ by LoadGen's scenario
LOADGENS_OWN = ("loadgen_service/mlperf/", "loadgen_service/core/settings/loadgen_mapping.py")


def scenario_branches(tree: ast.AST) -> Iterator[int]:
    """Lines that compare a scenario with a name, or look a scenario's name up in a table."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            parts = [node.left, *node.comparators]
            named = any(
                isinstance(one, ast.Constant) and one.value in SCENARIOS
                for part in parts
                for one in ast.walk(part)
            )
            if named and any("scenario" in ast.unparse(part) for part in parts):
                yield node.lineno
        elif isinstance(node, ast.Dict):
            keys = {one.value for one in node.keys if isinstance(one, ast.Constant)}
            if len(keys & {*SCENARIOS}) > 1:
                yield node.lineno
        elif isinstance(node, ast.MatchValue) and ast.unparse(node.value)[1:-1] in SCENARIOS:
            yield node.value.lineno


def test_scenarios_are_rows_of_one_table():
    """No branch on a scenario's name outside the table, its planner and its pacer."""
    allowed = (
        "loadgen_service/core/scenarios.py",
        "loadgen_service/core/plan/",
        "loadgen_service/core/pacing/",
        *LOADGENS_OWN,
    )
    guilty = [
        f"{name_of(path)}:{line}"
        for path in OURS
        if not name_of(path).startswith(allowed)
        for line in scenario_branches(tree_of(path))
    ]
    assert not guilty, f"branches on a scenario's name: {guilty}"


# compares with such a word, but not with a protocol of ours
NO_PROTOCOL = {
    "loadgen_service/core/settings/authority.py": "usual ports of OTLP endpoints",
    "loadgen_service/web/server.py": "ASGI's kinds of connections",
    "loadgen_service/service/results/trace_export.py": "schemes of OTLP endpoints",
    "loadgen_service/sut/net/proxy_env.py": "the scheme of a proxy",
}


def compared_strings(nodes: list[ast.AST]) -> set[str]:
    """Strings that are compared with, matched, or the keys of a table."""
    found: set[str] = set()
    for node in nodes:
        parts: list[ast.AST | None] = []
        if isinstance(node, ast.Compare):
            parts = [node.left, *node.comparators]
        elif isinstance(node, ast.MatchValue):
            parts = [node.value]
        elif isinstance(node, ast.Dict):
            parts = [*node.keys]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(".startswith"):
            parts = [*node.args]
        for part in parts:
            inner = ast.walk(part) if part is not None else ()
            found |= {one.value for one in inner if isinstance(one, ast.Constant)}
    return found


def test_protocols_are_rows_of_one_table():
    """No file branches on a protocol's name or scheme but the table and the descriptors' list.

    ``sut.factory`` maps names to descriptors. Everything else asks the row of ``core.protocols``.
    """
    names = {*PROTOCOLS, *SCHEMES}
    names |= {f"{scheme}://" for scheme in SCHEMES}
    allowed = {
        "loadgen_service/core/protocols.py",
        "loadgen_service/sut/factory.py",
        *NO_PROTOCOL,
    }
    guilty = {
        name_of(path): found
        for path in OURS
        if name_of(path).startswith("loadgen_service/") and name_of(path) not in allowed
        if (found := compared_strings(nodes_of(path)) & names)
    }
    assert not guilty, f"branches on a protocol: {guilty}"


def test_modules_of_the_tests_have_names_of_their_own():
    names = [
        path.name
        for path in python_files("tests")
        if path.name != "conftest.py" and "repository" not in path.parts
    ]
    assert [name for name in names if names.count(name) > 1] == []
    assert not list((ROOT / "tests").rglob("__init__.py"))


def test_no_test_module_is_imported():
    assert not faults(imports_of_tests, python_files("tests"))
