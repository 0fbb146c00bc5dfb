"""The live page in a real headless Chromium, against a real service, worker and SUTs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from sut_process import sut_server

pytestmark = [pytest.mark.web, pytest.mark.timeout(240)]

TOKEN = "0123456789abcdef0123456789abcdef"
WAIT_MS = 40_000
END_S = 60


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


@pytest.fixture(scope="module")
def suts() -> Iterator[list[str]]:
    flags = ("--model", "synthetic", "--service-time")
    with (
        sut_server(*flags, "lognormal:4:0.4") as one,
        sut_server(*flags, "lognormal:6:0.7", "--error-rate", "0.01") as two,
    ):
        yield [f"grpc://{one.host_port}", f"grpc://{two.host_port}"]


class Service:
    """``loadgen serve`` with a live page and one worker."""

    def __init__(self, stack: ExitStack, folder: Path, token: str) -> None:
        environment = {**os.environ, "LOADGEN_TOKEN": token}
        environment.pop("LOADGEN_TOKEN") if not token else None
        self._stack, self._folder, self._environment = stack, folder, environment
        serving = self._start("serve", "--port", "0", "--http-port", "0")
        assert serving.stderr is not None
        assert serving.stdout is not None
        self.url = serving.stderr.readline().rsplit(" ", 1)[-1].strip()
        address = serving.stdout.readline().rsplit(" ", 1)[-1].strip()
        self._start("worker", "--coordinator", address)

    def _start(self, *arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "loadgen_service", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self._folder,
            env=self._environment,
        )
        self._stack.callback(_end, process)
        return process


def _end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.communicate(timeout=END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with ExitStack() as stack:
        yield Service(stack, tmp_path_factory.mktemp("served"), "")


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    opened = browser.new_page(viewport={"width": 1360, "height": 1180})
    opened.set_default_timeout(WAIT_MS)
    complaints: list[str] = []
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("console", lambda said: complaints.append(said.text) if said.type == "error" else 0)
    opened.complaints = complaints
    yield opened
    opened.close()


def start(page: Any, suts: list[str], seconds: float, **more: str) -> None:
    page.click("#start summary")
    fields = {
        "sut": ",".join(suts),
        "model": "synthetic",
        "target_qps": "120",
        "target_latency_ms": "400",
        "min_duration_ms": f"{seconds * 1000:.0f}",
        "yaml": "issue_delay_budget_ms: 3000\nerror_budget: 0.05",
        **more,
    }
    for name, value in fields.items():
        page.fill(f'#start-form [name="{name}"]', value)
    page.click("#start-form button")


def until(page: Any, condition: str) -> None:
    """Poll an expression. Playwright's own wait needs eval, which the page's policy forbids."""
    deadline = time.monotonic() + WAIT_MS / 1000
    while not page.evaluate(condition):
        assert time.monotonic() < deadline, condition
        page.wait_for_timeout(100)


def wait_for_points(page: Any, count: int) -> None:
    until(page, "document.querySelectorAll('#plots .u-over').length >= 5")
    until(page, f"window.loadgenPointCount() >= {count}")


def save(page: Any, name: str) -> None:
    """A picture for docs/images, where LOADGEN_SCREENSHOTS names a folder."""
    folder = os.environ.get("LOADGEN_SCREENSHOTS")
    if folder:
        page.screenshot(path=str(Path(folder) / f"{name}.png"))


def test_a_run_is_started_followed_and_judged(page, service, suts):
    page.goto(service.url)
    page.wait_for_selector("#link.good")
    start(page, suts, 10)
    wait_for_points(page, 6)
    assert page.text_content("#state") == "RUNNING"
    titles = page.eval_on_selector_all("#plots figure", "all => all.map(f => f.dataset.plot)")
    assert titles == ["latency", "qps", "outstanding", "errors", "delay", "sut-p99", "sut-qps"]
    assert page.locator("#suts tr").count() == 3
    assert page.locator("#workers-table tr").count() == 2
    save(page, "live-page-running")
    page.wait_for_selector("#verdict")
    assert re.fullmatch("Result: (VALID|INVALID)", page.text_content("#verdict"))
    assert page.is_hidden("#stop")
    assert "summary.json" in page.text_content("#result .files")
    save(page, "live-page-judged")
    assert page.complaints == []


def test_the_plots_draw_what_came(page, service, suts):
    page.goto(service.url)
    wait_for_points(page, 3)
    ink = page.eval_on_selector_all(
        "#plots canvas",
        """all => all.map(c => {
           const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
           let n = 0; for (let i = 3; i < d.length; i += 4) n += d[i] > 0; return n; })""",
    )
    assert len(ink) == 7
    assert min(ink) > 500
    assert page.complaints == []


def test_a_run_is_stopped_and_says_that_it_is_partial(page, service, suts):
    page.goto(service.url)
    start(page, suts[:1], 120)
    wait_for_points(page, 2)
    until(page, "document.getElementById('state').textContent === 'RUNNING'")
    page.click("#stop")
    page.wait_for_selector("#verdict")
    assert "INTERRUPTED" in page.text_content("#verdict")
    assert page.locator("#runs li").count() >= 1


def test_a_mistake_is_one_line_at_the_form(page, service, suts):
    page.goto(service.url)
    page.wait_for_selector("#link.good")
    start(page, suts, 1, yaml="no_such_setting: 1")
    until(page, "document.getElementById('start-error').textContent !== ''")
    said = page.text_content("#start-error")
    assert "no_such_setting" in said
    assert "\n" not in said


def test_a_file_of_the_run_opens(page, service, suts):
    page.goto(service.url)
    page.wait_for_selector("#verdict")
    with page.expect_popup() as opened:
        page.click("#result .files a:has-text('summary.json')")
    assert "loadgen-summary" in opened.value.content()


def test_a_token_is_asked_for_once(page, browser, tmp_path):
    with ExitStack() as stack:
        guarded = Service(stack, tmp_path, TOKEN)
        page.goto(guarded.url)
        page.wait_for_selector("#login:not([hidden])")
        page.fill('#login [name="token"]', "0" * 32)
        page.click("#login button")
        until(page, "document.getElementById('login-error').textContent !== ''")
        assert page.is_hidden("#page")
        page.fill('#login [name="token"]', TOKEN)
        page.click("#login button")
        page.wait_for_selector("#link.good")
        assert page.is_visible("#page")
        page.reload()
        page.wait_for_selector("#link.good")
        assert TOKEN not in page.content()


def test_it_works_without_any_other_host(page, service):
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(service.url)
    page.wait_for_selector("#link.good")
    assert asked
    assert all(url.startswith((service.url, "data:")) for url in asked)


def test_it_fits_a_narrow_window(page, service):
    page.set_viewport_size({"width": 420, "height": 900})
    page.goto(service.url)
    page.wait_for_selector("#link.good")
    wide = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    assert wide <= 0
    save(page, "live-page-narrow")
