"""Every query of every panel returns data from a real run; rules and configuration are sound."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
from prometheus_process import CONFIG, ROOT, RULES, program

GRAFANA = ROOT / "deploy" / "grafana"
BOARDS = sorted((GRAFANA / "dashboards").glob("*.json"))


def queries(board):
    """(panel title, expression) of every target, with Grafana's variables put in."""
    for panel in json.loads(board.read_text())["panels"]:
        for target in panel["targets"]:
            expression = target["expr"].replace("$instance", ".*")
            expression = expression.replace("$__rate_interval", "5s").replace("$__range", "10m")
            assert "$" not in expression
            yield panel["title"], expression


def promtool(*arguments: str) -> None:
    done = subprocess.run(
        [program("promtool"), *arguments], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_configuration_is_sound(tmp_path):
    token = tmp_path / "token"
    token.write_text("0123456789abcdef")
    text, count = re.subn(
        r"credentials_file: \S+", f"credentials_file: {token}", CONFIG.read_text()
    )
    assert count == 1
    copied = tmp_path / CONFIG.name
    copied.write_text(text)
    (tmp_path / RULES.name).write_text(RULES.read_text())
    promtool("check", "config", str(copied))


def test_the_rules_are_sound():
    promtool("check", "rules", str(RULES))


def test_the_alerts_fire_when_they_should():
    promtool("test", "rules", str(RULES.with_name("rules_test.yml")))


def test_the_boards_are_what_their_lists_give(monkeypatch):
    monkeypatch.syspath_prepend(str(GRAFANA))
    import make_dashboards

    monkeypatch.delitem(sys.modules, "make_dashboards")
    assert {board.name: board.read_text() for board in BOARDS} == make_dashboards.texts()


@pytest.mark.parametrize("board", BOARDS, ids=lambda path: path.stem)
def test_a_board_has_places_and_ids_of_its_own(board):
    content = json.loads(board.read_text())
    panels = content["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24
    assert all(panel["description"] for panel in panels)


@pytest.mark.parametrize("board", BOARDS, ids=lambda path: path.stem)
def test_every_query_returns_data(board, scraped, capsys):
    empty = []
    with capsys.disabled():
        print(f"\n{board.stem}: series a query")
    for title, expression in queries(board):
        found = scraped.server.query_range(expression, scraped.began_s, scraped.ended_s)
        with capsys.disabled():
            print(f"  {len(found):3} {title}: {re.sub(r'[{].*?[}]', '', expression)[:90]}")
        if not found:
            empty.append(f"{title}: {expression}")
    assert not empty


def test_every_recording_rule_gives_data(scraped):
    for line in RULES.read_text().splitlines():
        found = re.match(r"\s+- record: (\S+)", line)
        if found:
            rows = scraped.server.query_range(found[1], scraped.began_s, scraped.ended_s)
            assert rows, f"{found[1]} gave nothing"
