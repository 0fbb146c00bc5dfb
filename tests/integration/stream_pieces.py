"""What an adapter says of streams, piece by piece."""

from __future__ import annotations

from typing import Any

from adapter_rig import Answers

from loadgen_service.sut.interface import MESSAGE


class Pieces(Answers):
    """Keeps the instants of every piece too, in the order of arrival."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: dict[int, list[int]] = {}

    def __call__(self, now_ns: int, events: Any) -> None:
        for event in events:
            if event[0] == MESSAGE:
                assert event[1] not in self.by_key, "a piece behind the end"
                self.pieces.setdefault(event[1], []).append(now_ns)
        super().__call__(now_ns, events)
