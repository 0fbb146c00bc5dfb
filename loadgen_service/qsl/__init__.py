"""Query sample libraries: data sets as ready raw tensors, kept in arenas, and their scoring."""

from loadgen_service.qsl.arena.builder import Arena, ArenaFile, build_arena
from loadgen_service.qsl.input_specs import is_batched
from loadgen_service.qsl.library import QuerySampleLibrary, open_library
from loadgen_service.qsl.tensors import TensorSpec

__all__ = [
    "Arena",
    "ArenaFile",
    "QuerySampleLibrary",
    "TensorSpec",
    "build_arena",
    "is_batched",
    "open_library",
]
