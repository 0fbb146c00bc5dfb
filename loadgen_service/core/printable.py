"""Foreign text made safe to show: a SUT's words must not drive a terminal or reorder a line.

Every output edge uses this one function: stdout, stderr, logs, report.txt. HTML has its own.
"""

from __future__ import annotations

import re
from typing import Final

_UNSAFE: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # controls, but for tabulator and newline
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # direction of text
    "\u2028\u2029\ud800-\udfff]"  # line separators; half characters, which no file takes
)


def printable(text: str) -> str:
    """``text`` with control characters, direction marks and half characters as ``\\uXXXX``.

    Newlines and tabulators stay. The form is also JSON's, so that JSON stays what it was.
    """
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
