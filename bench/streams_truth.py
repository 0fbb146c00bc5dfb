"""Client truth at many parallel streams: true and reported TTFT, TPOT and ITL side by side.

usage: python bench/streams_truth.py [STREAMS] [grpc|openai]   (1000 openai)
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "integration"))

from openai_server import openai_server
from stream_truth import read_reported, read_truth, run_streams, table
from sut_process import sut_server

SERVER = (
    "--first-token-time", "lognormal:400:0.3", "--token-time", "lognormal:100:0.4",
    "--token-count", "constant:40",
)  # fmt: skip


def main(streams: int, protocol: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        log, out = Path(folder) / "truth.jsonl", Path(folder) / "out"
        load = (
            "--scenario", "concurrency", "--concurrency", str(streams),
            "--min-query-count", str(3 * streams), "--min-duration-ms", "10000",
            "--timeout-ms", "60000", "--connections", str(min(streams, 1024)),
        )  # fmt: skip
        flags = (*SERVER, "--token-log", str(log))
        if protocol == "grpc":
            load = load[:-2]  # one connection carries them all
            with sut_server("--model", "synthetic-stream", *flags) as server:
                summary = run_streams(f"grpc://{server.host_port}", out, *load)
        else:
            unlimited = ("--request-parameters", '{"max_tokens": null}')
            with openai_server(*flags) as target:
                summary = run_streams(f"openai://{target}", out, *load, *unlimited)
        counts = summary["counts"]["requests"]
        rate = summary["streams"]["output_tokens_per_second"]
        print(f"{protocol}, {streams} streams at once, {counts['completed']} completed of "
              f"{counts['issued']}, {rate:.0f} tokens/s")  # fmt: skip
        print(table(read_truth(log), read_reported(out)))


if __name__ == "__main__":
    given = sys.argv[1:]
    main(int(given[0]) if given else 1000, given[1] if len(given) > 1 else "openai")
