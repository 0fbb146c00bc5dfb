"""What MLPerf demands of each benchmark's results: a table (specification 8.3; round v6.1).

Directory names of submissions, not LoadGen's: ``resnet``, ``bert-99``. Values of benchmarks that
the round has dropped stay, for folders of rounds before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

MIN_DURATION_MS: Final = 600_000
ACCURACY_LOG_BYTES_MAX: Final = 10 * 1024
TOKENS: Final = "TOKENS_PER_SAMPLE"


@dataclass(frozen=True, slots=True)
class AccuracyRule:
    """One metric of accuracy.txt: the pattern of its line, and between what it must lie."""

    name: str
    at_least: float
    at_most: float | None = None


@dataclass(frozen=True, slots=True)
class BenchmarkRule:
    """One benchmark. Counts are samples; 0: not demanded. ``limits_ms``: by LoadGen's scenario.

    ``datacenter``, ``edge``: scenarios demanded in a closed or network submission of that suite;
    empty: the benchmark is not of that suite. ``either``: one of these is demanded besides, in the
    datacenter. ``tokens_ms``: limits of (first token, further token) by scenario directory.
    """

    dataset_size: int
    loaded_count: int
    offline_samples: int
    accuracy: tuple[AccuracyRule, ...]
    datacenter: tuple[str, ...] = ()
    edge: tuple[str, ...] = ()
    either: tuple[str, ...] = ()
    tests: tuple[str, ...] = ()
    server_limit_ms: int = 0
    tokens_ms: Mapping[str, tuple[int, int]] | None = None
    accuracy_count: int = 0

    @property
    def accuracy_samples(self) -> int:
        """Samples that an accuracy run must answer."""
        return self.accuracy_count or self.dataset_size


ACCURACY_PATTERNS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "acc": r'(?:\{"accuracy|accuracy)[": ]*=?\s*([\d.]+)',
        "mAP": r".*(?:mAP=|'Total':)\s*([\d.]+)",
        "F1": r"\{[\"']exact_match[\"']:\s*[\d.]+,\s*[\"']f1[\"']:\s*([\d.]+)\}",
        "DICE": r"Accuracy:\s*mean\s*=\s*([\d.]+)",
        "ACCURACY": r"Word Error Rate:.*, accuracy=([\d.]+)%",
        "ROUGE1": r".*'rouge1':\s+'?([\d.]+)",
        "ROUGE2": r".*'rouge2':\s+'?([\d.]+)",
        "ROUGEL": r".*'rougeL':\s+'?([\d.]+)",
        "ROUGELSUM": r".*'rougeLsum':\s+'?([\d.]+)",
        "GEN_LEN": r".*'gen_len':\s([\d.]+)",
        TOKENS: r".*'tokens_per_sample':\s([\d.]+)",
        "CLIP_SCORE": r".*'CLIP_SCORE':\s+'?([\d.]+)",
        "FID_SCORE": r".*'FID_SCORE':\s+'?([\d.]+)",
        "exact_match": r".*'exact_match':\s([\d.]+)",
        "vbench_score": r".*'vbench_score':\s([\d.]+)",
        "F1_HIERARCHICAL": r'\{.*"f1":\s*([\d.]+)',
        "DLRM_NE": r".*metric/lifetime_ne/rating:\s*([\d.]+)",
        "DLRM_ACC": r".*metric/lifetime_accuracy/rating:\s*([\d.]+)",
        "DLRM_AUC": r".*metric/lifetime_gauc/rating:\s*([\d.]+)",
    }
)
"""Where a metric stands in accuracy.txt, by its name; matched from the beginning of a line."""

_S, _M, _O, _SERVER = "singlestream", "multistream", "offline", "server"
_TEXT: Final = ("interactive", _SERVER)


def _rouge(
    one: float, two: float, long: float, share: float, *more: AccuracyRule
) -> tuple[AccuracyRule, ...]:
    values = (("ROUGE1", one), ("ROUGE2", two), ("ROUGEL", long))
    return (*(AccuracyRule(name, value * share) for name, value in values), *more)


def _between(name: str, value: float) -> AccuracyRule:
    """Lengths of answers: within a tenth of the reference's."""
    return AccuracyRule(name, value * 0.9, value * 1.1)


def _bert(share: float) -> BenchmarkRule:
    target = (AccuracyRule("F1", 90.874 * share),)
    return BenchmarkRule(10833, 10833, 10833, target, edge=(_S, _O), tests=("TEST01",))


def _unet(share: float) -> BenchmarkRule:
    target = (AccuracyRule("DICE", 0.86170 * share),)
    return BenchmarkRule(43, 43, 43, target, (_O,), (_S, _O), tests=("TEST01",))


def _yolo(share: float) -> BenchmarkRule:
    target = (AccuracyRule("mAP", 53.4 * share),)
    return BenchmarkRule(1525, 64, 1525, target, edge=(_S, _M, _O), tests=("TEST01",))


def _llama2(share: float) -> BenchmarkRule:
    return BenchmarkRule(
        24576,
        24576,
        24576,
        _rouge(44.4312, 22.0352, 28.6162, share, _between(TOKENS, 294.45)),
        (_O,),
        either=_TEXT,
        tests=("TEST06",),
        server_limit_ms=20_000,
        tokens_ms={_SERVER: (2000, 200), "interactive": (450, 40)},
    )


_LLAMA8B: Final = BenchmarkRule(
    13368,
    13368,
    13368,
    _rouge(
        38.7792,
        15.9075,
        24.4957,
        0.99,
        AccuracyRule("ROUGELSUM", 35.793 * 0.99),
        _between("GEN_LEN", 8167644),
    ),
    (_O,),
    either=_TEXT,
    tests=("TEST06",),
    server_limit_ms=20_000,
    tokens_ms={_SERVER: (2000, 100), "interactive": (500, 30)},
)
_LLAMA8B_EDGE: Final = BenchmarkRule(
    5000,
    5000,
    5000,
    _rouge(
        39.06,
        16.1147,
        24.6375,
        0.99,
        AccuracyRule("ROUGELSUM", 36.124 * 0.99),
        _between("GEN_LEN", 3051113),
    ),
    edge=(_S, _O),
    tokens_ms={},
)
_DEEPSEEK: Final = BenchmarkRule(
    4388,
    4388,
    4388,
    (AccuracyRule("exact_match", 0.99 * 81.3582), _between(TOKENS, 3886.2274)),
    (_O,),
    either=_TEXT,
    tests=("TEST06",),
    server_limit_ms=60_000,
    tokens_ms={_SERVER: (2000, 80), "interactive": (1500, 15)},
)
_GPT_OSS: Final = BenchmarkRule(
    6396,
    6396,
    6396,
    (AccuracyRule("exact_match", 83.13 * 0.99),),
    (_O,),
    either=_TEXT,
    tests=("TEST07", "TEST09"),
    server_limit_ms=60_000,
    tokens_ms={_SERVER: (3000, 80), "interactive": (2000, 15)},
    accuracy_count=4395,
)
_DLRM: Final = BenchmarkRule(
    349823,
    349823,
    349823,
    (
        AccuracyRule("DLRM_NE", 0.86687 * 0.999),
        AccuracyRule("DLRM_ACC", 0.69651 * 0.999),
        AccuracyRule("DLRM_AUC", 0.78663 * 0.999),
    ),
    (_SERVER, _O),
    tests=("TEST08",),
    server_limit_ms=60_000,
)
_SDXL: Final = BenchmarkRule(
    5000,
    5000,
    5000,
    (
        AccuracyRule("CLIP_SCORE", 31.68631873, 31.81331801),
        AccuracyRule("FID_SCORE", 23.01085758, 23.95007626),
    ),
    edge=(_S, _O),
    tests=("TEST01", "TEST04"),
    server_limit_ms=20_000,
)

RULES: Final[Mapping[str, BenchmarkRule]] = MappingProxyType(
    {
        "resnet": BenchmarkRule(
            50000,
            1024,
            24576,
            (AccuracyRule("acc", 76.46 * 0.99),),
            edge=(_S, _M, _O),
            tests=("TEST01", "TEST04"),
            server_limit_ms=15,
        ),
        "retinanet": BenchmarkRule(
            24781, 64, 24576, (AccuracyRule("mAP", 37.55 * 0.99),), server_limit_ms=100
        ),
        "bert-99": _bert(0.99),
        "bert-99.9": _bert(0.999),
        "3d-unet-99": _unet(0.99),
        "3d-unet-99.9": _unet(0.999),
        "yolo-95": _yolo(0.95),
        "yolo-99": _yolo(0.99),
        "llama2-70b-99": _llama2(0.99),
        "llama2-70b-99.9": _llama2(0.999),
        "llama3.1-8b": _LLAMA8B,
        "llama3.1-8b-edge": _LLAMA8B_EDGE,
        "deepseek-r1": _DEEPSEEK,
        "gpt-oss-120b": _GPT_OSS,
        "dlrm-v3": _DLRM,
        "stable-diffusion-xl": _SDXL,
        "rgat": BenchmarkRule(
            788379,
            788379,
            788379,
            (AccuracyRule("acc", 0.7286 * 0.99),),
            (_O,),
            tests=("TEST01",),
        ),
        "whisper": BenchmarkRule(
            1633,
            1633,
            1633,
            (AccuracyRule("ACCURACY", (100.0 - 2.0671) * 0.99),),
            (_O,),
            (_O,),
            tests=("TEST01",),
            tokens_ms={},
        ),
        "qwen3-vl-235b-a22b": BenchmarkRule(
            48289,
            48289,
            48289,
            (AccuracyRule("F1_HIERARCHICAL", 0.7903 * 0.99),),
            (_O,),
            either=_TEXT,
            server_limit_ms=60_000,
        ),
        "wan-2.2-t2v-a14b": BenchmarkRule(
            248,
            50,
            50,
            (AccuracyRule("vbench_score", 70.48 * 0.99),),
            (_O, _S),
            tests=("TEST04",),
        ),
    }
)

LOADGEN_NAMES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "resnet50": "resnet",
        "bert": "bert-99",
        "3d-unet": "3d-unet-99",
        "yolo": "yolo-99",
        "llama2-70b": "llama2-70b-99",
        "llama3_1-8b": "llama3.1-8b",
        "llama3_1-8b-edge": "llama3.1-8b-edge",
    }
)
"""Submission directory of a benchmark that LoadGen's files call otherwise; the laxer of two."""


def directory_name(loadgen_name: str) -> str:
    """``llama3_1-8b-interactive`` -> ``llama3.1-8b``: the benchmark's name in submissions."""
    name = loadgen_name.removesuffix("-interactive")
    return LOADGEN_NAMES.get(name, name)
