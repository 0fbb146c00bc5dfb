"""Regions of POSIX shared memory that callers have registered: tensors by place, not by message.

KServe's system shared memory extension. A caller names a region once; requests then carry its name,
an offset and a size. Every place is checked before it is read or written.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sut_server.errors import CallError, Code

SHARED_MEMORY: Final = Path("/dev/shm")
REGIONS_MAX: Final = 1024
"""Registered at a time; each keeps its memory mapped."""

REGION_KEY: Final = "shared_memory_region"
OFFSET_KEY: Final = "shared_memory_offset"
SIZE_KEY: Final = "shared_memory_byte_size"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a request says that a tensor lies, or shall lie; ``size`` in bytes."""

    region: str
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Region:
    """A mapped region: ``offset`` and ``size`` are its part of the file ``key``."""

    name: str
    key: str
    offset: int
    size: int
    file: int
    mapped: mmap.mmap


def place_of(what: str, parameters: Any) -> Place | None:
    """The place among a tensor's parameters; None where it travels in the message.

    Raises CallError (INVALID_ARGUMENT) for half a place.
    """
    if REGION_KEY not in parameters:
        return None
    region = parameters[REGION_KEY].string_param
    offset = parameters[OFFSET_KEY].int64_param if OFFSET_KEY in parameters else 0
    size = parameters[SIZE_KEY].int64_param if SIZE_KEY in parameters else 0
    if not region or size <= 0:
        text = f"{what}: {REGION_KEY} wants a region's name and a {SIZE_KEY} above 0"
        raise CallError(Code.INVALID_ARGUMENT, text)
    return Place(region, offset, size)


class Regions:
    """Registered regions by name. A key is a file of ``folder`` that belongs to this user."""

    def __init__(self, folder: Path = SHARED_MEMORY) -> None:
        self._folder = folder
        self._regions: dict[str, Region] = {}

    def register(self, name: str, key: str, offset: int, size: int) -> None:
        """Map ``size`` bytes from ``offset`` of ``key``. Raises CallError with one line."""
        if not name or name in self._regions:
            why = "is registered already; unregister it first" if name else "wants a name"
            raise CallError(Code.INVALID_ARGUMENT, f"shared memory region '{name}' {why}")
        if len(self._regions) >= REGIONS_MAX:
            text = f"{REGIONS_MAX} shared memory regions are registered; unregister some"
            raise CallError(Code.UNAVAILABLE, text)
        file = self._open(name, key)
        try:
            length = os.fstat(file).st_size
            if offset < 0 or size <= 0 or offset + size > length:
                raise CallError(
                    Code.INVALID_ARGUMENT,
                    f"shared memory region '{name}': {size} bytes from {offset} are not within "
                    f"the {length} of {key}",
                )
            mapped = mmap.mmap(file, offset + size)
        except BaseException:
            os.close(file)
            raise
        self._regions[name] = Region(name, key, offset, size, file, mapped)

    def _open(self, name: str, key: str) -> int:
        """The open file of a key. No link is followed and no other user's file taken."""
        plain = key.removeprefix("/")
        what = f"shared memory region '{name}'"
        if not plain or "/" in plain or plain in (".", ".."):
            text = f"{what}: the key '{key}' is no name of shared memory"
            raise CallError(Code.INVALID_ARGUMENT, text)
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        try:
            file = os.open(self._folder / plain, flags)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            text = f"{what}: cannot open the key '{key}' here ({reason})"
            raise CallError(Code.INVALID_ARGUMENT, text) from None
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
            os.close(file)
            text = f"{what}: the key '{key}' is not shared memory of this server's user"
            raise CallError(Code.INVALID_ARGUMENT, text)
        return file

    def unregister(self, name: str) -> None:
        """Forget one region, or all where ``name`` is empty. An unknown name is no error."""
        for one in [name] if name else list(self._regions):
            region = self._regions.pop(one, None)
            if region is not None:
                os.close(region.file)
                # Requests that run still hold views: the map then goes with the last of them.
                with contextlib.suppress(BufferError):
                    region.mapped.close()

    def registered(self, name: str = "") -> list[Region]:
        """One region, or all where ``name`` is empty. Raises CallError for an unknown one."""
        return [self._region(name)] if name else list(self._regions.values())

    def view(self, what: str, place: Place) -> memoryview:
        """A place's bytes, without a copy. Raises CallError (INVALID_ARGUMENT)."""
        region = self._region(place.region)
        offset, size = place.offset, place.size
        if offset < 0 or size < 0 or offset + size > region.size:
            raise CallError(
                Code.INVALID_ARGUMENT,
                f"{what}: {size} bytes from {offset} are outside the {region.size} of the shared "
                f"memory region '{place.region}'",
            )
        start = region.offset + offset
        # A file that was cut since would end this process when its map is touched.
        if start + size > os.fstat(region.file).st_size:
            text = f"{what}: the memory of region '{place.region}' has been cut short"
            raise CallError(Code.INVALID_ARGUMENT, text)
        return memoryview(region.mapped)[start : start + size]

    def _region(self, name: str) -> Region:
        region = self._regions.get(name)
        if region is None:
            text = f"no shared memory region '{name}' is registered here"
            raise CallError(Code.INVALID_ARGUMENT, text)
        return region
