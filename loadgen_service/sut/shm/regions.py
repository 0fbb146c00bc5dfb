"""Shared memory with SUTs on this host: made, registered with each of them, and given back.

A region loses its name as soon as every SUT has mapped it, so that nothing stays in /dev/shm
whatever becomes of this process. Knows no requests; see ``shared_requests`` and ``placed_outputs``.
"""

from __future__ import annotations

import asyncio
import contextlib
import mmap
import os
import socket
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc

from loadgen_service.core.settings import Settings
from loadgen_service.errors import SutError, UserError
from loadgen_service.sut.grpc.aio_client import open_channel
from loadgen_service.sut.net.addresses import SutAddress, parse_addresses
from loadgen_service.sut.net.credentials import (
    channel_credentials,
    read_authority,
    read_headers,
)

SHARED_MEMORY: Final = Path("/dev/shm")
UNREGISTER_TIMEOUT_S: Final = 2.0
"""A SUT that is gone must not hold up the end of a run."""

WRITE_BYTES: Final = 16 << 20


class Region:
    """Shared memory of this process, ``size`` bytes, under a name until ``hide``."""

    def __init__(self, size: int, folder: Path = SHARED_MEMORY) -> None:
        """Raises UserError where the host has no such memory or not enough."""
        self.name = f"loadgen-{os.getpid()}-{uuid.uuid4().hex}"
        self.key = f"/{self.name}"
        self.size = size
        self._path = folder / self.name
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            self._file = os.open(self._path, flags, 0o600)
        except OSError as error:
            raise UserError(
                f"shared_memory: this host gives none in {folder} ({error.strerror}); leave "
                "--shared-memory out"
            ) from None
        try:
            # Reserved now: whoever touched a page that does not exist would be killed for it.
            os.posix_fallocate(self._file, 0, size)
            self._mapped = mmap.mmap(self._file, size)
        except OSError as error:
            self._give_back()
            raise UserError(
                f"shared_memory: {folder} has no room for {size} bytes ({error.strerror}); load "
                "fewer samples or enlarge it"
            ) from None
        self.view = memoryview(self._mapped)

    def fill(self, content: memoryview) -> None:
        """Copy ``content`` to the region's start."""
        for start in range(0, len(content), WRITE_BYTES):
            part = content[start : start + WRITE_BYTES]
            self.view[start : start + len(part)] = part

    def hide(self) -> None:
        """Take the name away: those who have mapped the region keep it, nobody else can."""
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()

    def close(self) -> None:
        """Give the memory back; it ends with its last user."""
        self.view.release()
        with contextlib.suppress(BufferError):
            self._mapped.close()
        self._give_back()

    def _give_back(self) -> None:
        self.hide()
        os.close(self._file)


class SharedMemory:
    """The regions that one worker shares with all SUTs of a run."""

    def __init__(self, settings: Settings, folder: Path = SHARED_MEMORY) -> None:
        self._settings = settings
        self._folder = folder
        self._regions: list[Region] = []
        self._metadata = read_headers(settings.header)

    async def share(self, size: int, content: memoryview | None = None) -> Region:
        """A new region that every SUT has mapped; ``content`` is copied to its start.

        Raises UserError naming a SUT that cannot.
        """
        region = await asyncio.to_thread(Region, size, self._folder)
        self._regions.append(region)
        try:
            async with self._stubs() as stubs:
                for address, stub in stubs:
                    await self._register(address, stub, region)
        finally:
            region.hide()
        if content is not None:
            await asyncio.to_thread(region.fill, content)
        return region

    async def _register(
        self, address: SutAddress, stub: service_pb2_grpc.GRPCInferenceServiceStub, region: Region
    ) -> None:
        request = service_pb2.SystemSharedMemoryRegisterRequest(
            name=region.name, key=region.key, offset=0, byte_size=region.size
        )
        timeout_s = self._settings.connect_timeout_ms / 1e3
        try:
            await stub.SystemSharedMemoryRegister(
                request, timeout=timeout_s, metadata=self._metadata
            )
        except grpc.aio.AioRpcError as error:
            raise _failure(address, error, timeout_s) from None

    async def close(self) -> None:
        """Unregister every region where it may be known, and give the memory back."""
        if not self._regions:
            return
        try:
            await asyncio.wait_for(self._unregister(), UNREGISTER_TIMEOUT_S)
        except TimeoutError:
            pass  # a SUT that does not answer keeps what it has mapped until it ends
        finally:
            for region in self._regions:
                region.close()
            self._regions.clear()

    async def _unregister(self) -> None:
        async with self._stubs() as stubs:
            calls = [
                stub.SystemSharedMemoryUnregister(
                    service_pb2.SystemSharedMemoryUnregisterRequest(name=region.name),
                    metadata=self._metadata,
                )
                for _, stub in stubs
                for region in self._regions
            ]
            await asyncio.gather(*(_answered(call) for call in calls))

    @contextlib.asynccontextmanager
    async def _stubs(
        self,
    ) -> AsyncIterator[list[tuple[SutAddress, service_pb2_grpc.GRPCInferenceServiceStub]]]:
        settings = self._settings
        addresses = parse_addresses(settings.sut)
        credentials = channel_credentials(settings) if any(a.tls for a in addresses) else None
        channels = [
            open_channel(
                address.authority,
                credentials if address.tls else None,
                settings.tls_server_name if address.tls else "",
                authority=read_authority(settings.header),
            )
            for address in addresses
        ]
        try:
            yield list(
                zip(
                    addresses, map(service_pb2_grpc.GRPCInferenceServiceStub, channels), strict=True
                )
            )
        finally:
            for channel in channels:
                await channel.close(None)


async def _answered(call: grpc.aio.UnaryUnaryCall[object, object]) -> None:
    """Wait for a call, well answered or not."""
    with contextlib.suppress(grpc.aio.AioRpcError):
        await call


def _failure(address: SutAddress, error: grpc.aio.AioRpcError, timeout_s: float) -> SutError:
    """One line for a SUT that did not take a region."""
    code, details = error.code(), " ".join((error.details() or "").split())
    said = f"{code.name}: {details}" if details else code.name
    if code == grpc.StatusCode.UNIMPLEMENTED:
        return SutError(f"shared_memory: {address} offers none ({said}); leave --shared-memory out")
    if code == grpc.StatusCode.DEADLINE_EXCEEDED:
        return SutError(f"shared_memory: {address} did not answer within {timeout_s:g} s")
    if code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
        return SutError(f"sut: {address} refuses us ({said}); check --header")
    return SutError(
        f"shared_memory: {address} cannot open what lies on {socket.gethostname()} ({said}); the "
        "SUT and every worker must share a host, its /dev/shm and a user; else leave "
        "--shared-memory out"
    )
