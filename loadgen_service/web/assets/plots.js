"use strict";
// Six plots over the run's time, fed with the points of the event stream. uPlot draws them.
(() => {
  // names of the style sheet's colours, which has them for light and for dark
  const COLOURS = ["c0", "c1", "c2", "c3", "c4", "c5", "c6"];
  const shade = (name) => getComputedStyle(document.documentElement)
    .getPropertyValue("--" + name).trim();
  const SUT_LINES_MAX = 16;  // beyond the colours, dashes tell two of one colour apart
  const HEIGHT = 210;

  const PLOTS = [
    { key: "latency", title: "Latency", unit: "ms", log: true,
      words: "From the scheduled instant, of what was answered since the point before.",
      limit: true,
      lines: [["p50", "p50", "c0"], ["p90", "p90", "c2"], ["p99", "p99", "c3"], ["max", "max", "faint"]] },
    { key: "qps", title: "Throughput", unit: "queries/s", words: "Completed a second.",
      lines: [["completed", "qps"]] },
    { key: "outstanding", title: "Outstanding", unit: "queries",
      words: "Issued and not answered. A line that climbs: the SUT falls behind.",
      lines: [["outstanding", "outstanding"]] },
    { key: "errors", title: "Errors", unit: "queries/s", words: "Failed or timed out a second.",
      lines: [["errors", "errors"]] },
    { key: "delay", title: "Issue delay", unit: "ms", log: true,
      words: "How late queries left. High: the generator or its connections are the bottleneck.",
      lines: [["p50", "delay_p50"], ["p99", "delay_p99"]] },
  ];
  const SUT_PLOTS = [
    { key: "sut-p99", field: "p99", title: "Latency p99 by SUT", unit: "ms", log: true,
      words: "A line apart from its siblings is the SUT to look at." },
    { key: "sut-qps", field: "qps", title: "Throughput by SUT", unit: "queries/s", words: "Completed a second." },
  ];

  const say = (value) => value === null || value === undefined ? "-"
    : Math.abs(value) >= 1000 ? value.toFixed(0) : String(+value.toPrecision(4));

  function options(spec, lines, width) {
    const series = [{ label: "at second", value: (_, v) => v === null ? "" : say(v) }];
    lines.forEach(([label, , color], i) => series.push({ label,
      stroke: shade(color || COLOURS[i % COLOURS.length]), width: 1.5, points: { size: 4 },
      dash: color === "limit" ? [7, 5] : i >= COLOURS.length ? [3, 3] : undefined,
      value: (_, v) => v === null ? "" : say(v) }));
    const axis = { stroke: shade("axis"), grid: { stroke: shade("grid"), width: 1 },
      ticks: { stroke: shade("line"), width: 1 }, font: "12px sans-serif" };
    return {
      width, height: HEIGHT, series, legend: { live: true },
      cursor: { sync: { key: "run" }, drag: { x: true, y: false } },
      scales: { x: { time: false }, y: spec.log ? { distr: 3, log: 10 } : { range: (_, low, high) => [0, Math.max(high * 1.05, 1)] } },
      axes: [{ ...axis, label: "seconds", labelSize: 16, size: 34, labelFont: "12px sans-serif" },
        { ...axis, size: 62,
          // a log axis names decades and their 2 and 5 only, or the labels would touch
          values: (_, ticks) => ticks.map((v) => v === null ? null : !spec.log || /^[125]/.test(v.toExponential()) ? say(v) : null) }],
    };
  }

  // a log scale has no zero: what took no measurable time is shown at its floor, a microsecond
  const column = (spec, points, pick) => points.map((p) => {
    const value = pick(p);
    return value === null || value === undefined ? null : spec.log ? Math.max(value, 0.001) : value;
  });

  class Plots {
    constructor(root) { this.root = root; this.points = []; this.suts = []; this.drawn = []; }

    reset(suts, limitMs) {
      this.points = [];
      this.suts = suts.slice(0, SUT_LINES_MAX);
      this.limitMs = limitMs;
      this.draw();
    }

    // The same plots again, such as when the page turns dark.
    draw() {
      for (const one of this.drawn) one.plot.destroy();
      this.root.replaceChildren();
      this.drawn = PLOTS.map((spec) => this.make(spec, this.lines(spec)));
      if (this.suts.length > 1) this.drawn.push(...SUT_PLOTS.map((spec) => this.make(spec,
        this.suts.map((name, i) => [name, (p) => p.suts[i] ? p.suts[i][spec.field] : null]))));
      this.resize();  // a figure's width is known once its siblings stand beside it
      this.add([]);
    }

    // Label, how its value is found in a point, and colour of each line of a plot.
    lines(spec) {
      const lines = spec.lines.map(([label, field, color]) => [label, (p) => p[field], color]);
      if (spec.limit && this.limitMs > 0) lines.push(["limit", () => this.limitMs, "limit"]);
      return lines;
    }

    make(spec, lines) {
      const figure = document.createElement("figure");
      figure.dataset.plot = spec.key;
      const caption = document.createElement("figcaption");
      const title = document.createElement("b");
      title.textContent = `${spec.title}, ${spec.unit}`;
      caption.append(title, document.createElement("br"), spec.words);
      figure.append(caption);
      this.root.append(figure);
      const columns = () => lines.map(([, pick]) => column(spec, this.points, pick));
      const plot = new uPlot(options(spec, lines, this.width(figure)), [[], ...lines.map(() => [])], figure);
      return { plot, columns, figure };
    }

    width(figure) { return Math.max(200, figure.clientWidth - 26); }

    add(points) {
      this.points.push(...points);
      if (!this.points.length) return;
      const seconds = this.points.map((p) => p.t);
      for (const one of this.drawn) one.plot.setData([seconds, ...one.columns()]);
    }

    resize() { for (const one of this.drawn) one.plot.setSize({ width: this.width(one.figure), height: HEIGHT }); }
  }

  window.loadgenPlots = { Plots, say };
})();
