"""The pages tell the truth: their command lines are accepted by the real parsers, their links lead
somewhere.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from command_lines import commands_in, complaint

ROOT = Path(__file__).parents[2]
# made from the code when the site is built
GENERATED = {
    ROOT / "docs" / "reference" / f"{name}.md"
    for name in ("settings", "cli", "summary-types", "metrics", "protocol")
}
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
FENCE = re.compile(r"^```[a-z]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"(?<!`)`((?:loadgen|sut-server) [a-z-][^`]*)`(?!`)")
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def fenced_commands(page: Path) -> list[list[str]]:
    blocks = FENCE.findall(page.read_text(encoding="utf-8"))
    return [words for block in blocks for words in commands_in(block)]


def inline_commands(page: Path) -> list[list[str]]:
    inlines = INLINE.findall(FENCE.sub("", page.read_text(encoding="utf-8")))
    return [words for inline in inlines for words in commands_in(inline.replace("\n", " "))]


COMMANDS = [(name_of(page), words) for page in PAGES for words in fenced_commands(page)]
MENTIONS = [(name_of(page), words) for page in PAGES for words in inline_commands(page)]
# a mention in a sentence may leave out what is not its point; its verb and flags must exist
LEFT_OUT = re.compile("expected one argument|arguments are required")


@pytest.mark.parametrize(("page", "words"), COMMANDS, ids=lambda part: str(part)[:80])
def test_command_line_of_a_page_is_accepted(page: str, words: list[str]) -> None:
    if "VERB" in words or len(words) < 2:
        pytest.skip("names the program, not a command line")
    assert complaint(words) == "", page


@pytest.mark.parametrize(("page", "words"), MENTIONS, ids=lambda part: str(part)[:80])
def test_verb_and_flags_of_a_mention_exist(page: str, words: list[str]) -> None:
    if "VERB" in words or len(words) < 2:
        pytest.skip("names the program, not a command line")
    said = complaint(words)
    assert said == "" or LEFT_OUT.search(said), (page, said)


def test_pages_hold_commands_of_every_kind() -> None:
    """The search above finds what there is: the check must not pass for want of anything."""
    verbs = {words[1] for _, words in COMMANDS + MENTIONS if words[0] == "loadgen"}
    assert {"run", "serve", "worker", "report", "plan"} <= verbs
    assert any(words[0] == "sut-server" for _, words in COMMANDS)


@pytest.mark.parametrize(
    "line",
    [
        "loadgen run --target-qsp 5",
        "loadgen run --scenario sever",
        "loadgen flight",
        "loadgen serve --tls-cert x",
        "loadgen worker",
        "sut-server --port 1",
        "sut-server --model null --metric-port 1",
    ],
)
def test_wrong_command_line_is_complained_about(line: str) -> None:
    (words,) = commands_in(line)
    assert complaint(words)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_relative_links_of_a_page_lead_somewhere(page: Path) -> None:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    targets = [link or image for link, image in LINK.findall(text)]
    missing = [target for target in targets if not leads_somewhere(page, target)]
    assert not missing


def leads_somewhere(page: Path, target: str) -> bool:
    """A file that exists, with the heading that the anchor names."""
    if "://" in target or target.startswith("mailto:"):
        return True
    path, _, anchor = target.partition("#")
    there = (page.parent / path).resolve() if path else page
    if there in GENERATED:
        return True  # `make docs` checks its anchors
    return there.exists() and (not anchor or anchor in anchors(there))


def anchors(page: Path) -> set[str]:
    """The anchors that a page's headings have on code hosts."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", text).strip().lower().replace(" ", "-") for text in headings}
