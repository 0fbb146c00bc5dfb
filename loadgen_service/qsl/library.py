"""The query sample library: the samples of a data set as raw tensors, with their labels.

``open_library`` chooses the source by the ``dataset`` setting, fits it to what the server expects
and refuses what does not fit, before any load. Sources know nothing of counts and timing; the
library knows nothing of files.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Final, Protocol

from loadgen_service.core.plan.sequences import SequenceSet
from loadgen_service.core.settings import Settings
from loadgen_service.errors import SettingsError, UserError
from loadgen_service.qsl.input_specs import wanted_tensors
from loadgen_service.qsl.tensors import Array, TensorMetadata, TensorSpec

DEFAULT_LOADED_BYTES: Final = 1 << 30
"""Samples loaded for a performance run unless asked otherwise: as many as fit in 1 GiB of memory,
which every worker maps."""


class SampleSource(Protocol):
    """Samples in one order. ``sample`` may be slow; it raises UserError for unreadable data."""

    name: str
    tensors: tuple[TensorSpec, ...]
    count: int
    labels: Array | None
    preprocesses: bool

    def sample(self, index: int) -> tuple[bytes | None, ...]:
        """Raw bytes of each tensor; None where the sample leaves an optional one out."""

    def content_hash(self) -> str:
        """Hex digest of what the samples are made from, the same on every host."""


class QuerySampleLibrary:
    """Samples 0 .. total_sample_count - 1 of a source."""

    def __init__(
        self,
        source: SampleSource,
        *,
        batched: bool,
        total_sample_count: int = 0,
        loaded: int = 0,
        sequences: SequenceSet | None = None,
    ) -> None:
        """``total_sample_count`` 0: all of them; ``loaded`` 0: as many as fit in 1 GiB.

        Raises SettingsError if more are asked for than there are.
        """
        self._source = source
        self.name = source.name
        self.tensors = source.tensors
        self.batched = batched
        """Whether requests carry a leading batch dimension."""
        self.total_sample_count = _within(
            "total_sample_count", total_sample_count or source.count, source.count, source.name
        )
        self.performance_sample_count = self._performance_count(loaded)
        self.sequences = sequences
        """How samples follow one another where a file of sequences is played."""
        labels = source.labels
        self.labels = None if labels is None else labels[: self.total_sample_count]
        """int64 class of each sample, -1 where unknown; None for data without labels."""
        self._spent_ns = 0
        self._made_count = 0

    def _performance_count(self, loaded: int) -> int:
        total = self.total_sample_count
        if loaded:
            return _within("performance_sample_count", loaded, total, self.name)
        size_bytes = sum(spec.size_bytes or 0 for spec in self.tensors)
        return min(total, max(1, DEFAULT_LOADED_BYTES // max(1, size_bytes)))

    def shapes(self, index: int) -> tuple[tuple[int, ...] | None, ...] | None:
        """Shapes of one sample's tensors, where samples have shapes of their own; else None."""
        own = getattr(self._source, "shapes", None)
        return None if own is None else tuple(own(index))

    def sample(self, index: int) -> tuple[bytes | None, ...]:
        """Raw little-endian bytes of each tensor of one sample; decoding it now, and timing that.

        None where the sample leaves an optional input out. Raises UserError naming the file if it
        cannot be read.
        """
        if not 0 <= index < self.total_sample_count:
            raise IndexError(index)
        start_ns = time.perf_counter_ns()
        tensors = self._source.sample(index)
        self._spent_ns += time.perf_counter_ns() - start_ns
        self._made_count += 1
        return tensors

    @property
    def preprocess_ns(self) -> int | None:
        """Mean time of decoding and preprocessing a sample so far; None where there is nothing to
        decode or nothing was."""
        if not self._source.preprocesses or not self._made_count:
            return None
        return self._spent_ns // self._made_count

    @cached_property
    def dataset_hash(self) -> str:
        """``dataset-v1:<sha256>``: content of the data set (read once), its preprocessing and size.

        Independent of paths, hosts and time.
        """
        from hashlib import sha256

        digest = sha256(self._source.content_hash().encode())
        digest.update(b"|%d|" % self.total_sample_count)
        for spec in self.tensors:
            digest.update(f"{spec.name}|{spec}|".encode())
        return f"dataset-v1:{digest.hexdigest()}"


def _within(setting: str, asked: int, available: int, dataset: str) -> int:
    if asked > available:
        raise SettingsError(f"{setting}: {asked} asked for, {dataset} has {available}")
    return asked


def open_library(
    settings: Settings, inputs: Sequence[TensorMetadata], batched: bool
) -> QuerySampleLibrary:
    """The library that ``settings.dataset`` names, fitted to the model's ``inputs``.

    ``inputs`` are the server's metadata (shapes with the batch dimension where ``batched``), empty
    where it gives none: then --shape or the data set says. Raises UserError (SutError,
    SettingsError) with one line for data that cannot be read or does not fit.
    """
    if settings.protocol.inputs == "prompts":
        from loadgen_service.qsl.sources.prompts import open_prompts

        return QuerySampleLibrary(
            open_prompts(settings),
            batched=False,
            total_sample_count=settings.total_sample_count,
            loaded=settings.performance_sample_count,
        )
    wanted, batched = wanted_tensors(inputs, batched, settings.shape)
    if settings.samples_per_request > 1 and not batched:
        raise SettingsError(
            "samples_per_request: the model takes no batch (its inputs' first dimension is fixed); "
            "use 1"
        )
    if settings.sequences:
        return _open_played(settings, wanted, batched)
    source = _opener(settings.dataset)(settings, wanted)
    return QuerySampleLibrary(
        source,
        batched=batched,
        total_sample_count=settings.total_sample_count,
        loaded=settings.performance_sample_count,
    )


def _open_played(
    settings: Settings, wanted: tuple[TensorSpec, ...], batched: bool
) -> QuerySampleLibrary:
    """The samples of a file of sequences: its own, or those of the data set that it names."""
    from loadgen_service.qsl.sources.sequence_file import read_sequence_file

    played = read_sequence_file(Path(settings.sequences))
    total = settings.total_sample_count
    if played.steps:
        if settings.dataset != Settings.model_fields["dataset"].default or total:
            raise SettingsError(
                f"dataset, total_sample_count: {played.path} brings its own inputs; leave them out"
            )
        source: SampleSource = played.source(wanted)
    else:
        source = _opener(settings.dataset)(settings, wanted)
    played.require_within(min(total or source.count, source.count), source.name)
    return QuerySampleLibrary(
        source,
        batched=batched,
        total_sample_count=total,
        loaded=len(played.layout.used_samples),
        sequences=played.layout,
    )


Opener = Callable[[Settings, tuple[TensorSpec, ...]], SampleSource]


def _open_made(settings: Settings, wanted: tuple[TensorSpec, ...]) -> SampleSource:
    from loadgen_service.qsl.sources.generated import open_made

    return open_made(settings, wanted)


def _open_imagenet_sample(settings: Settings, wanted: tuple[TensorSpec, ...]) -> SampleSource:
    from loadgen_service.qsl.sources.images import open_imagenet_sample

    return open_imagenet_sample(settings, wanted)


def _open_digits(settings: Settings, wanted: tuple[TensorSpec, ...]) -> SampleSource:
    from loadgen_service.qsl.sources.arrays import open_digits

    return open_digits(wanted)


def _open_folder(settings: Settings, wanted: tuple[TensorSpec, ...]) -> SampleSource:
    from loadgen_service.qsl.sources.images import open_folder

    return open_folder(settings, wanted)


def _open_npz(settings: Settings, wanted: tuple[TensorSpec, ...]) -> SampleSource:
    from loadgen_service.qsl.sources.arrays import open_npz

    return open_npz(Path(settings.dataset), wanted)


def _open_json(settings: Settings, wanted: tuple[TensorSpec, ...]) -> SampleSource:
    from loadgen_service.qsl.sources.perf_analyzer_json import open_input_data

    return open_input_data(Path(settings.dataset), wanted)


BUILT_IN: Final[dict[str, Opener]] = {
    "random": _open_made,
    "zeros": _open_made,
    "imagenet-sample": _open_imagenet_sample,
    "digits": _open_digits,
}
_BY_SUFFIX: Final[dict[str, Opener]] = {".npz": _open_npz, ".json": _open_json}


def _opener(dataset: str) -> Opener:
    if dataset in BUILT_IN:
        return BUILT_IN[dataset]
    path = Path(dataset)
    if dataset and path.is_dir():
        return _open_folder
    known = f"built in are {', '.join(BUILT_IN)}"
    if not dataset or not path.exists():
        raise UserError(f"dataset: {dataset!r} is neither built in nor a path; {known}")
    opener = _BY_SUFFIX.get(path.suffix.lower())
    if opener is None:
        raise UserError(
            f"dataset: {dataset} must be a folder of images, an .npz or a .json; {known}"
        )
    return opener
