"""gzip over HTTP, in front of an API: compressed requests inflated or refused, answers compressed.

What a request inflates to is bounded as a body that comes as it is; the API sees neither header.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from grpc_wire.compression import Deflater, accepts_gzip, inflated
from grpc_wire.errors import RESOURCE_EXHAUSTED, MessageFault

from sut_server.http.connection import BODY_BYTES_MAX, HttpCall, HttpRequest, error_object

Handle = Callable[[HttpCall, HttpRequest], None]

_JSON: Final = "application/json"
_GZIP: Final = ("gzip", "x-gzip")


class HttpCompression:
    """Hands requests on to ``handle``. ``offered``: gzip is taken, and given to who reads it.

    ``error_body``: a refusal in the API's shape.
    """

    def __init__(
        self,
        handle: Handle,
        offered: bool,
        error_body: Callable[[int, str], bytes] = error_object,
    ) -> None:
        self._handle = handle
        self._offered = offered
        self._error_body = error_body

    def handle(self, call: HttpCall, request: HttpRequest) -> None:
        """Answer one request, now or later."""
        coding = request.headers.get("content-encoding", "identity").strip().lower()
        if self._offered and accepts_gzip(request.headers.get("accept-encoding", "")):
            call.deflater = Deflater()
        if coding != "identity":
            if not self._offered or coding not in _GZIP:
                self._refuse_coding(call, coding)
                return
            try:
                request.body = inflated(request.body, BODY_BYTES_MAX)
            except MessageFault as fault:
                status = 413 if fault.code == RESOURCE_EXHAUSTED else 400
                self._refuse(call, status, f"the compressed request {fault.text}")
                return
        self._handle(call, request)

    def _refuse_coding(self, call: HttpCall, coding: str) -> None:
        """415, and what is taken instead (RFC 9110 12.5.3)."""
        taken = "gzip" if self._offered else "identity"
        more = "" if self._offered else " (sut-server --compression gzip takes gzip)"
        text = f"requests compressed by {coding} are not taken here{more}"
        self._refuse(call, 415, text, f"Accept-Encoding: {taken}\r\n")

    def _refuse(self, call: HttpCall, status: int, text: str, headers: str = "") -> None:
        call.deflater = None
        call.respond(status, _JSON, self._error_body(status, text), headers)
