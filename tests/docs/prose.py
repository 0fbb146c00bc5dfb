"""Sentences of a Markdown page: paragraphs and list items, without code, tables and headings."""

from __future__ import annotations

import re

FENCE = re.compile(r"^( *)(```|~~~).*?^\1\2[ ]*$", re.MULTILINE | re.DOTALL)
COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
CODE = re.compile(r"`[^`]*`")
NO_PROSE = re.compile(r" *(\||#|---|===|!!!|\?\?\?)")
ITEM = re.compile(r"^ *(?:[-*]|\d+\.) +", re.MULTILINE)
END = re.compile(r"[.!?]\W*(?:\s|$)")


def sentences(page: str) -> list[str]:
    """Sentences of prose, as full stops, question and exclamation marks end them."""
    text = COMMENT.sub("", FENCE.sub("\n\n", page))
    kept = [
        line for line in text.splitlines() if not re.match(r" *(\||#|---|===|!!!|\?\?\?)", line)
    ]
    blocks = re.split(r"\n\s*\n", ITEM.sub("\n\n", "\n".join(kept)))
    found = []
    for block in blocks:
        plain = CODE.sub("code", LINK.sub(r"\1", " ".join(block.split())))
        found += [piece.strip() for piece in END.split(plain) if words(piece)]
    return found


def words(text: str) -> list[str]:
    """Words of a sentence; a code span counts as one."""
    return re.findall(r"[\w'’-]*[A-Za-z][\w'’-]*", text)


def mean_words(page: str) -> float:
    """Mean words a sentence; 0 of a page without prose."""
    counts = [len(words(sentence)) for sentence in sentences(page)]
    return sum(counts) / len(counts) if counts else 0.0
