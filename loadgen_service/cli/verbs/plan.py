"""``loadgen plan``: the plan of a run on disk and its hash; nothing is issued, no SUT is asked."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from loadgen_service.cli.flags import FIRST_SCREEN, given_flags, model_parser
from loadgen_service.cli.settings_sources import read_settings
from loadgen_service.core.settings import Settings
from loadgen_service.errors import RunError, SettingsError, SutError

if TYPE_CHECKING:
    from loadgen_service.core.plan.plan import SampleCounts

PLAN_FILE = "plan.parquet"


def main(argv: Sequence[str]) -> int:
    """Write plan.parquet and print its hash."""
    parser = model_parser("loadgen plan", __doc__ or "", Settings)
    parser.shorten_help(FIRST_SCREEN)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    namespace = parser.parse_strictly(argv)
    settings = read_settings(
        Settings, given_flags(namespace, Settings), os.environ, namespace.config
    )
    written = write(settings)
    if namespace.json:
        print(json.dumps(written))
    else:
        print(f"{written['plan_hash']}\n{written['samples']:,} samples in {written['file']}")
    return 0


def write(settings: Settings) -> dict[str, object]:
    """Write the plan below ``settings.out`` (else here); names its file, hash and sample count."""
    from loadgen_service.core.plan.plan import plan_hash
    from loadgen_service.report.plan_parquet import write_plan
    from loadgen_service.service.run.preparation import read_trace

    counts, trace_ns = sample_counts(settings), read_trace(settings)
    hashed = plan_hash(settings, counts, trace_ns)
    folder = Path(settings.out or ".")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"out {folder}: {error.strerror}; name another folder") from None
    path = folder / PLAN_FILE
    samples = write_plan(path, settings, counts, trace_ns)
    return {"plan_hash": hashed, "samples": samples, "file": str(path)}


def sample_counts(settings: Settings) -> SampleCounts:
    """Counts that the flags give, else those of the data set.

    Raises SettingsError where neither says: a made data set is as large as the model's tensors
    make it, and no model is asked here.
    """
    from loadgen_service.core.plan.plan import SampleCounts
    from loadgen_service.qsl import open_library

    total = settings.total_sample_count
    if settings.sequences and (counts := _counts_of_sequences(settings)):
        return counts
    if total:
        return SampleCounts(total, settings.performance_sample_count or total)
    try:
        library = open_library(settings, [], batched=True)
    except SutError:
        raise SettingsError(
            f"total_sample_count: the size of data set {settings.dataset} depends on the model; "
            "give --total-sample-count, and --performance-sample-count for the loaded ones"
        ) from None
    return SampleCounts(
        library.total_sample_count, library.performance_sample_count, library.sequences
    )


def _counts_of_sequences(settings: Settings) -> SampleCounts | None:
    """Of a file of sequences that needs no data set, or one whose size is given."""
    from loadgen_service.core.plan.plan import SampleCounts
    from loadgen_service.qsl.sources.sequence_file import read_sequence_file

    played = read_sequence_file(Path(settings.sequences))
    total = len(played.steps) or settings.total_sample_count
    if not total:
        return None
    played.require_within(total, settings.dataset)
    return SampleCounts(total, len(played.layout.used_samples), played.layout)
