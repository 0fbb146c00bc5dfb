"""The site's navigation is complete, and its generated pages document every setting and metric."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import yaml
from prose import mean_words, sentences
from pydantic import BaseModel, Field

from loadgen_service.cli.flags import flag_of
from loadgen_service.core.settings import Settings
from loadgen_service.core.settings.serve import ServeSettings

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
sys.path.insert(0, str(DOCS / "generate"))

from reference_pages import PAGES, Undocumented, _settings_table  # noqa: E402

WRITTEN = sorted(page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md"))
PROSE = ["../README.md", *WRITTEN]
SENTENCE_WORDS_MAX = 25


def pages_of(nav: object) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    parts = nav.values() if isinstance(nav, dict) else nav
    return [page for part in parts for page in pages_of(part)]  # type: ignore[union-attr]


def test_navigation_holds_every_page_once() -> None:
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    assert sorted(pages_of(config["nav"])) == sorted([*WRITTEN, *PAGES])


@pytest.mark.parametrize("page", PROSE)
def test_mean_sentence_of_a_page_is_short(page: str) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    longest = max(sentences(text), key=len, default="")
    assert mean_words(text) < SENTENCE_WORDS_MAX, f"its longest sentence: {longest}"


def test_sentences_are_counted_without_code_tables_and_lists() -> None:
    page = (
        "# A head\n\nOne two three. Four `a b c d`\nfive.\n\n| a | b c |\n\n- six seven\n- eight\n"
    )
    page += "\n```\nnot a sentence.\n```\n"
    assert [len(re.findall(r"\w+", text)) for text in sentences(page)] == [3, 3, 2, 1]
    assert mean_words(page) == 9 / 4


def test_settings_page_documents_every_setting() -> None:
    page = PAGES["reference/settings.md"]()
    rows = set(re.findall(r"^\| `(--[a-z0-9-]+)` \| [^|]+ \|[^|]*\| \S", page, re.MULTILINE))
    fields = [*Settings.model_fields, *ServeSettings.model_fields]
    assert rows == {flag_of(name) for name in fields}


def test_setting_without_a_description_fails_the_page() -> None:
    class Bare(BaseModel):
        """Two settings."""

        told: int = Field(1, description="known")
        untold: int = 2

    with pytest.raises(Undocumented, match=r"Bare\.untold"):
        list(_settings_table(Bare, ["told", "untold"]))


def test_metrics_page_names_what_a_scrape_holds() -> None:
    page = PAGES["reference/metrics.md"]()
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| \S", page, re.MULTILINE)
    assert {kind for _, kind in rows} == {"counter", "gauge", "histogram", "info"}
    names = {name for name, _ in rows}
    written = (DOCS / "how-to" / "prometheus.md").read_text(encoding="utf-8")
    by_hand = set(re.findall(r"`((?:loadgen|sut_server)_\w+)`", written))
    assert by_hand
    assert by_hand <= names


@pytest.mark.parametrize("path", PAGES)
def test_page_is_made_and_has_a_title(path: str) -> None:
    text = PAGES[path]()
    assert re.search(r"^# \w", text, re.MULTILINE), text[:80]


FILE = re.compile(r"`((?:[\w-]+/)*[\w-]+\.py)`")
MONTHS = "January|February|March|April|May|June|July|August|September|October|November|December"
DATED = re.compile(rf"\b\d{{1,2}} (?:{MONTHS})\b|\b20\d\d-\d\d-\d\d\b")


@pytest.mark.parametrize("page", PROSE)
def test_source_files_that_a_page_names_exist(page: str) -> None:
    """From the root of the tree. The wire's page has a test of its own."""
    if page == "reference/wire.md":
        pytest.skip("tests/grpc_wire/test_wire_docs.py")
    named = FILE.findall((DOCS / page).read_text(encoding="utf-8"))
    missing = [name for name in named if not (ROOT / name).exists()]
    assert not missing


@pytest.mark.parametrize("page", PROSE)
def test_page_holds_no_dated_measurement(page: str) -> None:
    """Figures of single runs and their dates belong to bench/results.json and its table."""
    text = (DOCS / page).read_text(encoding="utf-8")
    text = re.sub(r"<!-- table -->.*?<!-- /table -->|```.*?```", "", text, flags=re.DOTALL)
    dates = [date for date in DATED.findall(text) if not date.startswith("2020-01-01")]
    assert not dates


PRIVATE = re.compile(
    r"\b(patience|crew|wakefulness|alike|gathering|mend|mends|mended|folk)\b", re.I
)


@pytest.mark.parametrize("page", PROSE)
def test_page_uses_the_words_of_the_glossary(page: str) -> None:
    text = re.sub(r"`[^`]*`", "", (DOCS / page).read_text(encoding="utf-8"))
    assert not PRIVATE.findall(text)
