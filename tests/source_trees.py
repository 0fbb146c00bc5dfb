"""Sources of the project as text and as syntax trees, read once for all checks."""

from __future__ import annotations

import ast
import gc
from functools import cache
from pathlib import Path


@cache
def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(text_of(path), filename=str(path))


@cache
def nodes_of(path: Path) -> list[ast.AST]:
    """Every node of the file.

    The collector waits: millions of nodes that stay would be gone through again and again.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        return list(ast.walk(tree_of(path)))
    finally:
        if was_enabled:
            gc.enable()
