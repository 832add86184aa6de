// What the person does: select, step, play, zoom, search.
let playing = null, speed = 1, tab = "moment";
const SPEEDS = [0.01, 0.1, 0.25, 0.5, 1, 2, 5, 10, 25, 50, 100, 250, 1000, 10000];

function select(place, move) {
  if (!M.n) return;
  cursor.place = Math.max(0, Math.min(M.n - 1, place));
  cursor.time = Math.max(M.clock[cursor.place], M.time[cursor.place]);
  if (move) bringIntoView(M.time[cursor.place]);
  told();
}

function told() {
  $("now").textContent = clockTime(cursor.time, head.length < 600e6 ? 1e3 : 1e5);
  $("place").textContent = M.n ? count(cursor.place + 1) + " of " + count(M.n) : "nothing";
  overview.setAttribute("aria-valuenow", String(Math.round(cursor.time / 1e3)));
  overview.setAttribute("aria-valuetext", $("now").textContent);
  reveal();
  if (tab === "state") drawState(); else drawDetail();
  redraw();
}

function seekTime(time) {
  cursor.time = Math.max(0, Math.min(head.length, time));
  cursor.place = placeAt(cursor.time);
  told();
}

function bringIntoView(time) {
  const wide = view.to - view.from;
  if (time < view.from || time > view.to) show(time - wide / 2, time + wide / 2);
  const lane = lanes[M.agent[cursor.place]];
  if (lane.top < view.scroll + AXIS || lane.top + lane.height > view.scroll + height) view.scroll = Math.max(0, Math.min(total - height, lane.top - AXIS));
}

function show(from, to) {
  const least = 20, most = head.length * 1.04 + 40;
  const wide = Math.max(least, Math.min(most, to - from)), slack = head.length * 0.02 + 20;
  view.from = Math.max(-slack, Math.min(from, head.length + slack - wide));
  view.to = view.from + wide;
  redraw();
}
const fit = () => show(-head.length * 0.01 - 10, head.length * 1.03 + 30);
function zoom(factor, around) {
  const wide = (view.to - view.from) * factor, share = (around - view.from) / (view.to - view.from);
  show(around - wide * share, around + wide * (1 - share));
}

function ofAgent(direction) {
  const places = M.byAgent[M.agent[Math.max(0, cursor.place)]];
  const at = direction > 0 ? places[firstPlace(places.length, (k) => places[k] > cursor.place)] : places[firstPlace(places.length, (k) => places[k] >= cursor.place) - 1];
  if (at !== undefined) select(at, true);
}
function toError(direction) {
  const places = M.errors;
  let at = direction > 0 ? places[firstPlace(places.length, (k) => places[k] > cursor.place)] : places[firstPlace(places.length, (k) => places[k] >= cursor.place) - 1];
  if (at === undefined && places.length) at = places[direction > 0 ? 0 : places.length - 1];
  if (at !== undefined) select(at, true);
}

function play() {
  if (playing) { cancelAnimationFrame(playing.frame); playing = null; $("play").textContent = "▶"; return; }
  if (cursor.time >= head.length) seekTime(0);
  playing = { last: performance.now() };
  $("play").textContent = "❚❚";
  const tick = (now) => {
    if (!playing) return;
    seekTime(cursor.time + (now - playing.last) * 1e3 * speed);
    playing.last = now;
    const wide = view.to - view.from;
    if (cursor.time > view.to - wide * 0.05 && view.to < head.length) show(cursor.time - wide * 0.1, cursor.time + wide * 0.9);
    if (cursor.time >= head.length) play(); else playing.frame = requestAnimationFrame(tick);
  };
  playing.frame = requestAnimationFrame(tick);
}
function setSpeed(value) { speed = value; $("speed").value = String(value); }
function faster(direction) {
  const at = SPEEDS.indexOf(speed) + direction;
  if (SPEEDS[at]) setSpeed(SPEEDS[at]);
}

let searching = 0;
async function search(words, from, direction) {
  const mine = ++searching, wanted = words.toLowerCase();
  $("found").textContent = "";
  if (!wanted) return -1;
  const inAgents = new Set(head.agents.flatMap((agent, number) => (agent.toLowerCase().includes(wanted) ? [number] : [])));
  for (let seen = 0; seen < M.n; seen++) {
    const i = (from + direction * (seen + 1) + 2 * M.n) % M.n;
    if (mine !== searching) return -1;
    const { line, detail } = (chunk(Math.floor(i / head.chunk)).lines) ? lineAndDetail(i) : await wordsOf(i);
    if (inAgents.has(M.agent[i]) || line.toLowerCase().includes(wanted) || detail.toLowerCase().includes(wanted)) { select(i, true); return i; }
  }
  $("found").textContent = "not found";
  return -1;
}
function lineAndDetail(i) {
  const both = chunk(Math.floor(i / head.chunk)).lines;
  return { line: both[0][i % head.chunk], detail: both[1][i % head.chunk] };
}

/** What lies under the pointer: the place of a moment, or -1. */
function under(x, y) {
  const at = y + view.scroll, lane = laneAt(at);
  if (x < GUTTER || y < AXIS || !lane) return -1;
  const time = timeOf(x), slack = ((view.to - view.from) / width) * 6;
  if (at < lane.top + STRIP) {
    const k = firstPlace(lane.marks.length, (j) => M.time[lane.marks[j]] >= time - slack);
    let best = -1;
    for (let j = k; j < lane.marks.length && M.time[lane.marks[j]] <= time + slack; j++) if (best < 0 || Math.abs(M.time[lane.marks[j]] - time) < Math.abs(M.time[best] - time)) best = lane.marks[j];
    if (best >= 0) return best;
  } else {
    const row = lane.rows[Math.floor((at - lane.top - STRIP) / rowHeight)];
    if (row) {
      const near = slack / 2;
      const k = firstPlace(row.steps.length, (j) => row.ends[j] >= time - near);
      let best = -1;
      for (let j = k; j < row.steps.length && S.start[row.steps[j]] <= time + near; j++) { best = row.steps[j]; if (S.end[best] >= time) break; }
      if (best >= 0) return placeOfSeq(S.seq[best]);
    }
  }
  for (const [x0, y0, x1, y1, place] of arrows) {
    const share = Math.max(0, Math.min(1, ((x - x0) * (x1 - x0) + (at - y0) * (y1 - y0)) / ((x1 - x0) ** 2 + (y1 - y0) ** 2 || 1)));
    if (Math.hypot(x - x0 - share * (x1 - x0), at - y0 - share * (y1 - y0)) < 6) return place;
  }
  return -1;
}

async function tip(event, place) {
  const box = $("tip");
  if (place < 0) { box.hidden = true; return; }
  const { line } = await wordsOf(place), step = M.step[place];
  const parts = [made("b", step >= 0 ? pathOf(step) : head.agents[M.agent[place]])];
  if (step >= 0) {
    parts.push(made("div", head.agents[S.agent[step]] + " · " + word(S.kind[step]) + " · " + (S.status[step] === 0 ? "open" : span(S.end[step] - S.start[step]) + ", " + head.statuses[S.status[step]]), S.status[step] === 2 ? "bad" : "muted"));
  } else parts.push(made("div", line));
  parts.push(made("div", clockTime(M.time[place], 1e3), "muted"));
  box.replaceChildren(...parts);
  box.hidden = false;
  const area = $("stage").getBoundingClientRect(), size = box.getBoundingClientRect();
  box.style.left = Math.max(4, Math.min(event.clientX - area.left + 14, area.width - size.width - 6)) + "px";
  box.style.top = Math.max(4, Math.min(event.clientY - area.top + 16, area.height - size.height - 6)) + "px";
}

function pointers() {
  let drag = null;
  canvas.onpointerdown = (event) => { drag = { x: event.offsetX, y: event.offsetY, from: view.from, to: view.to, scroll: view.scroll, moved: false }; canvas.setPointerCapture(event.pointerId); };
  canvas.onpointermove = (event) => {
    if (!drag) return tip(event, under(event.offsetX, event.offsetY));
    const dx = event.offsetX - drag.x, dy = event.offsetY - drag.y;
    if (Math.abs(dx) + Math.abs(dy) > 4) drag.moved = true;
    if (!drag.moved) return undefined;
    const shift = (dx / (width - GUTTER - 10)) * (drag.to - drag.from);
    view.scroll = Math.max(0, Math.min(Math.max(0, total - height), drag.scroll - dy));
    $("tip").hidden = true;
    return show(drag.from - shift, drag.to - shift);
  };
  canvas.onpointerup = (event) => {
    const moved = drag && drag.moved;
    drag = null;
    if (moved) return;
    const place = under(event.offsetX, event.offsetY);
    if (place >= 0) { openTab("moment"); select(place, false); } else if (event.offsetX > GUTTER) seekTime(timeOf(event.offsetX));
  };
  canvas.onpointerleave = () => { $("tip").hidden = true; };
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    if (event.offsetX < GUTTER || event.altKey) { view.scroll = Math.max(0, Math.min(Math.max(0, total - height), view.scroll + event.deltaY)); return redraw(); }
    const sideways = event.shiftKey ? event.deltaY || event.deltaX : Math.abs(event.deltaX) > Math.abs(event.deltaY) ? event.deltaX : 0;
    if (sideways) { const shift = (sideways / width) * (view.to - view.from); return show(view.from + shift, view.to + shift); }
    return zoom(Math.exp(event.deltaY * 0.0015), timeOf(event.offsetX));
  }, { passive: false });
  const slide = (event) => { if (event.buttons) seekTime((event.offsetX / overWidth) * head.length); };
  overview.onpointerdown = (event) => { overview.setPointerCapture(event.pointerId); slide(event); };
  overview.onpointermove = slide;
  overview.onpointerup = () => { if (M.n && cursor.place >= 0) bringIntoView(cursor.time); redraw(); };
}

const KEYS = [["← → j k", "previous, next moment"], ["⇧← ⇧→ p n", "previous, next of this agent"], ["e E", "next, previous error"], ["space", "play or pause"],
  ["+ −", "faster, slower"], ["/", "search; Enter: next, ⇧Enter: previous"], ["g", "go to a sequence"], ["s", "state or moments"], ["[ ]", "zoom out, in"], ["0", "show all of it"],
  ["Home End", "first, last moment"], ["d", "light or dark"], ["wheel, drag", "zoom, move; over the names: scroll"], ["?", "these keys"]];
const ACTIONS = {
  ArrowLeft: (e) => (e.shiftKey ? ofAgent(-1) : select(cursor.place - 1, true)), ArrowRight: (e) => (e.shiftKey ? ofAgent(1) : select(cursor.place + 1, true)),
  ArrowUp: () => select(cursor.place - 1, true), ArrowDown: () => select(cursor.place + 1, true), k: () => select(cursor.place - 1, true), j: () => select(cursor.place + 1, true),
  p: () => ofAgent(-1), n: () => ofAgent(1), e: () => toError(1), E: () => toError(-1), " ": play, "+": () => faster(1), "=": () => faster(1), "-": () => faster(-1),
  "/": () => $("search").focus(), g: goTo, s: () => openTab(tab === "state" ? "moment" : "state"), "[": () => zoom(1.5, cursor.time), "]": () => zoom(1 / 1.5, cursor.time), 0: fit,
  Home: () => select(0, true), End: () => select(M.n - 1, true), d: toggleTheme, "?": keys, PageDown: () => { view.scroll = Math.min(Math.max(0, total - height), view.scroll + height * 0.8); redraw(); },
  PageUp: () => { view.scroll = Math.max(0, view.scroll - height * 0.8); redraw(); },
};
function goTo() { const seq = prompt("Go to sequence"); if (seq && Number.isFinite(Number(seq))) select(placeOfSeq(Number(seq)), true); }
function keys() { if ($("keys").open) $("keys").close(); else $("keys").showModal(); }
function toggleTheme() { document.documentElement.classList.toggle("dark"); resize(); drawListSoon(); legend(); }
function openTab(name) {
  tab = name;
  for (const each of ["moment", "state"]) { $("tab-" + each).setAttribute("aria-selected", String(each === name)); $(each + "-pane").hidden = each !== name; }
  if (name === "state") drawState(); else { drawDetail(); reveal(); }
}

function legend() {
  const present = new Set(S.kind.map(word)), box = $("legend"), kinds = new Set();
  for (let i = 0; i < M.n; i++) kinds.add(kindOf(i));
  const entry = (name, paint) => {
    const node = made("span"), swatch = made("canvas");
    node.append(swatch, name);
    swatch.width = 32; swatch.height = 24;
    const ink = swatch.getContext("2d");
    ink.scale(2, 2);
    paint(ink);
    return node;
  };
  const bar = (colour) => (ink) => { ink.fillStyle = colour; ink.beginPath(); ink.roundRect(0, 1, 16, 10, 3); ink.fill(); };
  const parts = ["llm", "tool_call", "task", "message", "handoff", "retrieval", "other"].filter((kind) => present.has(kind)).map((kind) => entry(kind.replace("_", " ") + (kind === "other" ? " step" : ""), bar(kindColour(kind))));
  if (M.errors.length) parts.push(entry("error", bar(colours.error)));
  if (head.messages.length) parts.push(entry("message", (ink) => { ink.strokeStyle = ink.fillStyle = colours.message; ink.lineWidth = 1.4; ink.beginPath(); ink.moveTo(0, 6); ink.lineTo(11, 6); ink.stroke(); ink.beginPath(); ink.moveTo(16, 6); ink.lineTo(9, 2); ink.lineTo(9, 10); ink.fill(); }));
  for (const [kind, name] of [["memory", "memory change"], ["task", "task change"], ["artifact", "artifact"], ["run", "run start, end"], ["metric", "metric, log"]]) {
    if (kinds.has(kind)) parts.push(entry(name, (ink) => drawMark(ink, kind, 8, 6)));
  }
  box.replaceChildren(...parts);
}

function facts() {
  const about = head.about;
  $("title").textContent = head.title || head.run;
  $("title").title = head.title;
  $("run").textContent = head.run;
  $("status").textContent = about.status || "";
  $("status").hidden = !about.status;
  if (about.status) $("status").classList.add(about.status);
  const { steps, errors, tokens, cost, unpriced, seconds, reported } = head.totals;
  const much = cost === null ? "" : "$" + cost.toFixed(cost < 1 ? 4 : 2) + (reported ? ", reported costs only" : unpriced ? " at least" : "");
  const shown = [["took", span(seconds === null ? head.length : seconds * 1e6)], ["agents", count(head.agents.filter(Boolean).length)], ["steps", count(steps)], ["errors", count(errors), errors ? "bad" : ""],
    ["messages", count(new Set(head.messages.map((m) => m[2])).size)], ["tokens", tokens ? count(tokens) : ""], ["cost", much]];
  for (const [name, value, className] of shown) {
    if (value === "") continue;
    const box = made("div");
    box.append(made("dt", name), made("dd", value, className));
    $("facts").append(box);
  }
  $("next-error").hidden = !M.errors.length;
}

function controls() {
  for (const value of SPEEDS) { const option = made("option", value + "×"); option.value = String(value); $("speed").append(option); }
  $("speed").onchange = () => setSpeed(Number($("speed").value));
  const wanted = head.length / 1e6 / 20; // by itself the whole takes about 20 seconds
  setSpeed(SPEEDS.find((value) => value >= wanted) || 10000);
  $("back").onclick = () => select(cursor.place - 1, true);
  $("next").onclick = () => select(cursor.place + 1, true);
  $("play").onclick = play;
  $("next-error").onclick = () => toError(1);
  $("fit").onclick = fit;
  $("theme").onclick = toggleTheme;
  $("help").onclick = keys;
  $("tab-moment").onclick = () => openTab("moment");
  $("tab-state").onclick = () => openTab("state");
  const table = made("table");
  for (const [key, what] of KEYS) { const row = made("tr"), cell = made("td"); cell.append(made("kbd", key)); row.append(cell, made("td", what)); table.append(row); }
  $("keys").append(table);
  $("keys").onclick = keys;
  $("search").onkeydown = (event) => {
    if (event.key === "Enter") search($("search").value, cursor.place, event.shiftKey ? -1 : 1);
    if (event.key === "Escape") { $("search").value = ""; $("search").blur(); }
    event.stopPropagation();
  };
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.tagName === "SELECT") return;
    if (event.target.tagName === "BUTTON" && (event.key === " " || event.key === "Enter")) return;
    const action = ACTIONS[event.key];
    if (!action) return;
    event.preventDefault();
    action(event);
  });
}

async function selfTest() {
  const times = [];
  for (const wide of [1, 0.1, 0.001]) { show(0, head.length * wide); draw(); times.push(Math.round(drawn.ms * 10) / 10); }
  fit();
  draw();
  const last = M.n ? await wordsOf(M.n - 1) : null, shown = { ...drawn };
  const text = (id) => $(id).textContent;
  let found = -1;
  if (options.get("find")) found = await search(options.get("find"), -1, 1);
  await drawDetail();
  const report = { moments: M.n, steps: S.n, agents: head.agents, errors: M.errors.length, lanes: lanes.length, rows: lanes.map((lane) => lane.rows.length), marks: lanes.map((lane) => lane.marks.length),
    drawn: shown, times, last: last && last.line, found, detail: text("detail"), title: text("title"), opened: Math.round(performance.now()), problems };
  select(M.n - 1, true);
  openTab("state");
  await drawState();
  report.state = text("state-pane");
  openTab("moment");
  select(0, true); play();
  await new Promise((done) => setTimeout(done, 400));
  report.played = cursor.time > 0 || head.length === 0;
  if (playing) play();
  document.documentElement.dataset.selftest = JSON.stringify(report);
}

async function start() {
  const dark = options.get("theme") ? options.get("theme") === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.classList.toggle("dark", dark);
  unpack(await unzip("head"));
  buildLanes();
  readColours();
  facts();
  controls();
  pointers();
  legend();
  overview.setAttribute("aria-valuemax", String(Math.round(head.length / 1e3)));
  view.from = 0; view.to = Math.max(1, head.length);
  resize();
  new ResizeObserver(resize).observe(canvas);
  fit();
  const seq = options.get("seq");
  select(seq ? placeOfSeq(Number(seq)) : M.n - 1, Boolean(seq));
  if (!M.n) told();
  if (options.get("zoom")) zoom(Number(options.get("zoom")), cursor.time);
  if (options.get("tab") === "state") openTab("state");
  document.documentElement.dataset.ready = "yes";
  if (options.has("selftest")) await selfTest();
}
start().catch((error) => { problems.push(String(error)); document.documentElement.dataset.problem = String(error && error.stack || error); });
