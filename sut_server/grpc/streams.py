"""One ModelStreamInfer call: requests in, each with any number of answers, until both sides end.

Wraps answers as ModelStreamInferResponse. A request that fails is answered with an error message
on the stream, as KServe v2 wants, and the stream goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from tritonclient.grpc import service_pb2

from sut_server.engines.calls import Call
from sut_server.errors import Code
from sut_server.messages.infer import FINAL_KEY, varint

_ANSWER_TAG: Final = b"\x12"  # ModelStreamInferResponse.infer_response = 2, a message


class StreamSink(Protocol):
    """What a stream needs of its connection."""

    def send_message(self, stream_id: int, parts: list[bytes]) -> None: ...

    def end_stream(self, stream_id: int) -> None: ...


class Stream:
    """The answer side of one streaming call; an ``AnswerSink`` for the requests on it."""

    def __init__(
        self, sink: StreamSink, stream_id: int, make_call: Callable[..., Call] = Call
    ) -> None:
        self._sink = sink
        self._make_call = make_call
        self._stream_id = stream_id
        self._by_number: dict[int, Call] = {}
        self._number = 0
        self._is_half_closed = False

    def open_call(self, received_ns: int) -> Call:
        """A request came on the stream."""
        self._number += 1
        call = self._make_call(self, self._number, received_ns, is_streamed=True)
        self._by_number[self._number] = call
        return call

    def half_close(self) -> None:
        """The caller sends no more requests: end once all are settled."""
        self._is_half_closed = True
        self._look_for_end()

    def gone(self) -> None:
        """The caller has cancelled or its connection has closed."""
        calls, self._by_number = self._by_number, {}
        for call in calls.values():
            call.gone()

    def send(self, stream_id: int, parts: list[bytes]) -> None:
        """See ``AnswerSink``."""
        length = sum(map(len, parts))
        self._sink.send_message(self._stream_id, [_ANSWER_TAG + varint(length), *parts])

    def answer(self, stream_id: int, parts: list[bytes]) -> None:
        """See ``AnswerSink``."""
        self.send(stream_id, parts)
        self._settle(stream_id)

    def refuse(self, stream_id: int, code: Code, text: str) -> None:
        """See ``AnswerSink``."""
        message = service_pb2.ModelStreamInferResponse(error_message=text)
        call = self._by_number.get(stream_id)
        if call is not None and call.request_id:
            message.infer_response.id = call.request_id
        if call is not None and call.wants_final:
            message.infer_response.parameters[FINAL_KEY].bool_param = True
        self._sink.send_message(self._stream_id, [message.SerializeToString()])
        self._settle(stream_id)

    def forget(self, stream_id: int) -> None:
        """See ``AnswerSink``: the stream then never ends by itself."""

    def _settle(self, number: int) -> None:
        self._by_number.pop(number, None)
        self._look_for_end()

    def _look_for_end(self) -> None:
        if self._is_half_closed and not self._by_number:
            self._sink.end_stream(self._stream_id)
