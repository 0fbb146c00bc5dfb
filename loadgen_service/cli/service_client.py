"""A user's side of the LoadGen service: start, watch, stop, fetch; over gRPC, in or out of process.

Every gRPC error becomes one of our errors here; what to show is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

import grpc
import grpc.aio
from isal.isal_zlib import crc32
from loadgen_proto import loadgen_pb2 as pb
from loadgen_proto import loadgen_pb2_grpc as pb_grpc

from loadgen_service.atomic_file import atomic_write
from loadgen_service.errors import LoadgenError, RunError, UserError
from loadgen_service.worker.session.options import tls_trouble

CALL_TIMEOUT_S: Final = 15.0
MAX_MESSAGE_BYTES: Final = 64 << 20

_USERS_MISTAKES: Final = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.NOT_FOUND,
}


class ServiceLost(RunError):
    """The service cannot be reached any more; it may come back."""


class ServiceClient:
    """Calls one service. Use :func:`open_client` to make one; close it at the end."""

    def __init__(
        self, address: str, channel: grpc.aio.Channel, token: str, has_tls: bool = False
    ) -> None:
        self._address = address
        self._channel = channel
        self._has_tls = has_tls
        self._stub: Any = pb_grpc.LoadGenStub(channel)  # type: ignore[no-untyped-call]
        self._metadata = (("authorization", f"Bearer {token}"),) if token else ()

    async def start(self, settings_json: str) -> pb.StartRunReply:
        """Queue a run. Raises UserError for settings or an address that cannot be used."""
        return await self._start(pb.StartRunRequest(settings_json=settings_json))

    async def start_mixed(
        self, settings_json: str, streams: Sequence[tuple[str, str]]
    ) -> pb.StartRunReply:
        """Queue a mixed run of ``(name, settings)``. Raises like :meth:`start`."""
        named = [pb.StreamRequest(name=name, settings_json=text) for name, text in streams]
        return await self._start(pb.StartRunRequest(settings_json=settings_json, streams=named))

    async def _start(self, request: pb.StartRunRequest) -> pb.StartRunReply:
        with self._named_errors(starting=True):
            reply: pb.StartRunReply = await self._stub.StartRun(
                request, timeout=CALL_TIMEOUT_S, metadata=self._metadata
            )
        return reply

    async def watch(self, run_id: str) -> AsyncIterator[pb.RunStatus]:
        """Status several times a second, until the final one. Raises RunError if it breaks off."""
        with self._named_errors():
            call = self._stub.WatchRun(pb.RunRequest(run_id=run_id), metadata=self._metadata)
            async for status in call:
                yield status

    async def stop(self, run_id: str) -> None:
        """Ask the run to drain and stop; asked twice, it abandons what is outstanding."""
        with self._named_errors():
            await self._stub.StopRun(
                pb.RunRequest(run_id=run_id), timeout=CALL_TIMEOUT_S, metadata=self._metadata
            )

    async def fetch(self, run_id: str, folder: Path) -> list[Path]:
        """Download the files of a finished run into ``folder``; each appears whole or not at all.

        Raises RunError for a damaged or an outside file, UserError where the folder refuses.
        """
        written: list[Path] = []
        pieces: list[bytes] = []
        with self._named_errors():
            call = self._stub.FetchRun(pb.RunRequest(run_id=run_id), metadata=self._metadata)
            async for chunk in call:
                if crc32(chunk.content) != chunk.crc32:
                    raise RunError(f"{chunk.path}: damaged on the way; fetch the run again")
                pieces.append(chunk.content)
                if chunk.last_of_file:
                    written.append(_write(folder, chunk.path, pieces))
                    pieces = []
        return written

    async def close(self) -> None:
        """Give the channel back."""
        await self._channel.close(None)

    @contextmanager
    def _named_errors(self, starting: bool = False) -> Iterator[None]:
        try:
            yield
        except grpc.aio.AioRpcError as error:
            raise self._named(error, starting) from None

    def _named(self, error: grpc.aio.AioRpcError, starting: bool) -> LoadgenError:
        text = " ".join((error.details() or error.code().name).split())
        if error.code() in _USERS_MISTAKES:
            return UserError(text)
        unreachable = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
        trouble = tls_trouble(text, "--service-") if self._has_tls else ""
        if starting and trouble:
            return UserError(f"service {self._address}: {trouble}")
        if starting and error.code() in unreachable:
            return UserError(
                f"service {self._address}: cannot be reached ({text}); is `loadgen serve` running "
                "there, and is --service-tls-ca given if it has TLS?"
            )
        if error.code() in unreachable:
            return ServiceLost(f"service {self._address}: lost ({text}); the run may go on there")
        return RunError(text)


@dataclass(frozen=True, slots=True)
class ClientTls:
    """PEM files: the service's authority, our certificate and its key. All empty: no TLS."""

    ca: str = ""
    cert: str = ""
    key: str = ""

    def credentials(self) -> grpc.ChannelCredentials | None:
        """None without TLS. Raises UserError naming a file that cannot be read."""
        if bool(self.cert) != bool(self.key):
            raise UserError("service_tls_cert, service_tls_key: give both or neither")
        if not self.ca and not self.cert:
            return None
        return grpc.ssl_channel_credentials(
            _read("service_tls_ca", self.ca),
            _read("service_tls_key", self.key),
            _read("service_tls_cert", self.cert),
        )


def open_client(
    address: str, token: str = "", tls: ClientTls | None = None, insecure: bool = False
) -> ServiceClient:
    """A client of ``HOST:PORT``; TLS where a file of it is named, plain on loopback.

    Raises UserError before a token would cross a network in plain text.
    """
    options = [
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.initial_reconnect_backoff_ms", 200),
        # also how long a connection may take to be made: a busy host or a far one needs seconds
        ("grpc.min_reconnect_backoff_ms", 10_000),
        ("grpc.max_reconnect_backoff_ms", 1000),
    ]
    if _is_loopback(address):
        options.append(("grpc.enable_http_proxy", 0))
    credentials = tls.credentials() if tls else None
    if credentials:
        channel = grpc.aio.secure_channel(address, credentials, options)
    elif insecure or _is_loopback(address):
        channel = grpc.aio.insecure_channel(address, options)
    else:
        raise UserError(
            f"service {address}: is on another host; give --service-tls-ca, "
            "or --insecure on a network that you trust"
        )
    return ServiceClient(address, channel, token, has_tls=credentials is not None)


def _is_loopback(address: str) -> bool:
    host = address.rpartition(":")[0].strip("[]")
    return host in ("localhost", "::1") or host.startswith("127.")


def _read(setting: str, path: str) -> bytes | None:
    if not path:
        return None
    try:
        return Path(path).expanduser().read_bytes()
    except OSError as error:
        raise UserError(f"{setting} {path}: {error.strerror}") from None


def _write(folder: Path, name: str, pieces: list[bytes]) -> Path:
    inside = PurePosixPath(name)
    if inside.is_absolute() or ".." in inside.parts:
        raise RunError(f"{name}: the service sent a file outside the run directory")
    path = folder.joinpath(*inside.parts)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, lambda partial: partial.write_bytes(b"".join(pieces)))
    except OSError as error:
        raise UserError(f"out {path}: {error.strerror}; name another folder") from None
    return path
