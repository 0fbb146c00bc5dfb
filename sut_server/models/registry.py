"""What a model is to this server, and which class of model a ``--model`` flag names.

Heavy imports (ONNX Runtime, the model zoo, a user's module) happen only when asked for.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from sut_server.errors import UsageError, described
from sut_server.models.tensors import DTYPES, Array, TensorSpec

Batch = Mapping[str, Array]

BUILT_IN: Final = ("efficientnet-lite0", "digits")
"""Models that ``sut_server.models.zoo`` makes and keeps."""


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


def open_model(flag: str, thread_count: int) -> Model:
    """Load the model of a flag: a built-in name, ``onnx:PATH`` or ``python:PKG.MODULE:CLASS``.

    Raises UsageError for a name, file, module or class that is not there.
    """
    if flag.startswith("python:"):
        from sut_server.models.python import PythonModel

        return PythonModel(flag.removeprefix("python:"))
    from sut_server.models.onnx import OnnxModel

    if flag.startswith("onnx:"):
        path = Path(flag.removeprefix("onnx:"))
        return OnnxModel(path, path.stem, thread_count)
    if flag not in BUILT_IN:
        raise UsageError(
            f"--model {flag!r}: no such model; there are {', '.join(BUILT_IN)}, null, synthetic, "
            "synthetic-stream, accumulator, onnx:PATH and python:PKG.MODULE:CLASS"
        )
    zoo = importlib.import_module("sut_server.models.zoo")
    return OnnxModel(zoo.onnx_path(flag), flag, thread_count)


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


def import_class(target: str) -> type:
    """The class of ``PKG.MODULE:CLASS``, found from the working directory too."""
    module_name, colon, class_name = target.partition(":")
    if not colon or not module_name or not class_name:
        raise UsageError(f"--model python:{target}: write python:PKG.MODULE:CLASS")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise UsageError(
            f"--model python:{target}: cannot import {module_name}: {described(error)}"
        ) from error
    found = getattr(module, class_name, None)
    if not isinstance(found, type):
        raise UsageError(f"--model python:{target}: {module_name} has no class {class_name}")
    return found
