"""gzip on the way to a SUT: requests compressed before the run, answers of HTTP inflated.

Answers over gRPC are the wire's matter (``grpc_wire.client``). Only a run that asks for
compression has any of this; it knows no socket and no clock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from grpc_wire.compression import Inflater, gzip_bytes
from grpc_wire.errors import MessageFault
from grpc_wire.limits import MAX_MESSAGE_BYTES

from loadgen_service.errors import SettingsError
from loadgen_service.sut.http.connection import Answer
from loadgen_service.sut.http.status import coding_of
from loadgen_service.sut.interface import NO_PIECES, Parts, Usage

COMPRESSED_TOTAL_BYTES_MAX: Final = 2 << 30
"""What one worker spends on a series' compressed requests. An uncompressed large request stays a
slice of the arena and costs no memory; a compressed one is bytes of its own."""

CODE_INTERNAL: Final = 13

Build = Callable[[Sequence[int]], Parts]
"""Makes a request of samples."""

_HEAD_END: Final = b"\r\n\r\n"
_LENGTH: Final = b"content-length:"


def compressed_http(parts: Parts) -> bytes:
    """A request's own header lines and its body, the body by gzip.

    Lengths within the body, as KServe's ``Inference-Header-Content-Length``, stay those of what it
    inflates to: so tritonclient sends it, and so Triton reads it.
    """
    whole = parts if isinstance(parts, bytes) else b"".join(parts)
    head, _, body = whole.partition(_HEAD_END)
    lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(_LENGTH)]
    packed = gzip_bytes(body)
    lines += [b"Content-Encoding: gzip", b"Content-Length: %d" % len(packed)]
    return b"\r\n".join(lines) + _HEAD_END + packed


class RequestCompressor:
    """Compresses requests as they are prepared; keeps a series' for the next one.

    Requests of several samples are made when they are issued, and compressed there.
    """

    def __init__(
        self, compress: Callable[[Parts], bytes], bytes_max: int = COMPRESSED_TOTAL_BYTES_MAX
    ) -> None:
        self._compress = compress
        self._bytes_max = bytes_max
        self._kept: dict[int, bytes] = {}
        self._total = 0

    def begin_series(self, build: Build) -> Build:
        """``build`` with its requests compressed; it raises ``SettingsError`` past the bound."""
        before, self._kept, self._total = self._kept, {}, 0

        def compressed(samples: Sequence[int]) -> Parts:
            if len(samples) > 1:
                return self._compress(build(samples))
            [sample] = samples
            if sample not in self._kept:
                self._keep(sample, before.pop(sample, b"") or self._compress(build(samples)))
            return self._kept[sample]

        return compressed

    def _keep(self, sample: int, request: bytes) -> None:
        self._kept[sample] = request
        self._total += len(request)
        if self._total > self._bytes_max:
            raise SettingsError(
                f"request_compression: the compressed requests of {len(self._kept)} samples take "
                f"more than the {self._bytes_max >> 20} MiB that a worker may spend; load fewer "
                "(--performance-sample-count) or leave it out"
            )


class InflatingAnswer:
    """An HTTP answer that may come by gzip; ``inner`` reads what it inflates to.

    What is no gzip, ends too soon or inflates to more than ``max_bytes`` fails the call.
    """

    __slots__ = ("_fault", "_inflater", "_inner", "_max_bytes")

    def __init__(self, inner: Answer, max_bytes: int = MAX_MESSAGE_BYTES) -> None:
        self._inner = inner
        self._max_bytes = max_bytes
        self._inflater: Inflater | None = None
        self._fault: tuple[int, str] | None = None

    def begin(self, status: int, headers: dict[bytes, bytes]) -> None:
        """The head came. Names of ``headers`` are in lower case."""
        coding = coding_of(headers)
        if coding in ("gzip", "x-gzip"):
            self._inflater = Inflater(self._max_bytes)
        elif coding:
            self._fault = (CODE_INTERNAL, f"the answer is compressed by {coding}, not by gzip")
        plain = {name: value for name, value in headers.items() if name != b"content-encoding"}
        self._inner.begin(status, plain)

    def feed(self, data: bytes) -> bytes:
        """A part of the body came; the choice of each piece of output that it completed."""
        if self._fault is not None:
            return NO_PIECES
        if self._inflater is not None:
            try:
                data = self._inflater.feed(data)
            except MessageFault as fault:
                self._fault = (fault.code, f"the compressed answer {fault.text}")
                return NO_PIECES
        return self._inner.feed(data) if data else NO_PIECES

    def end(self) -> bytes:
        """The body is whole; as ``feed``, of its last bytes."""
        if self._fault is None and self._inflater is not None and not self._inflater.is_whole:
            self._fault = (CODE_INTERNAL, "the compressed answer is gzip that ends too soon")
        return self._inner.end() if self._fault is None else NO_PIECES

    def ending(self) -> tuple[int, bytes | None, str, Usage | None]:
        """How the call ended; after ``end``."""
        if self._fault is not None:
            return self._fault[0], None, self._fault[1], None
        return self._inner.ending()


def inflating(answer: Callable[[], Answer]) -> Callable[[], Answer]:
    """``answer`` for a run whose answers may come by gzip."""
    return lambda: InflatingAnswer(answer())
