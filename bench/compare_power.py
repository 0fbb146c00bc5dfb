"""How often ``loadgen compare`` sees 3 % at p99, and how often it sees what is not there.

Without flags on simulated latencies, in half a minute. With ``--real``: sut-server processes whose
service times differ by 3 %, or do not, measured by real runs; exits 1 where must-show figures are
missed (identical called different more than twice in twenty, 3 % found fewer than fifteen times).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import numpy as np

from loadgen_service.compare.comparison import compare_systems
from loadgen_service.compare.systems import read_systems
from loadgen_service.core.plan.mt19937 import RandomWords
from loadgen_service.core.stats.bootstrap import SEED, SLICE_COUNT, block_weights, difference
from loadgen_service.core.stats.latency_heatmap import LatencyGrid

MEDIAN_MS = 300.0
SIGMA = 0.1
CHANGE = 0.03
FALSE_ALARMS_MAX = 2 / 20
FOUND_MIN = 15 / 20
READY_S = 60.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--real", action="store_true", help="real runs against sut-server")
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--qps", type=float, default=200.0)
    parser.add_argument("--seconds", type=float, default=45.0, help="length of a run")
    parser.add_argument("--median-ms", type=float, default=MEDIAN_MS, help="of the service time")
    parser.add_argument("--lanes", type=int, default=2, help="real: runs at the same time")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the servers end with this process
    found = asyncio.run(real(given)) if given.real else simulated(given)
    print(f"{'real' if given.real else 'simulated'}: {given.pairs} pairs each, lognormal service "
          f"times of {given.median_ms:g} ms, sigma {SIGMA:g}, {given.qps:g} queries/s for "
          f"{given.seconds:g} s")  # fmt: skip
    same, other = found["identical"], found["3 %"]
    for name, words in found.items():
        print(f"  {name:<10}" + ", ".join(f"{word}: {count}" for word, count in words.items()))
    alarms = (given.pairs - same["not distinguishable"]) / given.pairs
    seen = other["slower"] / given.pairs
    met = alarms <= FALSE_ALARMS_MAX and seen >= FOUND_MIN
    print(f"  identical called different: {alarms:.0%} (at most {FALSE_ALARMS_MAX:.0%})")
    print(f"  3 % found: {seen:.0%} (at least {FOUND_MIN:.0%})")
    print(f"  {'met' if met else 'NOT MET'}")
    return 0 if met else 1


def simulated(given: argparse.Namespace) -> dict[str, Counter[str]]:
    """Independent lognormal latencies, no server."""
    weights = block_weights(SEED), block_weights(SEED + 1)
    found: dict[str, Counter[str]] = {}
    for place, (name, scale) in enumerate((("identical", 1.0), ("3 %", 1.0 + CHANGE))):
        found[name] = Counter()
        for pair in range(given.pairs):
            seed = 4 * pair + 2 * place
            grids = [simulated_run(given, seed, 1.0), simulated_run(given, seed + 1, scale)]
            drawn = [g.weighted_quantiles(w, 0.99) for g, w in zip(grids, weights, strict=True)]
            between = difference(*drawn)
            assert between
            found[name][between.word(more_is_better=False)] += 1
    return found


def simulated_run(given: argparse.Namespace, seed: int, scale: float) -> LatencyGrid:
    words, count = RandomWords(seed), int(given.qps * given.seconds)
    radius = np.sqrt(-2 * np.log(1 - words.canonical_many(count)))
    normal = radius * np.cos(2 * math.pi * words.canonical_many(count))
    end_ns = int(given.seconds * 1e9)
    grid = LatencyGrid(end_ns, SLICE_COUNT)
    due = (words.canonical_many(count) * end_ns).astype(np.int64)
    grid.add(due, (given.median_ms * 1e6 * scale * np.exp(SIGMA * normal)).astype(np.int64))
    return grid


async def real(given: argparse.Namespace) -> dict[str, Counter[str]]:
    """Two servers that are alike, one that is slower; the two runs of a pair one after the other.

    ``lanes`` pairs are measured at once, as streams of a mixed run: no run begins, and none is
    worked out, while another is measured, which two cores could not bear.
    """
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        first, alike, slower = [
            await stack.enter_async_context(synthetic(given.median_ms * scale, seed))
            for seed, scale in ((1, 1.0), (2, 1.0), (3, 1.0 + CHANGE))
        ]
        found: dict[str, Counter[str]] = {}
        for name, second in (("identical", alike), ("3 %", slower)):
            found[name] = Counter()
            for start in range(0, given.pairs, given.lanes):
                pairs = list(range(start, min(start + given.lanes, given.pairs)))
                place = folder / name.replace(" %", "") / str(start)
                await one_wave(given, place / "first", pairs, first)
                await one_wave(given, place / "second", pairs, second)
                found[name].update([await one_pair(name, place, pair) for pair in pairs])
    return found


@asynccontextmanager
async def synthetic(median_ms: float, seed: int) -> AsyncIterator[str]:
    """HOST:PORT of a sut-server with seeded lognormal service times."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sut_server", "--model", "synthetic", "--port", "0"),
        *("--service-time", f"lognormal:{median_ms:g}:{SIGMA:g}", "--seed", str(seed)),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout
    try:
        line = await asyncio.wait_for(process.stdout.readline(), READY_S)
        yield line.decode().split()[-1]
    finally:
        process.terminate()
        await process.wait()


async def one_pair(name: str, place: Path, pair: int) -> str:
    """The word of ``compare`` for two runs."""
    places = [place / which / "streams" / str(pair) for which in ("first", "second")]
    systems = read_systems([f"{one.parts[-3]}={one}" for one in places])
    # a busy host may make runs INVALID by the generator's lateness: shown, compared anyway
    compared = await asyncio.to_thread(compare_systems, systems, force=True)
    one = compared.differences[0]
    forced = f" [{'; '.join(compared.refused)}]" if compared.refused else ""
    print(f"  {name:>9} {pair:>2}: {one.sentence}{forced}", flush=True)
    return one.word


async def one_wave(
    given: argparse.Namespace, place: Path, pairs: Sequence[int], address: str
) -> None:
    """A run a pair, all of them at once on one server."""
    place.mkdir(parents=True)
    settings = {
        "sut": f"grpc://{address}",
        "model": "synthetic",
        "scenario": "server",
        "target_qps": given.qps,
        "min_duration_ms": round(given.seconds * 1000),
        "issue_delay_budget_ms": 20,
        "target_latency_ms": 2 * given.median_ms,
        "total_sample_count": 64,
        # a schedule of its own for each pair, or all would ask at the same instants
        "streams": [{"name": str(pair), "schedule_rng_seed": 1 + pair} for pair in pairs],
    }
    config = place.with_suffix(".json")  # JSON is YAML
    config.write_text(json.dumps(settings))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "loadgen_service", "run", "--quiet", "--json"),
        *("--config", str(config), "--out", str(place)),
        stdout=asyncio.subprocess.PIPE,
    )
    said, _ = await asyncio.wait_for(process.communicate(), given.seconds + 180)
    for stream in json.loads(said)["streams"]:
        assert stream["summary"]["counts"]["queries"]["lost"] == 0


if __name__ == "__main__":
    sys.exit(main())
