"""Data: which samples are sent, and what their right answers are."""

from __future__ import annotations

from pydantic import BaseModel, Field


class DataSettings(BaseModel):
    """Where samples come from and which of them are loaded."""

    task: str = Field(
        "",
        description="task file, or imagenet-sample, digits: data, limits and accuracy target of "
        "one comparable job",
    )
    dataset: str = Field(
        "random",
        description="imagenet-sample, digits, random, zeros, or a path: folder of images, .npz, "
        "perf_analyzer's --input-data .json",
    )
    labels: str = Field("", description="label file of an image folder: NAME LABEL a line")
    preprocess: str = Field(
        "", description="image folders: efficientnet-lite0 or raw; default by the model's name"
    )
    shape: list[str] = Field(
        default_factory=list,
        description="INPUT:DATATYPE:DIM,DIM for a server whose metadata lacks tensors",
    )
    performance_sample_count: int = Field(
        0, ge=0, description="samples loaded for a performance run; 0: what the data set says"
    )
    total_sample_count: int = Field(
        0, ge=0, description="random, zeros, plan: size of the data set; 0: what it says"
    )
    data_seed: int = Field(0, ge=0, description="random data: seed of its content")
    log_responses: bool = Field(False, description="keep every response, as accuracy mode does")
    accuracy_target: float = Field(
        0.0, ge=0, le=1, description="accuracy mode: top-1 below this is INVALID; 0: not judged"
    )
