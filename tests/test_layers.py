"""Who may import whom. Typing-only imports and imports inside functions count: they bind too."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from source_trees import nodes_of

ROOT = Path(__file__).parent.parent

OURS = {"loadgen_service", "sut_server", "grpc_wire", "host_tuning", "loadgen_proto"}

# layer -> layers of ours that it may import, beside itself
LAYERS: dict[str, set[str]] = {
    "loadgen_service.errors": set(),
    "loadgen_service.checksums": {"loadgen_service.atomic_file", "loadgen_service.errors"},
    "loadgen_service.version": set(),
    "loadgen_service.plain_yaml": set(),
    "loadgen_service.atomic_file": set(),
    "loadgen_service.core": {"loadgen_service.errors"},
    "host_tuning": set(),
    "grpc_wire": set(),
    "loadgen_service.qsl": {"loadgen_service.core", "loadgen_service.errors"},
    "loadgen_service.sut": {
        "loadgen_service.core",
        "loadgen_service.errors",
        "grpc_wire",
        "host_tuning",
        "loadgen_proto",
    },
    "loadgen_service.worker": {
        "loadgen_service.version",  # said in Hello
        "loadgen_service.core",
        "loadgen_service.errors",
        "loadgen_service.sut",
        "loadgen_service.qsl",
        "loadgen_service.mlperf",  # which responses LoadGen's accuracy log would hold
        "loadgen_proto",
    },
    "loadgen_service.report": {
        "loadgen_service.atomic_file",
        "loadgen_service.core",
        "loadgen_service.errors",
    },
    "loadgen_service.compare": {
        "loadgen_service.plain_yaml",
        "loadgen_service.checksums",
        "loadgen_service.core",
        "loadgen_service.errors",
        "loadgen_service.report",
    },
    "loadgen_service.service": {
        "loadgen_service.plain_yaml",
        "loadgen_service.checksums",
        "loadgen_service.atomic_file",
        "loadgen_service.version",
        "loadgen_service.core",
        "loadgen_service.errors",
        "loadgen_service.qsl",
        "loadgen_service.report",
        "loadgen_service.mlperf",  # LoadGen's log files beside ours
        "loadgen_proto",
    },
    "loadgen_service.web": {
        "loadgen_service.plain_yaml",
        "loadgen_service.version",  # on the page and in the metrics
        "loadgen_service.core",
        "loadgen_service.errors",
        "loadgen_service.service",
        "loadgen_proto",
    },
    "loadgen_service.mlperf": {
        "loadgen_service.checksums",
        "loadgen_service.atomic_file",
        "loadgen_service.core",
        "loadgen_service.errors",
    },
    # a script's way in: it runs or serves one, so it needs both sides (docs/how-to/binding.md)
    "loadgen_service.binding": {
        "loadgen_service.core",
        "loadgen_service.errors",
        "loadgen_service.mlperf",
        "loadgen_service.service",
        "loadgen_proto",
        "sut_server",
    },
    "loadgen_service.fleet": {"loadgen_service.core", "loadgen_service.errors"},
    "loadgen_service.cli": {
        "loadgen_service.plain_yaml",
        "loadgen_service.checksums",
        "loadgen_service.atomic_file",
        "loadgen_service.version",
        "loadgen_service.core",
        "loadgen_service.errors",
        "loadgen_service.qsl",
        "loadgen_service.sut",
        "loadgen_service.worker",
        "loadgen_service.service",
        "loadgen_service.report",
        "loadgen_service.compare",
        "loadgen_service.fleet",
        "loadgen_service.mlperf",
        "loadgen_service.web",
        "host_tuning",
        "loadgen_proto",
    },
    "loadgen_service.__main__": {"loadgen_service.cli"},
    "loadgen_service": {"loadgen_service.api", "loadgen_service.version"},
    "loadgen_service.api": {
        "loadgen_service.plain_yaml",
        "loadgen_service.core",
        "loadgen_service.errors",
        "loadgen_service.report",
        "loadgen_service.cli",
    },
    "sut_server": {"grpc_wire", "host_tuning", "loadgen_proto"},
    "loadgen_proto": set(),
}

# foreign modules that a pure layer may import; a layer without a row may import any
PURE: dict[str, set[str]] = {
    "loadgen_service.core": {"numpy", "pydantic", "pydantic_core"},
    "grpc_wire": {"hpack"},
    "loadgen_service.errors": set(),
}

# of the standard library, what holds a clock, a loop, a socket, a file, a log or the environment
IMPURE = {
    "asyncio", "concurrent", "ctypes", "io", "logging", "mmap", "multiprocessing", "os", "pathlib",
    "random", "select", "selectors", "shutil", "signal", "socket", "ssl", "subprocess", "sys",
    "tempfile", "threading", "time",
}  # fmt: skip

# foreign modules that some layers must not touch
FORBIDDEN: dict[str, set[str]] = {
    "loadgen_service.qsl": {"grpc", "asyncio"},
    "loadgen_service.report": {"grpc", "asyncio"},
    "loadgen_service.compare": {"grpc", "asyncio"},
}


def sources() -> list[Path]:
    names = ["loadgen_service", "sut_server", "proto/grpc_wire", "proto/host_tuning"]
    folders = [ROOT / name for name in names]
    return sorted(path for folder in folders for path in folder.rglob("*.py"))


def module_of(path: Path) -> str:
    base = ROOT / "proto" if "proto" in path.relative_to(ROOT).parts[:1] else ROOT
    parts = path.relative_to(base).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def layer_of(module: str) -> str:
    """The longest layer name that ``module`` lies in."""
    # the package itself is a layer (its version); a child of it without a row is an error
    inside = [
        name
        for name in LAYERS
        if module == name or (name != "loadgen_service" and module.startswith(name + "."))
    ]
    return max(inside, key=len, default="")


@cache
def imports_of(path: Path) -> set[str]:
    found: set[str] = set()
    for node in nodes_of(path):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import at line {node.lineno}"
            assert node.module
            found |= {_imported(node.module, alias.name) for alias in node.names}
    return found


def _imported(module: str, name: str) -> str:
    # `from package import submodule` imports the submodule
    whole = f"{module}.{name}"
    known = layer_of(whole)
    return whole if known and known != layer_of(module) else module


def forbidden_imports(path: Path) -> Iterator[str]:
    """One line for each import that the layer of ``path`` may not have."""
    module = module_of(path)
    layer = layer_of(module)
    if not layer:
        yield f"{module} lies in no layer: add a row to LAYERS"
        return
    for name in sorted(imports_of(path)):
        top = name.split(".")[0]
        if top in OURS:
            other = layer_of(name)
            if other != layer and other not in LAYERS[layer]:
                yield f"{module} must not import {name}"
        elif top in FORBIDDEN.get(layer, set()):
            yield f"{module} must not import {name}"
        elif layer in PURE:
            standard = top in sys.stdlib_module_names and top not in IMPURE
            if not standard and top not in PURE[layer]:
                yield f"{module} must stay pure: imports {name}"


def test_imports_only_what_its_layer_may():
    paths = sources()
    assert paths
    assert not [fault for path in paths for fault in forbidden_imports(path)]


@pytest.mark.parametrize(
    ("module", "text", "fault"),
    [
        ("loadgen_service/core/a.py", "import time", "must stay pure: imports time"),
        ("loadgen_service/core/a.py", "import grpc", "must stay pure: imports grpc"),
        ("loadgen_service/qsl/a.py", "import asyncio", "must not import asyncio"),
        ("loadgen_service/core/a.py", "import sut_server", "must not import sut_server"),
        (
            "loadgen_service/sut/a.py",
            "def f():\n    from loadgen_service import service",
            "must not import loadgen_service.service",
        ),
        ("loadgen_service/new/a.py", "", "lies in no layer: add a row to LAYERS"),
    ],
)
def test_a_forbidden_import_is_listed(module, text, fault, tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    path = tmp_path / module
    path.parent.mkdir(parents=True)
    path.write_text(text)
    dotted = module.removesuffix(".py").replace("/", ".")
    assert list(forbidden_imports(path)) == [f"{dotted} {fault}"]


def test_kserve_messages_have_one_source():
    for path in sources():
        for name in imports_of(path):
            assert not name.startswith("inference"), f"{path}: a second copy of KServe's messages"


def test_no_module_imports_itself_through_others():
    """No circle, not even by an import for types alone or within a function."""
    files = {module_of(path): path for path in sources()}
    edges = {module: _modules_of(path, files) - {module} for module, path in files.items()}
    while leaves := {module for module, targets in edges.items() if not targets & edges.keys()}:
        edges = {module: edges[module] for module in edges.keys() - leaves}
    assert not edges, f"on a circle, or importing one: {sorted(edges)}"


def _modules_of(path: Path, files: dict[str, Path]) -> set[str]:
    """Modules of ours that ``path`` imports; ``from package import module`` is the module."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in files else node.module for name in inner}
    return found & files.keys()
