"""What /metrics and the live page cost a run: queries/s and issue delay with and without them.

`python bench/observability.py [ROUNDS]`. Runs alternate between the two, against a null
sut-server on this machine; "seen" is scraped each second and followed by one page.
"""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import IO

SECONDS = 6
SCRAPE_S = 1.0
COMMAND_S = 120

CASES = {
    "closed loop, 16 outstanding": ["--scenario", "concurrency", "--concurrency", "16"],
    "server, 2000 queries/s": ["--scenario", "server", "--target-qps", "2000"],
}


def main() -> None:
    """Print a line a case and kind: medians over the rounds."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    sut = subprocess.Popen(
        [sys.executable, "-m", "sut_server", "--model", "null", "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert sut.stdout is not None
        address = sut.stdout.readline().rsplit(" ", 1)[-1].strip()
        print(f"{'case':30} {'seen':5} {'queries/s':>10} {'issue delay p50':>16} {'p99':>10}")
        for name, flags in CASES.items():
            measure(name, ["--sut", f"grpc://{address}", "--model", "null", *flags], rounds)
    finally:
        sut.terminate()
        sut.wait(30)


def measure(name: str, flags: list[str], rounds: int) -> None:
    """Alternate, so that a change of the machine's mood touches both."""
    found: dict[bool, list[dict[str, float]]] = {False: [], True: []}
    for _ in range(rounds):
        for seen in (False, True):
            found[seen].append(one_run(flags, seen))
    for seen, results in found.items():
        qps, p50, p99 = (
            statistics.median(one[key] for one in results) for key in ("qps", "p50_us", "p99_us")
        )
        word = "yes" if seen else "no"
        print(f"{name:30} {word:5} {qps:10.0f} {p50:13.0f} us {p99:7.0f} us")
    scrapes = [one["scrape_ms"] for one in found[True]]
    print(f"{'':30} a scrape takes {statistics.median(scrapes):.1f} ms")


def one_run(flags: list[str], seen: bool) -> dict[str, float]:
    """One run, watched or not."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        command = [sys.executable, "-m", "loadgen_service", "run", *flags, "--out", str(out)]
        command += ["--min-duration-ms", str(SECONDS * 1000)]
        command += ["--http-port", "0"] if seen else []
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        assert process.stderr is not None
        scrape_ms = watch(process.stderr) if seen else [0.0]
        process.communicate(timeout=COMMAND_S)
        summary = json.loads((out / "summary.json").read_text())
    delay = summary["issue_delay_ns"]
    return {
        "qps": summary["completed_qps"],
        "p50_us": delay["p50"] / 1000,
        "p99_us": delay["p99"] / 1000,
        "scrape_ms": statistics.median(scrape_ms or [0.0]),
    }


def watch(said: IO[str]) -> list[float]:
    """Scrape and follow the run until its port is gone; how long each scrape took (ms)."""
    url = ""
    for line in said:
        found = re.search(r"live page on (\S+)", line)
        if found:
            url = found[1]
            break
    follower = threading.Thread(target=follow, args=(url,), daemon=True)
    follower.start()
    took_ms: list[float] = []
    with suppress(OSError):
        while True:
            before = time.perf_counter()
            with urllib.request.urlopen(f"{url}metrics", timeout=10) as reply:
                reply.read()
            took_ms.append((time.perf_counter() - before) * 1000)
            threading.Event().wait(SCRAPE_S)
    follower.join(10)
    return took_ms


def follow(url: str) -> None:
    """Read the page's events as a browser does."""
    with suppress(OSError), urllib.request.urlopen(f"{url}api/events", timeout=30) as reply:
        for _ in reply:
            pass


if __name__ == "__main__":
    main()
