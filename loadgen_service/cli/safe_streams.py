"""stdout and stderr that escape what could drive a terminal, whoever wrote it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from loadgen_service.core.printable import printable


class SafeStream:
    """A text stream; all but ``write`` is the stream's own.

    ``rich_proxied_file`` is where rich writes its own colours and panels; what it is given to
    show is made printable before.
    """

    def __init__(self, stream: TextIO) -> None:
        self.rich_proxied_file = stream

    def write(self, text: str) -> int:
        """Write ``text``, escaped; as many characters as were given."""
        self.rich_proxied_file.write(printable(text))
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Write each line, escaped."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.rich_proxied_file, name)


@contextmanager
def safe_streams() -> Iterator[None]:
    """Put safe streams in the place of stdout and stderr until the block ends."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = SafeStream(before[0]), SafeStream(before[1])
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
