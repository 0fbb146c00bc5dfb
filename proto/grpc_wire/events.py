"""The events of both halves: plain tuples, told apart by their first element, for speed.

A connection yields them from ``receive`` and ``eof`` in the order in which the bytes said so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from grpc_wire.windows import Piece

DONE: Final = 0
MESSAGE: Final = 1
CLOSED: Final = 2
ROOM: Final = 3
REQUEST: Final = 4
OPENED: Final = 5
HALF_CLOSED: Final = 6
CANCELLED: Final = 7
REFUSED: Final = 8

Metadata = Mapping[str, str]

# (DONE, key, gRPC code, message or None, text): the call is settled; no further event for it.
Done = tuple[Literal[0], int, int, bytes | None, str]
# (MESSAGE, key, message): one message of a streaming answer.
Message = tuple[Literal[1], int, bytes]
# (REFUSED, key, text): the call is settled, and the server has certainly not processed it
# (RFC 9113 8.7): it may be sent again.
Refused = tuple[Literal[8], int, str]
# (CLOSED, reason): the connection is over; every open call was settled before.
Closed = tuple[Literal[2], str]
# (ROOM,): calls may be opened again.
Room = tuple[Literal[3]]
# (REQUEST, stream id, path, message, metadata): a unary request, whole. The message is a view
# where it was read in place.
Request = tuple[Literal[4], int, bytes, Piece, Metadata]
# (OPENED, stream id, path, metadata): a streaming call began.
Opened = tuple[Literal[5], int, bytes, Metadata]
# (MESSAGE, stream id, message): one request of a streaming call.
Asked = tuple[Literal[1], int, Piece]
# (HALF_CLOSED, stream id): the client has sent its last message.
HalfClosed = tuple[Literal[6], int]
# (CANCELLED, stream id): the client gave the call up; answers to it are dropped.
Cancelled = tuple[Literal[7], int]

ClientEvent = Done | Message | Refused | Closed | Room
ServerEvent = Request | Opened | Asked | HalfClosed | Cancelled | Closed
