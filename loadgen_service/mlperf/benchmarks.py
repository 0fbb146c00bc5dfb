"""Official values by benchmark and round, as LoadGen 6.0.17's built-in mlperf.conf has them.

A table: what each benchmark loads, its limits and its minima (specification 4.5). The tests compare
every row and scenario with the official wheel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final


@dataclass(frozen=True, slots=True)
class RoundSeeds:
    """The three seeds of a submission round, and those of its TEST05 review where published."""

    qsl: int
    sample_index: int
    schedule: int
    test05: tuple[int, int, int] | None = None


ROUNDS: Final[Mapping[str, RoundSeeds]] = MappingProxyType(
    {
        "v6.1": RoundSeeds(
            2085463073848966840,
            2747215439041700203,
            16159082839903944936,
            (7975553102935885558, 11403566307062068064, 15816800565822761601),
        ),
        "v6.0": RoundSeeds(2465351861681999779, 14276810075590677512, 3936089224930324775),
        "v5.1": RoundSeeds(1780908523862526354, 14771362308971278857, 18209322760996052031),
        "v5.0": RoundSeeds(6023615788873153749, 15036839855038426416, 9933818062894767841),
    }
)


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One benchmark's row. Counts of 0 mean "none of its own".

    ``loaded_count``: performance_sample_count_override; ``offline_count``: Offline's
    min_query_count (samples). ``ttft_ms`` and ``tpot_ms`` of 0 keep LoadGen's 100 ms.
    ``uses_tokens``: token latencies are measured; ``inferred_tokens``: the fixed factor of
    benchmarks whose token rate is inferred.
    """

    loaded_count: int = 0
    offline_count: int = 0
    server_latency_ms: int = 10
    ttft_ms: int = 0
    tpot_ms: int = 0
    equal_issue: bool = False
    uses_tokens: bool = False
    inferred_tokens: int = 0
    accuracy_count: int = 0
    single_stream_percentile: float = 90.0
    multi_stream_latency_ms: float = 80.0


def _llm(loaded: int, offline: int, ttft_ms: int, tpot_ms: int, accuracy: int = 0) -> Benchmark:
    """A language model judged on its tokens alone: the plain latency limit is 0 and ignored."""
    return Benchmark(
        loaded_count=loaded,
        offline_count=offline,
        server_latency_ms=0,
        ttft_ms=ttft_ms,
        tpot_ms=tpot_ms,
        equal_issue=True,
        uses_tokens=True,
        accuracy_count=accuracy,
    )


BENCHMARKS: Final[Mapping[str, Benchmark]] = MappingProxyType(
    {
        "resnet50": Benchmark(1024, 24576, 15),
        "ssd-mobilenet": Benchmark(256),
        "retinanet": Benchmark(64, 24576, 100, multi_stream_latency_ms=528.0),
        "bert": Benchmark(10833, 10833, 130),
        "dlrm": Benchmark(204800, 0, 60),
        "dlrm-v2": Benchmark(204800, 24576, 60),
        "dlrm-v3": Benchmark(0, 0, 80),
        "rnnt": Benchmark(2513, 2513, 1000),
        "gptj": Benchmark(13368, 13368, 20000, equal_issue=True, inferred_tokens=69),
        "mixtral-8x7b": _llm(15000, 15000, 2000, 200),
        "llama2-70b": _llm(24576, 24576, 2000, 200),
        "llama2-70b-interactive": _llm(24576, 0, 450, 40),
        "llama3_1-405b": _llm(8313, 8313, 6000, 175),
        "llama3_1-405b-interactive": _llm(8313, 0, 4500, 80),
        "llama3_1-8b": _llm(13368, 13368, 2000, 100),
        "llama3_1-8b-interactive": _llm(13368, 0, 500, 30),
        "llama3_1-8b-edge": Benchmark(5000, 5000, equal_issue=True, uses_tokens=True),
        "stable-diffusion-xl": Benchmark(5000, 5000, 20000),
        "wan-2.2-t2v-a14b": Benchmark(248, 248),
        "rgat": Benchmark(788379, 788379, equal_issue=True),
        "pointpainting": Benchmark(1024, single_stream_percentile=99.9),
        "deepseek-r1": _llm(4388, 4388, 2000, 80),
        "deepseek-r1-interactive": _llm(4388, 0, 1500, 15),
        "whisper": Benchmark(1633, 1633, equal_issue=True, uses_tokens=True),
        "qwen3-vl-235b-a22b": Benchmark(48289, 48289, 12000, equal_issue=True),
        "yolo": Benchmark(64),
        "3d-unet": Benchmark(0, 43, equal_issue=True),
        "gpt-oss-120b": _llm(6396, 0, 3000, 80, accuracy=4395),
        "gpt-oss-120b-interactive": _llm(6396, 0, 2000, 15, accuracy=4395),
    }
)

MIN_DURATION_MS: Final = 600_000
MULTI_STREAM_QUERY_COUNT: Final = 662
SINGLE_STREAM_LATENCY_MS: Final = 10.0
"""Placeholder that a submitter's user.conf overrides, as are multi_stream's and every rate."""
