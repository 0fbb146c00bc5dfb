"use strict";
// The live page: follows /api/events, shows the list and one run, starts and stops runs.
(() => {
  const { Plots, say } = window.loadgenPlots;
  const at = (id) => document.getElementById(id);
  const plots = new Plots(at("plots"));
  window.loadgenPointCount = () => plots.points.length;  // for tests
  const GOING = ["leasing", "preparing", "running", "draining", "writing"];
  let source = null, wanted = "", shownId = "", shownSuts = 0, ended = false, mayStart = true, resultFor = "";

  function element(tag, text, className) {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    if (className) made.className = className;
    return made;
  }

  function link(kind, text) { at("link").className = `link ${kind}`; at("link").textContent = text; }

  async function post(path, body) {
    const reply = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body) });
    const said = await reply.text();
    if (reply.ok) return JSON.parse(said);
    let words = said.trim();
    try { words = JSON.parse(said).error; } catch { /* a refusal is plain text */ }
    throw new Error(words || `${reply.status}`);
  }

  async function begin() {
    let reply;
    try { reply = await fetch("/api/about"); } catch { link("bad", "the service does not answer"); return; }
    at("login").hidden = reply.status !== 401;
    at("page").hidden = reply.status === 401;
    if (!reply.ok) { link(reply.status === 401 ? "wait" : "bad", reply.status === 401 ? "log in" : await reply.text()); return; }
    const about = await reply.json();
    at("version").textContent = about.version;
    mayStart = about.may_start;
    at("start").hidden = !mayStart;
    at("start-form").elements.scenario.replaceChildren(...about.scenarios.map((name) => element("option", name)));
    at("start-form").elements.scenario.value = "server";
    follow(decodeURIComponent(location.hash.slice(1)));
  }

  function follow(runId) {
    wanted = runId;
    if (source) source.close();
    source = new EventSource(`/api/events?run=${encodeURIComponent(runId)}`);
    source.onopen = () => link("good", "live");
    source.onmessage = (event) => show(JSON.parse(event.data));
    source.addEventListener("end", () => { ended = true; source.close(); link("wait", "the service has ended"); });
    source.onerror = () => { if (!ended) link("bad", "connection lost, trying again"); };
  }

  function show(news) {
    at("workers").textContent = mayStart ? `${news.workers_idle} idle worker${news.workers_idle === 1 ? "" : "s"}` : "";
    list(news.runs, news.run ? news.run.id : "");
    at("no-run").hidden = Boolean(news.run);
    at("shown").hidden = !news.run;
    if (!news.run) return;
    const run = news.run;
    if (news.reset || run.id !== shownId || run.suts.length !== shownSuts) {
      const kept = news.reset || run.id !== shownId ? [] : plots.points;
      shownId = run.id; shownSuts = run.suts.length;
      plots.reset(run.suts.map((sut) => sut.address), run.limit_ms);
      plots.add(kept);
    }
    plots.add(news.points);
    headline(run);
    tiles(run);
    tables(run);
    result(run);
  }

  function tone(run) {
    if (run.outcome === "valid") return "good";
    if (run.outcome === "invalid" || run.outcome === "failed") return "bad";
    if (GOING.includes(run.state)) return "going";
    return "wait";
  }

  function list(runs, current) {
    const key = JSON.stringify([runs, current]);
    if (list.key === key) return;
    list.key = key;
    const focused = document.activeElement && document.activeElement.dataset.run;
    at("runs").replaceChildren(...runs.map((run) => {
      const button = element("button");
      button.type = "button";
      button.dataset.run = run.id;
      button.setAttribute("aria-current", String(run.id === current));
      const badge = element("span", (run.outcome || run.state).toUpperCase(), `badge ${tone(run)}`);
      button.append(badge, ` ${run.scenario} `, element("small", `${run.stream ? `stream ${run.stream} · ` : ""}${run.model} · ${run.directory}`));
      button.onclick = () => { location.hash = run.id; };
      const item = element("li");
      item.append(button);
      return item;
    }));
    if (focused) { const again = at("runs").querySelector(`[data-run="${focused}"]`); if (again) again.focus(); }
  }

  function headline(run) {
    at("title").textContent = `${run.stream ? `${run.stream}: ` : ""}${run.scenario} · ${run.model}`;
    at("state").textContent = (run.outcome || run.state).toUpperCase();
    at("state").className = `badge ${tone(run)}`;
    const parts = [`run ${run.id}`, run.mode];
    if (run.series) parts.push(`series ${run.series}${run.series_count > 1 ? ` (${run.series_index + 1} of ${run.series_count})` : ""}`);
    if (run.limit_ms) parts.push(`limit ${say(run.limit_ms)} ms`);
    if (run.elapsed_s) parts.push(`${run.elapsed_s.toFixed(0)} s of about ${run.planned_s.toFixed(0)} s`);
    at("what").textContent = parts.join(" · ");
    at("error").textContent = run.error;
    const going = GOING.includes(run.state) || run.state === "queued";
    at("stop").hidden = !going;
    at("stop").textContent = run.stop_requests ? "Give up what is out" : "Stop";
    at("stop").disabled = run.stop_requests > 1;
    at("progress").hidden = !going;
    at("progress").value = run.planned_s ? Math.min(1, run.elapsed_s / run.planned_s) : 0;
    at("notes").replaceChildren(...run.notes.map((note) => element("li", note)));
  }

  function tiles(run) {
    const q = run.queries, live = run.live, errors = q.failed + q.timed_out, some = q.completed > 0;
    const shown = [["issued", say(q.issued)], ["completed", say(q.completed)], ["outstanding", say(live.outstanding)],
      ["failed or timed out", say(errors), errors > 0], ["a second, mean", some ? say(live.completed_qps) : "-"],
      ["p50, ms", some ? say(live.p50_ms) : "-"], ["p99, ms", some ? say(live.p99_ms) : "-",
        run.limit_ms > 0 && live.p99_ms > run.limit_ms], ["issue delay p99, ms", some ? say(live.delay_p99_ms) : "-"]];
    at("tiles").replaceChildren(...shown.map(([name, value, alarm]) => {
      const tile = element("div", undefined, alarm ? "tile alarm" : "tile");
      tile.append(element("b", value), element("span", name));
      return tile;
    }));
  }

  function table(where, head, rows) {
    const top = element("tr");
    top.append(...head.map((name) => element("th", name)));
    at(where).replaceChildren(top, ...rows.map((cells) => {
      const row = element("tr");
      row.append(...cells.map((cell) => element("td", String(cell))));
      return row;
    }));
  }

  // unit of a figure: factor and what stands behind its label
  const UNITS = { ns: [1e-6, ", ms"], bytes: [1e-6, ", MB"], share: [100, ", %"], cores: [1, ""], count: [1, ""] };

  function tables(run) {
    table("suts", ["SUT", "completed", "failed or timed out", "p99, ms"],
      run.suts.map((s) => [s.address, s.completed, s.errors, s.completed ? say(s.p99_ms) : "-"]));
    const head = run.workers.length ? run.workers[0].figures.map((f) => f.label + UNITS[f.unit][1]) : [];
    table("workers-table", ["worker", "host", ...head, ""], run.workers.map((w) =>
      [w.index, w.host, ...w.figures.map((f) => f.value === null ? "-" : say(f.value * UNITS[f.unit][0])), w.lost ? "LOST" : ""]));
  }

  function result(run) {
    const box = at("result");
    box.hidden = !run.result && !run.files.length;
    const key = JSON.stringify([run.id, run.result, run.files]);
    if (key === resultFor) return;
    resultFor = key;
    box.replaceChildren();
    if (run.result) box.append(...verdict(run.result));
    const links = element("p", undefined, "files");
    for (const name of run.files) {
      const anchor = element("a", name);
      anchor.href = `/runs/${run.id}/${name}`;
      anchor.target = "_blank";
      anchor.rel = "noopener";
      links.append(anchor);
    }
    box.append(links);
  }

  function verdict(found) {
    const word = found.state === "INTERRUPTED" ? "INTERRUPTED: partial results"
      : found.valid === null ? "not judged" : found.valid ? "VALID" : "INVALID";
    const title = element("h3", `Result: ${word}`);
    title.id = "verdict";
    const latency = Object.entries(found.latency_ms).map(([name, ms]) => `${name} ${say(ms)} ms`).join(", ");
    const figures = [found.completed_qps === null ? "" : `${say(found.completed_qps)} queries/s`, latency,
      `${found.counts.completed} of ${found.counts.planned} completed`].filter(Boolean).join(" · ");
    const grid = element("table");
    const head = element("tr");
    head.append(element("th", "condition"), element("th", "measured"), element("th", "required"), element("th", ""));
    grid.append(head, ...found.findings.map((finding) => {
      const row = element("tr");
      row.append(element("td", finding.name, finding.met ? "" : "fail"), element("td", finding.measured),
        element("td", finding.required), element("td", finding.met ? "met" : finding.advice, finding.met ? "words ok" : "words fail"));
      return row;
    }));
    const scroll = element("div", undefined, "scroll");
    scroll.append(grid);
    return [title, element("p", figures), scroll];
  }

  at("login-form").onsubmit = async (event) => {
    event.preventDefault();
    at("login-error").textContent = "";
    try { await post("/login", { token: event.target.elements.token.value.trim() }); await begin(); }
    catch (error) { at("login-error").textContent = error.message; }
  };

  at("start-form").onsubmit = async (event) => {
    event.preventDefault();
    at("start-error").textContent = "";
    const fields = event.target.elements, settings = {};
    for (const name of ["model", "scenario"]) settings[name] = fields[name].value.trim();
    settings.sut = fields.sut.value.split(",").map((s) => s.trim()).filter(Boolean);
    for (const name of ["target_qps", "target_latency_ms", "min_duration_ms", "workers"])
      if (fields[name].value !== "") settings[name] = Number(fields[name].value);
    try { location.hash = (await post("/api/runs", { settings, yaml: fields.yaml.value })).run_id; }
    catch (error) { at("start-error").textContent = error.message; }
  };

  at("stop").onclick = async () => {
    at("stop").disabled = true;
    try { await post(`/api/runs/${shownId}/stop`, {}); }
    catch (error) { at("error").textContent = error.message; }
  };

  window.addEventListener("hashchange", () => follow(decodeURIComponent(location.hash.slice(1))));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => plots.draw());
  let resizing = 0;
  window.addEventListener("resize", () => { clearTimeout(resizing); resizing = setTimeout(() => plots.resize(), 150); });
  begin();
})();
