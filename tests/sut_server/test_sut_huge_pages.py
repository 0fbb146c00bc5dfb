"""Which memory is asked for in huge pages, and that asking leaves what lies there as it is."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest

from sut_server import huge_pages
from sut_server.huge_pages import Region, advise_regions, regions_of, take_huge_pages

MIB = 1 << 20
PAGE = 2 * MIB
HUGEPAGE, COLLAPSE = 14, 25

SMAPS = """\
00400000-00600000 r-xp 00000000 fe:00 77                     /usr/bin/python3.11
Rss:                1800 kB
VmFlags: rd ex mr mw me sd
01c9b000-02c9b000 rw-p 00000000 00:00 0                      [heap]
Size:              16384 kB
Rss:               12000 kB
AnonHugePages:         0 kB
7f0000000000-7f0000800000 rw-p 00000000 00:00 0
Rss:                8192 kB
7f1000000000-7f1000800000 rw-s 00000000 00:01 9              /dev/shm/samples
Rss:                8192 kB
7f2000000000-7f2000800000 rw-p 00000000 00:00 0              [anon: named]
Rss:                8192 kB
7f3000000000-7f3000800000 ---p 00000000 00:00 0
Rss:                   0 kB
"""


def test_private_memory_of_no_file_is_found() -> None:
    assert regions_of(SMAPS) == [
        Region(0x1C9B000, 0x2C9B000, 12_000 << 10),
        Region(0x7F0000000000, 0x7F0000800000, 8192 << 10),
    ]
    assert regions_of("") == []


@pytest.mark.parametrize(
    ("region", "asked"),
    [
        pytest.param(Region(10 * MIB, 18 * MIB, 8 * MIB), (10 * MIB, 8 * MIB), id="whole pages"),
        pytest.param(Region(9 * MIB, 19 * MIB, 8 * MIB), (10 * MIB, 8 * MIB), id="inner pages"),
        pytest.param(Region(10 * MIB, 18 * MIB, 4 * MIB), (10 * MIB, 8 * MIB), id="half used"),
        pytest.param(Region(10 * MIB, 18 * MIB, 4 * MIB - 1), None, id="a stack"),
        pytest.param(Region(10 * MIB, 14 * MIB - 1, 4 * MIB), None, id="small"),
    ],
)
def test_large_regions_in_use_are_asked_for(region: Region, asked: tuple[int, int] | None) -> None:
    said: list[tuple[int, int, int]] = []

    def refuse(start: int, length: int, advice: int) -> int:
        said.append((start, length, advice))
        return -1

    assert advise_regions([region], PAGE, refuse) == (asked[1] if asked else 0)
    assert said == ([(*asked, HUGEPAGE), (*asked, COLLAPSE)] if asked else [])


def test_pages_larger_than_a_region_are_not_asked_for() -> None:
    region = Region(9 * MIB, 17 * MIB, 8 * MIB)
    assert advise_regions([region], 512 * MIB, lambda *_: pytest.fail("nothing to ask for")) == 0


ASK = """
import mmap
from sut_server.huge_pages import take_huge_pages
memory = mmap.mmap(-1, 16 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
places = range(0, len(memory), mmap.PAGESIZE)
for place in places:
    memory[place : place + 8] = place.to_bytes(8, "little")
asked_bytes = take_huge_pages()
assert all(memory[place : place + 8] == place.to_bytes(8, "little") for place in places)
print(asked_bytes)
"""


def test_a_process_asks_for_what_it_holds_and_keeps_it() -> None:
    asked = subprocess.run([sys.executable, "-c", ASK], capture_output=True, timeout=60, check=True)
    page_bytes_at = huge_pages._PAGE_BYTES_AT
    if page_bytes_at.exists():
        assert int(asked.stdout) >= (16 << 20) - 2 * int(page_bytes_at.read_text())
    else:
        assert int(asked.stdout) == 0


@pytest.mark.parametrize("missing", ["_PAGE_BYTES_AT", "_SMAPS"])
def test_where_the_kernel_says_nothing_nothing_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.setattr(huge_pages, missing, tmp_path / "none")
    monkeypatch.setattr(huge_pages, "advise_regions", lambda *_: pytest.fail("it asked"))
    assert take_huge_pages() == 0


def test_a_c_library_without_madvise_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert take_huge_pages() == 0
