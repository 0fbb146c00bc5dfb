"""Draws bench/curves.json as SVG files in docs/images; needs matplotlib (make bench-setup)."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot

HERE = Path(__file__).resolve().parent
IMAGES = HERE.parent / "docs" / "images"


def main() -> None:
    """One picture with a panel a curve."""
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "loadgen", "font.size": 8})
    curves = json.loads((HERE / "curves.json").read_text())
    figure, panels = pyplot.subplots(2, 3, figsize=(9, 5), constrained_layout=True)
    for (name, points), panel in zip(curves.items(), panels.flat, strict=False):
        x = [point["x"] for point in points]
        panel.plot(x, [point["qps"] for point in points], "o-", ms=3, color="#1f77b4")
        panel.set(xscale="log", xlabel=name, ylabel="queries/s", ylim=(0, None))
        right = panel.twinx()
        right.plot(x, [point["cpu_us"] for point in points], "s--", ms=3, color="#d62728")
        right.set(ylabel="CPU us a query", ylim=(0, None))
    figure.savefig(IMAGES / "cost-curves.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
