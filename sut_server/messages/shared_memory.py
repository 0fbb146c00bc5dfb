"""Regions of POSIX shared memory that callers have registered: tensors by place, not by message.

KServe's system shared memory extension. A caller names a region once; requests then carry its name,
an offset and a size. Every place is checked before it is read or written.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from sut_server.errors import CallError, Code

SHARED_MEMORY: Final = Path("/dev/shm")
REGIONS_MAX: Final = 1024
"""Registered at a time; each keeps a file open."""

REGION_KEY: Final = "shared_memory_region"
OFFSET_KEY: Final = "shared_memory_offset"
SIZE_KEY: Final = "shared_memory_byte_size"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a request says that a tensor lies, or shall lie; ``size`` in bytes."""

    region: str
    offset: int
    size: int


class _File:
    """An open file, closed with the last region or request that knows it."""

    __slots__ = ("fileno",)

    def __init__(self, fileno: int) -> None:
        self.fileno = fileno

    def __del__(self) -> None:
        os.close(self.fileno)


@dataclass(frozen=True, slots=True)
class Region:
    """A registered region: ``offset`` and ``size`` are its part of the file ``key``."""

    name: str
    key: str
    offset: int
    size: int
    file: _File


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


@dataclass(frozen=True, slots=True)
class SharedBytes:
    """Bytes of a region that a request names; ``len()`` is their number.

    They are read and written by system calls: a file that its owner cuts short would end this
    process by SIGBUS where its mapping is touched.
    """

    what: str
    place: Place
    file: _File
    start: int

    def __len__(self) -> int:
        return self.place.size

    def read(self) -> memoryview:
        """A copy. Raises CallError where the file has become shorter."""
        size = self.place.size
        memory = np.empty(size, dtype=np.uint8).data
        done = 0
        while done < size:
            count = os.preadv(self.file.fileno, [memory[done:]], self.start + done)
            if not count:
                raise CallError(Code.INVALID_ARGUMENT, self._cut())
            done += count
        return memory.toreadonly()

    def write(self, content: bytes) -> None:
        """Put ``content`` at the start. Raises CallError where it cannot."""
        if self.start + len(content) > os.fstat(self.file.fileno).st_size:
            raise CallError(Code.INVALID_ARGUMENT, self._cut())
        view, done = memoryview(content), 0
        try:
            while done < len(content):
                done += os.pwrite(self.file.fileno, view[done:], self.start + done)
        except OSError as error:
            text = f"{self.what}: cannot write to region '{self.place.region}': {error.strerror}"
            raise CallError(Code.INVALID_ARGUMENT, text) from error

    def _cut(self) -> str:
        return f"{self.what}: the memory of region '{self.place.region}' has been cut short"


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
        length = os.fstat(file.fileno).st_size
        if offset < 0 or size <= 0 or offset + size > length:
            raise CallError(
                Code.INVALID_ARGUMENT,
                f"shared memory region '{name}': {size} bytes from {offset} are not within "
                f"the {length} of {key}",
            )
        self._regions[name] = Region(name, key, offset, size, file)

    def _open(self, name: str, key: str) -> _File:
        """The open file of a key. No link is followed and no other user's file taken."""
        plain = key.removeprefix("/")
        what = f"shared memory region '{name}'"
        if not plain or "/" in plain or plain in (".", ".."):
            text = f"{what}: the key '{key}' is no name of shared memory"
            raise CallError(Code.INVALID_ARGUMENT, text)
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        try:
            file = _File(os.open(self._folder / plain, flags))
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            text = f"{what}: cannot open the key '{key}' here ({reason})"
            raise CallError(Code.INVALID_ARGUMENT, text) from None
        status = os.fstat(file.fileno)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
            text = f"{what}: the key '{key}' is not shared memory of this server's user"
            raise CallError(Code.INVALID_ARGUMENT, text)
        return file

    def unregister(self, name: str) -> None:
        """Forget one region, or all where ``name`` is empty. An unknown name is no error."""
        for one in [name] if name else list(self._regions):
            self._regions.pop(one, None)

    def registered(self, name: str = "") -> list[Region]:
        """One region, or all where ``name`` is empty. Raises CallError for an unknown one."""
        return [self._region(name)] if name else list(self._regions.values())

    def find(self, what: str, place: Place) -> SharedBytes:
        """The bytes of a place. Raises CallError (INVALID_ARGUMENT)."""
        region = self._region(place.region)
        offset, size = place.offset, place.size
        if offset < 0 or size < 0 or offset + size > region.size:
            raise CallError(
                Code.INVALID_ARGUMENT,
                f"{what}: {size} bytes from {offset} are outside the {region.size} of the shared "
                f"memory region '{place.region}'",
            )
        return SharedBytes(what, place, region.file, region.offset + offset)

    def _region(self, name: str) -> Region:
        region = self._regions.get(name)
        if region is None:
            text = f"no shared memory region '{name}' is registered here"
            raise CallError(Code.INVALID_ARGUMENT, text)
        return region
