"""Whole runs against servers whose streams are shaped as real ones are, and their figures."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from raw_http import DONE, LISTED, Answer, RawServer, delta, raw_server, stream, usage, whole

RUN_S = 120.0


async def measured(
    server: RawServer, out: Path, *flags: str, code: int | None = 0
) -> tuple[dict[str, Any], str]:
    """Summary and what was said of one run."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "loadgen_service", "run", "--sut",
        f"openai://127.0.0.1:{server.port}/v1", "--model", "m", "--scenario", "concurrency",
        "--min-duration-ms", "400", "--min-query-count", "1", "--out", str(out), "--quiet", *flags,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    async with asyncio.timeout(RUN_S):
        said, _ = await process.communicate()
    assert code is None or process.returncode == code, said.decode()
    path = out / "summary.json"
    return json.loads(path.read_text()) if path.exists() else {}, said.decode()


def served(answer: Answer, out: Path, *flags: str, **given: Any) -> tuple[dict[str, Any], str]:
    models = given.pop("models", LISTED)

    async def work() -> tuple[dict[str, Any], str]:
        async with raw_server(answer, models) as server:
            return await measured(server, out, *flags, **given)

    return asyncio.run(work())


async def good(number: int, writer: asyncio.StreamWriter) -> None:
    end = delta(finish="stop") + usage(5, 2) + DONE
    await stream(writer, (0, delta("a")), (0.01, delta("b")), (0, end))


def test_a_late_usage_moves_loadgens_time_per_token_alone(tmp_path: Path) -> None:
    async def late(number: int, writer: asyncio.StreamWriter) -> None:
        tokens = [(0.01, delta(f"t{n}")) for n in range(9)]
        end = delta(finish="stop")
        await stream(writer, *tokens, (0, end), (0.4, usage(5, 9) + DONE))

    summary, said = served(late, tmp_path / "out", "--use-token-latencies")
    tokens, streams = summary["tokens"], summary["streams"]
    # The server waited 400 ms behind the last token: over 8 further tokens that is 50 ms each.
    late_ns = tokens["loadgen_tpot_ns"]["min"] - tokens["tpot_ns"]["max"]
    assert late_ns > 0
    assert tokens["loadgen_tpot_ns"]["min"] >= 50_000_000
    assert tokens["tpot_ns"] == streams["tpot_ns"]
    assert tokens["tpot_ns"]["p50"] <= streams["itl_ns"]["max"]
    for word in ("TTFT p50", "TPOT p50", "ITL p99", "tokens/s", "goodput/s"):
        assert word in said


def test_empty_answers_and_failed_ones_are_told_apart(tmp_path: Path) -> None:
    async def mixed(number: int, writer: asyncio.StreamWriter) -> None:
        if number % 3 == 0:
            await good(number, writer)
        elif number % 3 == 1:
            end = delta(finish="stop") + usage(5, 0) + DONE
            await stream(writer, (0, delta("", role="assistant")), (0.01, end))
        else:
            await stream(writer, (0, delta("a")), (0.01, b"event: error\n: worker lost\n\n" + DONE))

    summary, _ = served(mixed, tmp_path / "out", code=1)
    counts, streams = summary["counts"]["requests"], summary["streams"]
    assert counts["failed"] >= 1
    assert summary["errors"][0]["message"] == "worker lost"
    assert summary["first_response_ns"]["count"] - counts["failed"] == streams["ttft_ns"]["count"]
    assert streams["ttft_ns"]["count"] < counts["completed"] or counts["completed"] == 1
    assert "worker lost" in (tmp_path / "out" / "report.txt").read_text()


@pytest.mark.parametrize(
    "models",
    [
        whole(500, b"Internal Server Error", "text/plain"),
        whole(200, b'{"object": "list", "data": []}'),
        whole(200, b'{"object": "list", "data": [{"id": "unknown"}]}'),
    ],
)
def test_a_list_without_the_model_is_a_note_where_the_server_serves_it(
    models: bytes, tmp_path: Path
) -> None:
    summary, _ = served(good, tmp_path / "out", models=models)
    [note] = [note for note in summary["notes"] if "list of models" in note]
    assert "'m' in the list of models" in note


def test_a_model_that_the_server_refuses_is_one_line(tmp_path: Path) -> None:
    async def refuse(number: int, writer: asyncio.StreamWriter) -> None:
        writer.write(whole(404, b'{"error": {"message": "The model `m` does not exist."}}'))

    models = whole(200, b'{"data": [{"id": "big"}, {"id": "small"}]}')
    _, said = served(refuse, tmp_path / "out", models=models, code=2)
    assert "does not serve 'm' (HTTP 404: The model `m` does not exist.)" in said
    assert "it lists big, small; check --model" in said


def test_stray_bytes_between_answers_spoil_no_other_answer(tmp_path: Path) -> None:
    async def stray(number: int, writer: asyncio.StreamWriter) -> None:
        await good(number, writer)
        await asyncio.sleep(0.003)
        writer.write(b"\r\n")

    flags = ("--concurrency", "4", "--min-query-count", "40")
    summary, _ = served(stray, tmp_path / "out", *flags)
    counts = summary["counts"]["requests"]
    assert counts["completed"] == counts["issued"] >= 40
    # Every answer takes 10 ms between its tokens: none may come sooner than that.
    assert summary["latency_ns"]["min"] >= 9_000_000
