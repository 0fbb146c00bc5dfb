"""Server-sent events, as far as token streams use them: bytes in, the ``data`` of events out.

Sans I/O. Follows the WHATWG's "event stream" grammar: lines end in LF, CR LF or CR; a line that
begins with a colon is a comment; several ``data`` lines of one event are joined by LF.
"""

from __future__ import annotations

from typing import Final

EVENT_BYTES_MAX: Final = 16 << 20
"""An unfinished event beyond it is refused: no token is near it."""


class SseReader:
    """Feed it what arrived; it gives the data of each event that became whole."""

    __slots__ = ("_data", "_held")

    def __init__(self) -> None:
        self._held = b""
        self._data: list[bytes] = []

    def feed(self, arrived: bytes) -> list[bytes]:
        """Data of the events that ended with ``arrived``. Raises ValueError beyond the limit."""
        held = self._held
        if not held and not self._data and _is_one_event(arrived):
            return [arrived[6:-2]]
        text = held + arrived if held else arrived
        if b"\r" in text:
            text = _with_lf(text)
        *lines, self._held = text.split(b"\n")
        if len(self._held) > EVENT_BYTES_MAX:
            raise ValueError("an event of the stream never ends")
        return self._take_lines(lines)

    def _take_lines(self, lines: list[bytes]) -> list[bytes]:
        ended = []
        data = self._data
        for line in lines:
            if not line:
                if data:
                    ended.append(b"\n".join(data))
                    data.clear()
            elif line.startswith(b"data:"):
                data.append(line[6:] if line[5:6] == b" " else line[5:])
        return ended

    def end(self) -> list[bytes]:
        """The stream ended: an event whose empty line never came counts all the same.

        The grammar drops it; servers that forget the last empty line are told apart by nothing.
        """
        held, self._held = self._held, b""
        return self._take_lines([held.rstrip(b"\r"), b""])


def _is_one_event(arrived: bytes) -> bool:
    """Exactly one ``data: ...`` line and the empty one behind it: what nearly every read brings."""
    return (
        arrived.startswith(b"data: ")
        and arrived.endswith(b"\n\n")
        and arrived.count(b"\n") == 2
        and b"\r" not in arrived
    )


def _with_lf(text: bytes) -> bytes:
    """Line ends as LF. A CR at the very end waits: its LF may be still to come."""
    tail = b""
    if text.endswith(b"\r"):
        text, tail = text[:-1], b"\r"
    return text.replace(b"\r\n", b"\n").replace(b"\r", b"\n") + tail
