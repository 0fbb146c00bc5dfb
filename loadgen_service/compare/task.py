"""A task: the data, the accuracy and the limits that make runs answers to one question.

Built-in tasks lie beside this file; a user's own is a YAML file of the same form.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from loadgen_service.core.scenarios import ScenarioName
from loadgen_service.errors import SettingsError
from loadgen_service.plain_yaml import YamlTrouble, load_yaml

SUFFIX: Final = ".yaml"


class Figure(BaseModel):
    """One scenario's number of the reference run, as ``metric`` of its summary.json."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    metric: str
    value: float = Field(gt=0)
    unit: str


class Reference(BaseModel):
    """The run that scores 1."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    figures: dict[ScenarioName, Figure]


class Task(BaseModel):
    """task.yaml, version 1. ``accuracy_target``: share of ``metric`` to reach; 0: not asked."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["loadgen-task"]
    version: Literal[1]
    name: str
    title: str = ""
    dataset: str
    data_hash: str = ""
    metric: str = "top1"
    accuracy_target: float = Field(0.0, ge=0, le=1)
    latency_limits_ms: dict[ScenarioName, float] = Field(default_factory=dict)
    reference: Reference | None = None

    def settings(self, scenario: str, mode: str) -> dict[str, object]:
        """What a run of this task asks for, under the names of the settings."""
        asked: dict[str, object] = {"dataset": self.dataset}
        limits: dict[str, float] = dict(self.latency_limits_ms.items())
        limit_ms = limits.get(scenario)
        if limit_ms:
            asked["target_latency_ms"] = limit_ms
        if mode in ("accuracy", "submission") and self.accuracy_target:
            asked["accuracy_target"] = self.accuracy_target
        return asked


def builtin_tasks() -> list[str]:
    """Names of the shipped tasks."""
    folder = resources.files("loadgen_service.compare") / "tasks"
    return sorted(file.name.removesuffix(SUFFIX) for file in folder.iterdir()
                  if file.name.endswith(SUFFIX))  # fmt: skip


def load_task(name: str) -> Task:
    """A shipped task by its name, else the task file at that path. Raises SettingsError."""
    if name in builtin_tasks():
        folder = resources.files("loadgen_service.compare") / "tasks"
        text = (folder / (name + SUFFIX)).read_text(encoding="utf-8")
    else:
        text = _read(name)
    try:
        return Task.model_validate(load_yaml(text))
    except YamlTrouble as error:
        raise SettingsError(f"task {name}: {error}") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise SettingsError(f"task {name}: {where}: {first['msg']}") from None


def _read(name: str) -> str:
    try:
        return Path(name).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        known = ", ".join(builtin_tasks())
        raise SettingsError(f"task {name}: {reason}; name a task file, or one of {known}") from None
