"""The pages of finished runs in a real headless Chromium: every plot is drawn, nothing is asked."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from run_directories import server_run

from loadgen_service.cli.verbs.compare import main as compare
from loadgen_service.cli.verbs.report import main as report
from loadgen_service.core.search.rate_sweep import SweepPoint
from loadgen_service.report.html.sweep_page import render_sweep

pytestmark = [pytest.mark.web, pytest.mark.timeout(240)]

INKED = """() => [...document.querySelectorAll('.plot canvas')].map((canvas) => {
    const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
    const seen = new Set();
    for (let i = 0; i < data.length; i += 4)
        if (data[i + 3] > 200) seen.add(data[i] + ',' + data[i + 1] + ',' + data[i + 2]);
    const lines = ['36,87,197', '31,138,112', '142,91,181', '154,165,177'];
    return lines.some((colour) => seen.has(colour));
})"""
"""Whether each canvas holds a line, in one of the colours that only lines have."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium here: apt-get install chromium")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=chromium,
            args=["--no-sandbox", "--disable-background-networking", "--disable-gpu"],
        )
        yield started
        started.close()


def drawn(browser: Any, path: Path) -> list[bool]:
    """Opens the file; fails where the page complains or asks for anything."""
    page = browser.new_page(offline=True)
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(path.as_uri())
    inked = page.evaluate(INKED)
    assert complaints == []
    assert asked == [path.as_uri()]
    page.close()
    return list(inked)


def test_every_plot_of_a_report_is_drawn(browser, tmp_path):
    directory = server_run(tmp_path / "run")
    assert report([str(directory)]) == 0
    inked = drawn(browser, directory / "report.html")
    assert len(inked) == 6
    assert all(inked)


def test_every_plot_of_a_comparison_is_drawn(browser, tmp_path):
    places = [str(server_run(tmp_path / name, seed=len(name))) for name in ("one", "other")]
    assert compare([*places, "--html", str(tmp_path / "compare.html")]) == 0
    inked = drawn(browser, tmp_path / "compare.html")
    assert len(inked) == 2
    assert all(inked)


def test_every_plot_of_a_sweep_is_drawn(browser, tmp_path):
    points = [
        SweepPoint(rate, rate * 0.9, rate < 200, *(int(rate * k * 1e5) for k in range(1, 7)))
        for rate in (50.0, 100.0, 150.0, 250.0)
    ]
    (tmp_path / "sweep.html").write_text(render_sweep(points, "made up", 20_000_000))
    inked = drawn(browser, tmp_path / "sweep.html")
    assert len(inked) == 2
    assert all(inked)
