"""Every parser of foreign bytes: its corpus, then changed inputs for a bounded time; the longer
tier runs atheris, which looks for new paths. The failing input is printed, for the corpus.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fuzz_targets import TARGETS
from mutator import inputs

FUZZ = Path(__file__).parent
CORPUS = FUZZ / "corpus"
SECONDS_A_TARGET = 20.0 / len(TARGETS)
LONG_SECONDS_A_TARGET = int(os.environ.get("LOADGEN_FUZZ_SECONDS", "30"))
SEED = int(os.environ.get("LOADGEN_FUZZ_SEED", "1"))


def corpus_of(name: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted((CORPUS / name).iterdir())]


@pytest.mark.parametrize("name", TARGETS)
def test_no_bytes_upset_a_parser(name: str) -> None:
    target, seeds = TARGETS[name], corpus_of(name)
    deadline = time.monotonic() + SECONDS_A_TARGET
    count = 0
    for data in inputs(seeds, SEED):
        try:
            target(data)
        except Exception as error:
            raise AssertionError(f"{name}: {type(error).__name__}: {error}: {data!r}") from error
        count += 1
        if count > len(seeds) and time.monotonic() > deadline:
            break
    print(f"{name}: {count} inputs")


@pytest.mark.long
@pytest.mark.timeout(LONG_SECONDS_A_TARGET + 120)
@pytest.mark.parametrize("name", TARGETS)
def test_a_guided_search_finds_nothing(name: str, tmp_path: Path) -> None:
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("atheris is not installed: it has wheels for Linux and CPython up to 3.13")
    found = tmp_path / "found"
    flags = [f"-max_total_time={LONG_SECONDS_A_TARGET}", f"-artifact_prefix={found}-"]
    done = subprocess.run(
        [sys.executable, str(FUZZ / "guided.py"), name, *flags, str(tmp_path), str(CORPUS / name)],
        capture_output=True, text=True, timeout=LONG_SECONDS_A_TARGET + 100,
    )  # fmt: skip
    said = done.stderr[-3_000:]
    assert done.returncode == 0, said
    print(f"{name}: {said.strip().splitlines()[-1]}")
