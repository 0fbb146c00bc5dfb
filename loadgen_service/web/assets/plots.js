"use strict";
// Six plots over the run's time, fed with the points of the event stream. uPlot draws them.
(() => {
  const COLOURS = ["#1f5fbf", "#c2540a", "#18794e", "#8e3bb0", "#b42318", "#0b7a8c", "#7a6a00", "#c03a7d",
    "#47637f", "#5f8f2f", "#96552b", "#4a48c4", "#00856f", "#a03c3c", "#3a86c8", "#6d6d6d"];
  const SUT_LINES_MAX = COLOURS.length;
  const HEIGHT = 210;

  const PLOTS = [
    { key: "latency", title: "Latency", unit: "ms", log: true,
      words: "From the scheduled instant, of what was answered since the point before.",
      lines: [["p50", "p50"], ["p90", "p90"], ["p99", "p99"], ["max", "max"]] },
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

  function options(spec, labels, width) {
    const series = [{ label: "at second", value: (_, v) => say(v) }];
    labels.forEach((label, i) => series.push({ label, stroke: COLOURS[i % COLOURS.length], width: 1.5,
      points: { size: 4 }, value: (_, v) => say(v) }));
    return {
      width, height: HEIGHT, series, legend: { live: true },
      cursor: { sync: { key: "run" }, drag: { x: true, y: false } },
      scales: { x: { time: false }, y: spec.log ? { distr: 3, log: 10 } : { range: (_, low, high) => [0, Math.max(high * 1.05, 1)] } },
      axes: [{ label: "seconds", labelSize: 16, size: 34, font: "12px sans-serif", labelFont: "12px sans-serif" },
        { size: 62, font: "12px sans-serif",
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

    reset(suts) {
      this.points = [];
      this.suts = suts.slice(0, SUT_LINES_MAX);
      for (const one of this.drawn) one.plot.destroy();
      this.root.replaceChildren();
      this.drawn = PLOTS.map((spec) => this.make(spec, spec.lines.map(([label]) => label),
        () => spec.lines.map(([, field]) => column(spec, this.points, (p) => p[field]))));
      if (this.suts.length > 1) this.drawn.push(...SUT_PLOTS.map((spec) => this.make(spec, this.suts,
        () => this.suts.map((_, i) => column(spec, this.points, (p) => p.suts[i] ? p.suts[i][spec.field] : null)))));
      this.resize();  // a figure's width is known once its siblings stand beside it
    }

    make(spec, labels, columns) {
      const figure = document.createElement("figure");
      figure.dataset.plot = spec.key;
      const caption = document.createElement("figcaption");
      const title = document.createElement("b");
      title.textContent = `${spec.title}, ${spec.unit}`;
      caption.append(title, document.createElement("br"), spec.words);
      figure.append(caption);
      this.root.append(figure);
      const data = [[], ...labels.map(() => [])];
      const plot = new uPlot(options(spec, labels, this.width(figure)), data, figure);
      return { plot, columns, figure };
    }

    width(figure) { return Math.max(200, figure.clientWidth - 26); }

    add(points) {
      if (!points.length) return;
      this.points.push(...points);
      const seconds = this.points.map((p) => p.t);
      for (const one of this.drawn) one.plot.setData([seconds, ...one.columns()]);
    }

    resize() { for (const one of this.drawn) one.plot.setSize({ width: this.width(one.figure), height: HEIGHT }); }
  }

  window.loadgenPlots = { Plots, say };
})();
