"""Generates the stubs of loadgen_proto, or checks that those in the tree are fresh.

They are checked in, so that installing needs no compiler.
"""

from __future__ import annotations

import filecmp
import shutil
import sys
import tempfile
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).parent
PACKAGE = "loadgen_proto"


def generate(out: Path) -> list[Path]:
    """Write the stubs below ``out`` and name them, relative to it."""
    sources = sorted((ROOT / PACKAGE).glob("*.proto"))
    arguments = ["protoc", f"-I{ROOT}", f"--python_out={out}", f"--pyi_out={out}"]
    arguments += [f"--grpc_python_out={out}", *(str(path) for path in sources)]
    if protoc.main(arguments):
        sys.exit("stubs: protoc failed")
    return sorted(path.relative_to(out) for path in out.rglob("*_pb2*"))


def main(verb: str) -> int:
    """``write`` replaces the stubs; ``check`` names the stale ones and returns 1."""
    with tempfile.TemporaryDirectory() as folder:
        fresh = generate_into(Path(folder))
        stale = [p for p in fresh if not same(Path(folder) / p, ROOT / p)]
        if verb == "write":
            for path in fresh:
                shutil.copy(Path(folder) / path, ROOT / path)
            return 0
    for path in stale:
        print(f"stubs: {path} is stale; run make stubs", file=sys.stderr)
    return 1 if stale else 0


def generate_into(folder: Path) -> list[Path]:
    """As :func:`generate`, in a folder that may not have the package yet."""
    (folder / PACKAGE).mkdir(exist_ok=True)
    return generate(folder)


def same(one: Path, other: Path) -> bool:
    """Whether both files exist and hold the same bytes."""
    return other.exists() and filecmp.cmp(one, other, shallow=False)


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in ("write", "check"):
        sys.exit("usage: stubs.py write|check")
    sys.exit(main(sys.argv[1]))
