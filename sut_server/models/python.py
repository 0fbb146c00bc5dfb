"""A user's own class as a model: the way in for an accelerator team.

The class has ``inputs`` and ``outputs`` (sequences of ``(name, datatype, shape)``), ``load()`` and
``infer(batch)``; ``name``, ``load_samples`` and ``unload_samples`` are optional.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from typing import Any

from sut_server.errors import UsageError, described
from sut_server.models.spec import Batch, ModelSpec, checked_specs


class PythonModel:
    """An instance of the user's class, loaded and with its tensors checked."""

    def __init__(self, target: str) -> None:
        """``target`` is PKG.MODULE:CLASS. Raises UsageError for a class that cannot serve."""
        made = import_class(target)
        flag = f"--model python:{target}"
        for method in ("load", "infer"):
            if not callable(getattr(made, method, None)):
                raise UsageError(f"{flag}: the class has no method {method}")
        try:
            self._instance: Any = made()
            self._instance.load()
        except Exception as error:
            text = f"{flag}: load failed: {described(error)}"
            raise UsageError(text) from error
        # Read after load(): a model may know its tensors only once its weights are there.
        self.spec = ModelSpec(
            name=str(getattr(self._instance, "name", made.__name__)),
            platform="python",
            inputs=checked_specs(f"{flag}: inputs", getattr(self._instance, "inputs", None)),
            outputs=checked_specs(f"{flag}: outputs", getattr(self._instance, "outputs", None)),
        )

    def infer(self, batch: Batch) -> Batch:
        outputs: Batch = self._instance.infer(dict(batch))
        return outputs

    def load_samples(self, sample_index: list[int]) -> None:
        self._optional("load_samples")(sample_index)

    def unload_samples(self, sample_index: list[int]) -> None:
        self._optional("unload_samples")(sample_index)

    def _optional(self, method: str) -> Callable[[list[int]], None]:
        found: Callable[[list[int]], None] = getattr(self._instance, method, lambda _: None)
        return found


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
