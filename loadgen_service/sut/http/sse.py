"""Server-sent events, as far as token streams use them: bytes in, the ``data`` of events out.

Sans I/O. Follows the WHATWG's "event stream" grammar: lines end in LF, CR LF or CR; a line that
begins with a colon is a comment; several ``data`` lines of one event are joined by LF.
"""

from __future__ import annotations

from typing import Final

EVENT_BYTES_MAX: Final = 16 << 20
"""An unfinished event beyond it is refused: no token is near it."""

_BOM: Final = b"\xef\xbb\xbf"


class ErrorEvent(bytes):
    """Data of an event by which a server reports a failure.

    Either the event's type is ``error``, or its data came in a field of that name (llama.cpp). One
    without data has its comment's text: NVIDIA Dynamo sends such.
    """


class SseReader:
    """Feed it what arrived; it gives the data of each event that became whole.

    An ``ErrorEvent`` stands for a failure; all others are plain ``bytes``.
    """

    __slots__ = ("_begun", "_comment", "_data", "_event_bytes", "_held", "_is_error", "_skip_lf")

    def __init__(self) -> None:
        self._held: list[bytes] = []
        self._data: list[bytes] = []
        self._event_bytes = 0
        self._comment = b""
        self._is_error = False
        self._skip_lf = False
        self._begun = False

    def feed(self, arrived: bytes) -> list[bytes]:
        """Data of the events that ended with ``arrived``. Raises ValueError beyond the limit."""
        if not self._event_bytes and self._begun and _is_one_event(arrived):
            self._skip_lf = False
            return [arrived[6:-2]]
        if not self._begun:
            arrived = self._first(arrived)
        if self._skip_lf and arrived:
            self._skip_lf = False
            if arrived.startswith(b"\n"):
                arrived = arrived[1:]
        self._event_bytes += len(arrived)
        if b"\r" in arrived:
            # A CR ends its line at once; an LF that follows it in a later read is dropped there.
            self._skip_lf = arrived.endswith(b"\r")
            arrived = arrived.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        ended = self._take_lines(arrived) if b"\n" in arrived else self._hold(arrived)
        if self._event_bytes > EVENT_BYTES_MAX:
            raise ValueError("an event of the stream never ends")
        return ended

    def _first(self, arrived: bytes) -> bytes:
        """The stream's first bytes, without a byte order mark; nothing while it may be one."""
        arrived = b"".join((*self._held, arrived))
        self._held, self._event_bytes = [], 0
        if len(arrived) < len(_BOM) and _BOM.startswith(arrived):
            self._held = [arrived]
            return b""
        self._begun = True
        return arrived.removeprefix(_BOM)

    def _hold(self, arrived: bytes) -> list[bytes]:
        if arrived:
            self._held.append(arrived)
        return []

    def _take_lines(self, arrived: bytes) -> list[bytes]:
        if self._held:
            arrived = b"".join((*self._held, arrived))
        *lines, rest = arrived.split(b"\n")
        self._held = [rest] if rest else []
        ended: list[bytes] = []
        left_bytes = self._event_bytes
        for line in lines:
            if line:
                self._take_line(line)
                left_bytes += len(line)
            else:
                self._end_event(ended)
                left_bytes = 0
        if b"" in lines:
            self._event_bytes = left_bytes + len(rest)
        return ended

    def _take_line(self, line: bytes) -> None:
        if line.startswith(b"data:"):
            self._data.append(_value(line, 5))
        elif line.startswith(b":"):
            self._comment = _value(line, 1)
        elif line.startswith(b"event:"):
            self._is_error = _value(line, 6).strip().lower() == b"error"
        elif line.startswith(b"error:"):
            self._is_error = True
            self._data.append(_value(line, 6))

    def _end_event(self, ended: list[bytes]) -> None:
        data = b"\n".join(self._data)
        if self._is_error:
            ended.append(ErrorEvent(data or self._comment))
        elif self._data:
            ended.append(data)
        self._data.clear()
        self._comment, self._is_error = b"", False

    def end(self) -> list[bytes]:
        """The stream ended: an event whose empty line never came counts all the same.

        The grammar drops it; servers that forget the last empty line are told apart by nothing.
        """
        return self._take_lines(b"\n\n") if self._event_bytes else []


def _value(line: bytes, start: int) -> bytes:
    """What stands behind a field's colon, less one blank."""
    return line[start + 1 :] if line[start : start + 1] == b" " else line[start:]


def _is_one_event(arrived: bytes) -> bool:
    """Exactly one ``data: ...`` line and the empty one behind it: what nearly every read brings."""
    return (
        arrived.startswith(b"data: ")
        and arrived.endswith(b"\n\n")
        and arrived.count(b"\n") == 2
        and b"\r" not in arrived
    )
