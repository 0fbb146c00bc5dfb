"""The compliance tests: which runs each needs, and what its audit.config says.

A table (specification 7). Which rule judges a test is audit_rules' business; nothing runs here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

RunName = Literal["performance", "accuracy", "audit"]

SAMPLING_SEED: Final = 720381539243781796
"""accuracy_log_rng_seed of every test that samples responses."""

SAMPLING_TARGETS: Final[Mapping[str, int]] = {
    "pointpainting": 256,
    "retinanet": 256,
    "stable-diffusion-xl": 128,
    "3d-unet": 64,
    "yolo": 64,
    "wan-2.2-t2v-a14b": 50,
}
DEFAULT_SAMPLING_TARGET: Final = 4096
"""bert, dlrm, dlrm-v2, gptj, resnet50, rgat, rnnt, whisper; and whatever has no row."""


@dataclass(frozen=True, slots=True)
class AuditTest:
    """One test. ``runs``: what is measured, in order, the audited run last.

    ``official``: a test of the current round; the others are reviews that later rounds dropped.
    """

    name: str
    words: str
    runs: tuple[RunName, ...]
    official: bool = True


TESTS: Final[Mapping[str, AuditTest]] = {
    one.name: one
    for one in (
        AuditTest(
            "TEST01",
            "responses of a performance run equal those of the accuracy run",
            ("performance", "accuracy", "audit"),
        ),
        AuditTest(
            "TEST04", "one sample over and over is not served faster", ("performance", "audit")
        ),
        AuditTest(
            "TEST05",
            "other seeds give the same performance",
            ("performance", "audit"),
            official=False,
        ),
        AuditTest("TEST06", "first token, end of text and token count agree", ("audit",)),
        AuditTest(
            "custom-data",
            "another data set gives the same performance",
            ("performance", "audit"),
            official=False,
        ),
    )
}


def audit_conf(test: str, benchmark: str) -> dict[str, int]:
    """What the test's audit.config sets, by LoadGen's key; empty for a test that has no such file.

    ``benchmark``: LoadGen's name, or empty.
    """
    sampled = {"mode": 2, "accuracy_log_rng_seed": SAMPLING_SEED}
    if test == "TEST01":
        name = benchmark.removesuffix("-interactive")
        target = SAMPLING_TARGETS.get(name, DEFAULT_SAMPLING_TARGET)
        return {**sampled, "accuracy_log_sampling_target": target}
    if test == "TEST04":
        return {
            "mode": 2,
            "performance_issue_unique": 0,
            "performance_issue_same": 1,
            "performance_issue_same_index": 3,
        }
    if test == "TEST06":
        return {
            **sampled,
            "accuracy_log_sampling_target": 100,
            "min_query_count": 100,
            "min_duration": 0,
            "sample_concatenate_permutation": 0,
        }
    return {}


def audit_conf_text(test: str, benchmark: str) -> str:
    """The file audit.config of the test; empty for a test that has none."""
    values = audit_conf(test, benchmark)
    if not values:
        return ""
    lines = [f"*.*.{key} = {value}" for key, value in values.items()]
    return "\n".join([f"# settings of {test}", *lines, ""])
