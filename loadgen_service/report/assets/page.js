// Draws the plots that lie in the page as JSON. Nothing is fetched: the page works offline.
"use strict";
(function () {
  const STEPS = [[1e9, " s"], [1e6, " ms"], [1e3, " µs"], [1, " ns"]];

  function trimmed(value) {
    return String(Number(value.toPrecision(4)));
  }

  function sayNs(value) {
    if (value === 0) return "0";
    for (const [size, unit] of STEPS)
      if (Math.abs(value) >= size) return trimmed(value / size) + unit;
    return trimmed(value) + " ns";
  }

  function sayPlain(value) {
    const size = Math.abs(value);
    if (size >= 1000) return Math.round(value).toLocaleString("en-US");
    return trimmed(value);
  }

  // A share of queries above a latency, said as the percentile it stands for.
  function sayTail(value) {
    if (value >= 0.995) return "all";
    const places = Math.max(0, Math.ceil(-Math.log10(value)) - 2);
    return "p" + (100 * (1 - value)).toFixed(places);
  }

  const SAY = { ns: sayNs, plain: sayPlain, s: (v) => trimmed(v) + " s", tail: sayTail };
  const say = (unit) => (value) => (value == null ? "" : (SAY[unit] || sayPlain)(value));

  function scale(axis, side) {
    const wanted = axis.log ? { distr: 3, log: 10 } : {};
    if (axis.min != null || axis.max != null)
      wanted.range = (_, low, high) => [
        axis.min != null ? axis.min : low, axis.max != null ? axis.max : high];
    else if (axis.log) wanted.range = (_, low, high) => [low / 1.05, high * 1.05];
    else if (!side) wanted.range = (_, low, high) => {
      const pad = low === high ? Math.abs(low) / 2 + 1 : 0.02 * (high - low);
      return [low - pad, high + pad];
    };
    else wanted.range = { min: { soft: 0, mode: 1, pad: 0 }, max: { pad: 0.08 } };
    return Object.assign({ time: false }, wanted);
  }

  // Every decade and its multiples inside the range; within a decade, about six even steps.
  function logTicks(_, __, low, high) {
    const ticks = [];
    if (high / low < 10) {
      const rough = (high - low) / 6, power = Math.pow(10, Math.floor(Math.log10(rough)));
      const step = [1, 2, 5, 10].find((lead) => lead * power >= rough) * power;
      for (let n = Math.ceil(low / step); n * step <= high; n++) ticks.push(n * step);
      return ticks;
    }
    for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++)
      for (let lead = 1; lead < 10; lead++) {
        const tick = Number(lead + "e" + power);
        if (tick >= low && tick <= high) ticks.push(tick);
      }
    return ticks;
  }

  // Decades are labelled, and 2 and 5 of each where there are few.
  function logLabels(_, ticks) {
    if (ticks.length && ticks[ticks.length - 1] / ticks[0] < 10) return ticks;
    const few = ticks.length && ticks[ticks.length - 1] / ticks[0] < 120;
    return ticks.map((tick) => {
      const lead = Number(tick.toExponential().split("e")[0]);
      return lead === 1 || (few && (lead === 2 || lead === 5)) ? tick : null;
    });
  }

  // A colour of the style sheet, which knows whether the page is light or dark.
  const shade = (name) => getComputedStyle(document.documentElement)
    .getPropertyValue("--" + name).trim();

  const narrow = () => innerWidth < 560;

  function axis(wanted, side) {
    const tell = say(wanted.unit);
    const values = (_, ticks) => ticks.map((tick) => (tick == null ? "" : tell(tick)));
    const shared = { label: wanted.label, labelGap: 4, grid: { stroke: shade("grid"), width: 1 },
      ticks: { stroke: shade("line"), width: 1 }, stroke: shade("axis"), values };
    if (wanted.log) Object.assign(shared, { splits: logTicks, filter: logLabels });
    return side ? Object.assign(shared, { size: narrow() ? 58 : 74 }) : shared;
  }

  function line(series, unit) {
    const color = shade(series.color);
    const drawn = { label: series.label, stroke: color, width: series.width || 1.6,
      value: (_, value) => say(unit)(value), spanGaps: !!series.gaps, points: { show: false } };
    if (series.style === "dash") drawn.dash = [7, 5];
    if (series.style === "points") Object.assign(drawn, {
      paths: () => null, points: { show: true, size: 10, fill: color } });
    if (series.style === "dots") drawn.points = { show: true, size: 6, fill: color };
    if (series.style === "steps") drawn.paths = uPlot.paths.stepped({ align: 1 });
    if (series.style === "bars") Object.assign(drawn, {
      fill: color + "99", paths: uPlot.paths.bars({ size: [0.9, 40] }) });
    if (series.fill) drawn.fill = color + "22";
    return drawn;
  }

  function draw(place, plot) {
    const options = {
      width: place.clientWidth, height: plot.height || 300,
      scales: { x: scale(plot.x, false), y: scale(plot.y, true) },
      axes: [axis(plot.x, false), axis(plot.y, true)],
      series: [{ label: plot.x.label, value: (_, value) => say(plot.x.unit)(value) }].concat(
        plot.series.map((series) => line(series, plot.y.unit))),
      cursor: { drag: { x: true, y: false } },
    };
    return new uPlot(options, [plot.x.values].concat(plot.series.map((s) => s.values)), place);
  }

  const plots = JSON.parse(document.getElementById("plots").textContent);
  for (const [name, plot] of Object.entries(plots)) {
    const place = document.getElementById(name);
    let drawn = draw(place, plot);
    new ResizeObserver(() => {
      if (place.clientWidth) drawn.setSize({ width: place.clientWidth, height: plot.height || 300 });
    }).observe(place);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      drawn.destroy();
      drawn = draw(place, plot);
    });
  }
})();
