"""What a model is to this server: its name, its tensors, and how it is run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from sut_server.errors import UsageError
from sut_server.models.tensors import DTYPES, Array, TensorSpec

Batch = Mapping[str, Array]


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A model's name and tensors, as metadata shows them."""

    name: str
    platform: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    version: str = "1"
    is_decoupled: bool = False
    """One request, any number of answers: only ModelStreamInfer may call it."""
    is_stateful: bool = False
    """Requests belong to sequences: clients then send KServe v2's sequence parameters."""
    is_batched: bool = field(init=False)
    """Every tensor begins with a batch dimension, so requests may be joined."""

    def __post_init__(self) -> None:
        is_batched = all(spec.is_batched for spec in (*self.inputs, *self.outputs))
        object.__setattr__(self, "is_batched", is_batched)


class Model(Protocol):
    """A loaded model. ``infer`` runs on a worker thread, one batch a thread at a time."""

    @property
    def spec(self) -> ModelSpec: ...

    def infer(self, batch: Batch) -> Batch:
        """Outputs by name for inputs by name; inputs are read-only."""

    def load_samples(self, sample_index: list[int]) -> None:
        """A hint: these samples are about to be used."""

    def unload_samples(self, sample_index: list[int]) -> None:
        """A hint: these samples will no longer be used."""


def checked_specs(kind: str, specs: object) -> tuple[TensorSpec, ...]:
    """``(name, datatype, shape)`` triples as TensorSpecs; UsageError says what is wrong."""
    try:  # specs come from a user's class: anything that does not iterate ends in the except
        made = tuple(
            TensorSpec(str(name), str(datatype), tuple(int(length) for length in shape))
            for name, datatype, shape in specs  # type: ignore[attr-defined]
        )
    except (TypeError, ValueError):
        raise UsageError(f"{kind} must be (name, datatype, shape) triples, not {specs!r}") from None
    if not made:
        raise UsageError(f"{kind} must name at least one tensor")
    for spec in made:
        if spec.datatype not in DTYPES:
            raise UsageError(
                f"{kind}: tensor {spec.name!r} has type {spec.datatype!r}; KServe v2 knows "
                + ", ".join(DTYPES)
            )
    return made
