"""A run with every kind of secret: none of them in a file of its directory, in what was said, in a
process's title, or in the environment of a process that does not need it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from openai_server import openai_server
from sut_process import sut_server

COMMAND_S = 90.0
SECRETS = {
    "literal": "literal-secret-of-a-header",
    "variable": "secret-in-the-environment",
    "file": "secret-in-a-file-of-its-own",
    "key": "sk-secret-of-the-api-key-1",
}
QUICK = (
    *("--target-qps", "50", "--min-duration-ms", "2000", "--min-query-count", "50"),
    *("--target-latency-ms", "5000", "--issue-delay-budget-ms", "10000", "--quiet"),
)


def command_lines_of_children(parent: int) -> dict[int, bytes]:
    """Every descendant's title."""
    found: dict[int, bytes] = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            number = int(path.name)
            stat = (path / "stat").read_text().rpartition(")")[2].split()
            if int(stat[1]) in (parent, *found):
                found[number] = (path / "cmdline").read_bytes() + (path / "comm").read_bytes()
        except (OSError, IndexError):
            continue
    return found


def run(folder: Path, *flags: str) -> tuple[str, dict[int, bytes]]:
    """What a run said, and the titles of the processes that it was made of."""
    arguments = [sys.executable, "-m", "loadgen_service", "run", *flags, *QUICK, "--out", "out"]
    environment = {
        **os.environ,
        "LOADGEN_HEADER_SECRET": SECRETS["variable"],
        "LOADGEN_API_KEY_SECRET": SECRETS["key"],
    }
    process = subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=folder,
        env=environment,
    )  # fmt: skip
    titles: dict[int, bytes] = {}
    deadline = time.monotonic() + COMMAND_S
    try:
        while process.poll() is None and time.monotonic() < deadline:
            titles |= command_lines_of_children(process.pid)
            time.sleep(0.1)
        said, _ = process.communicate(timeout=COMMAND_S)
    finally:
        process.kill()
    assert process.returncode in (0, 1), said
    return said, titles


def assert_kept(folder: Path, said: str, titles: dict[int, bytes], *names: str) -> None:
    assert titles
    files = [path for path in (folder / "out").rglob("*") if path.is_file()]
    assert {"summary.json", "settings.yaml", "records.parquet", "report.html"} <= {
        path.name for path in files
    }
    for name in names:
        secret = SECRETS[name]
        assert secret not in said, name
        guilty = [path.name for path in files if secret.encode() in path.read_bytes()]
        assert not guilty, name
        assert not any(secret.encode() in title for title in titles.values()), name


def test_header_secrets_stay_where_they_are(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRETS["file"])
    # a literal on the asker's own command line is the asker's choice; a settings file is not
    (tmp_path / "mine.yaml").write_text(f"header: ['x-literal={SECRETS['literal']}']\n")
    with sut_server("--model", "null") as sut:
        said, titles = run(
            tmp_path, "--sut", f"grpc://{sut.host_port}", "--model", "null",
            "--config", "mine.yaml",
        )  # fmt: skip
        assert_kept(tmp_path, said, titles, "literal")
        shutil.rmtree(tmp_path / "out")
        flags = ("--header", "x-variable=env:LOADGEN_HEADER_SECRET")
        more = ("--header", f"x-file=file:{tmp_path / 'secret'}")
        said, titles = run(
            tmp_path, "--sut", f"grpc://{sut.host_port}", "--model", "null", *flags, *more
        )
    assert_kept(tmp_path, said, titles, "variable", "file")


def test_an_api_key_stays_where_it_is(tmp_path: Path) -> None:
    with openai_server() as target:
        said, titles = run(
            tmp_path, "--sut", f"openai://{target}", "--model", "synthetic-stream",
            "--dataset", "random", "--api-key", "env:LOADGEN_API_KEY_SECRET",
        )  # fmt: skip
    assert_kept(tmp_path, said, titles, "key")


def test_a_token_in_a_wrong_place_is_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LOADGEN_TOKEN", raising=False)
    (tmp_path / "tokens").write_text(f"name fly {SECRETS['file']}\nother run\n")
    done = subprocess.run(
        [sys.executable, "-m", "loadgen_service", "serve", "--port", "0", "--token-file", "tokens"],
        capture_output=True, text=True, cwd=tmp_path, timeout=COMMAND_S,
    )  # fmt: skip
    assert done.returncode == 2
    assert "tokens line 1: rights are" in done.stderr
    assert SECRETS["file"] not in done.stdout + done.stderr
