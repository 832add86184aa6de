// Drawing: what is narrower than a pixel is taken together, so a frame costs pixels and not steps.
const canvas = $("lanes"), pen = canvas.getContext("2d");
const view = { from: 0, to: 1, scroll: 0 };
const cursor = { place: -1, time: 0 };
let width = 0, height = 0, total = 0, colours = {}, arrows = [], drawn = { bars: 0, marks: 0, arrows: 0, ms: 0 };

function readColours() {
  const style = getComputedStyle(document.documentElement);
  for (const name of ["bg", "raised", "lane", "line", "ink", "muted", "accent", "veil", "error", "llm", "tool_call", "task", "message",
    "handoff", "retrieval", "other", "memory", "artifact", "ok"]) colours[name] = style.getPropertyValue("--" + name).trim();
}
const kindColour = (kind) => colours[kind] || colours.other;
const xOf = (time) => GUTTER + ((time - view.from) / (view.to - view.from)) * (width - GUTTER - 10);
const timeOf = (x) => view.from + ((x - GUTTER) / (width - GUTTER - 10)) * (view.to - view.from);
const shade = (i) => (S.status[i] === 2 ? colours.error : kindColour(word(S.kind[i])));

function sized(target, brush) {
  const ratio = devicePixelRatio || 1, box = target.getBoundingClientRect();
  target.width = Math.max(1, Math.round(box.width * ratio));
  target.height = Math.max(1, Math.round(box.height * ratio));
  brush.setTransform(ratio, 0, 0, ratio, 0, 0);
  return [box.width, box.height];
}

function resize() {
  readColours();
  [width, height] = sized(canvas, pen);
  total = placeLanes(height);
  view.scroll = Math.max(0, Math.min(view.scroll, total - height));
  resizeOverview();
  draw();
  drawOverview();
}

let waiting = false;
function redraw() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; draw(); drawOverview(); });
}

const STEPS_S = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400];
function tickStep() {
  const least = ((view.to - view.from) / Math.max(1, width - GUTTER)) * 90;
  if (least >= 1e6) return (STEPS_S.find((s) => s * 1e6 >= least) || Math.ceil(least / 86400e6) * 86400) * 1e6;
  for (let unit = 1; ; unit *= 10) for (const part of [1, 2, 5]) if (part * unit >= least) return part * unit;
}

function draw() {
  const began = performance.now();
  drawn = { bars: 0, marks: 0, arrows: 0, ms: 0 };
  pen.fillStyle = colours.bg;
  pen.fillRect(0, 0, width, height);
  pen.save();
  pen.beginPath(); pen.rect(0, AXIS, width, height - AXIS); pen.clip();
  pen.translate(0, -view.scroll);
  const shown = lanes.filter((lane) => lane.top + lane.height > view.scroll + AXIS && lane.top < view.scroll + height);
  for (const lane of shown) drawGround(lane);
  drawGrid();
  pen.save();
  pen.beginPath(); pen.rect(GUTTER, view.scroll, width, height); pen.clip();
  gatherMessages();
  if (arrows.length > MANY) drawMessages(); // so many that they would hide the bars
  for (const lane of shown) lane.rows.forEach((row, number) => drawRow(row, rowTop(lane, number)));
  if (arrows.length <= MANY) drawMessages();
  for (const lane of shown) drawMarks(lane);
  const at = xOf(cursor.time);
  pen.fillStyle = colours.veil;
  if (at < width) pen.fillRect(Math.max(GUTTER, at), view.scroll, width, height);
  drawSelected();
  pen.restore();
  for (const lane of shown) drawLabel(lane);
  pen.restore();
  drawAxis(at);
  drawn.ms = performance.now() - began;
}

function drawGround(lane) {
  if (lane.number % 2 === 0) { pen.fillStyle = colours.lane; pen.fillRect(0, lane.top, width, lane.height); }
  pen.fillStyle = colours.line;
  pen.fillRect(0, lane.top + lane.height - 1, width, 1);
}

function drawGrid() {
  const step = tickStep();
  pen.fillStyle = colours.line;
  pen.globalAlpha = 0.7;
  for (let t = Math.ceil(Math.max(0, view.from) / step) * step; t <= view.to; t += step) pen.fillRect(Math.round(xOf(t)), view.scroll, 1, height);
  pen.globalAlpha = 1;
}

function drawRow(row, top) {
  const { steps, ends, bad } = row, high = rowHeight - 3, perPixel = (view.to - view.from) / Math.max(1, width - GUTTER - 10);
  let k = firstPlace(steps.length, (j) => ends[j] >= view.from);
  while (k < steps.length) {
    const i = steps[k];
    if (S.start[i] > view.to) break;
    const left = Math.max(GUTTER - 4, xOf(S.start[i])), right = Math.min(width + 4, xOf(S.end[i]));
    drawn.bars++;
    if (right - left >= 2) {
      drawBar(i, left, top, right - left, high);
      k++;
      continue;
    }
    const until = S.start[i] + 2 * perPixel; // everything that begins within two pixels is one bar
    const after = Math.max(k + 1, firstPlace(steps.length, (j) => S.start[steps[j]] >= until && j > k));
    let last = after;
    if (xOf(S.end[steps[after - 1]]) - xOf(S.start[steps[after - 1]]) >= 2 && after - 1 > k) last = after - 1;
    pen.fillStyle = bad[last] > bad[k] ? colours.error : kindColour(word(S.kind[i]));
    pen.fillRect(left, top, Math.max(1.6, 2), high);
    k = last;
  }
}

function drawBar(i, left, top, wide, high) {
  pen.fillStyle = shade(i);
  const open = S.status[i] === 0 || S.status[i] === 3;
  if (open) pen.globalAlpha = 0.6;
  if (wide > 5) { pen.beginPath(); pen.roundRect(left, top, wide - 1, high, 3); pen.fill(); } else pen.fillRect(left, top, Math.max(1.5, wide - 0.7), high);
  pen.globalAlpha = 1;
  if (wide < 34) return;
  pen.save();
  pen.beginPath(); pen.rect(left, top, wide - 4, high); pen.clip();
  pen.font = "11.5px system-ui, sans-serif";
  pen.fillStyle = "#ffffff";
  pen.textBaseline = "middle";
  const from = Math.max(left, GUTTER) + 6;
  pen.fillText(word(S.name[i]), from, top + high / 2 + 0.5);
  pen.restore();
}

const markY = (lane) => lane.top + STRIP / 2 + 1;
const markKind = (i) => (M.error[i] ? "error" : kindOf(i));

function drawMarks(lane) {
  const y = markY(lane), first = firstPlace(lane.marks.length, (k) => M.time[lane.marks[k]] >= view.from);
  const seen = new Map();
  const perPixel = (view.to - view.from) / Math.max(1, width - GUTTER - 10);
  let k = first, taken = -Infinity;
  while (k < lane.marks.length && M.time[lane.marks[k]] <= view.to) {
    const i = lane.marks[k], kind = markKind(i), x = Math.round(xOf(M.time[i]));
    const near = seen.get(kind);
    if (near === undefined || x - near >= 5 || kind === "error" && x !== near) {
      seen.set(kind, x);
      const beside = x - taken < 10 && taken - x < 2 ? taken + 10 : x; // two kinds at one time stand side by side
      if (beside > x || x > taken || kind === "error") {
        drawn.marks++;
        drawMark(pen, kind, beside, y);
        taken = Math.max(taken, beside);
      }
    }
    // where very many stand close together, look at a few of each pixel
    const jump = firstPlace(lane.marks.length, (j) => M.time[lane.marks[j]] > M.time[i] + perPixel && j > k);
    k = jump - k > 64 ? k + Math.ceil((jump - k) / 64) : k + 1;
  }
}

function drawMark(brush, kind, x, y) {
  brush.fillStyle = brush.strokeStyle = kindColour(kind);
  brush.beginPath();
  if (kind === "memory") { brush.moveTo(x, y - 5.5); brush.lineTo(x + 5.5, y); brush.lineTo(x, y + 5.5); brush.lineTo(x - 5.5, y); brush.fill(); }
  else if (kind === "task") { brush.moveTo(x - 4, y - 5); brush.lineTo(x + 5, y); brush.lineTo(x - 4, y + 5); brush.fill(); }
  else if (kind === "artifact") brush.fillRect(x - 4, y - 4, 8, 8);
  else if (kind === "message") { brush.arc(x, y, 3.5, 0, 7); brush.fill(); }
  else if (kind === "run") { brush.lineWidth = 2; brush.arc(x, y, 4, 0, 7); brush.stroke(); }
  else if (kind === "error") { brush.lineWidth = 2.4; brush.moveTo(x - 4, y - 4); brush.lineTo(x + 4, y + 4); brush.moveTo(x + 4, y - 4); brush.lineTo(x - 4, y + 4); brush.stroke(); }
  else brush.fillRect(x - 0.75, y - 4, 1.5, 8);
}

const MANY = 150, MOST_ARROWS = 1500;
function gatherMessages() {
  arrows = [];
  const seen = new Set();
  for (const [from, to, place, fetched, acked] of head.messages) {
    const read = fetched < 0 ? acked : fetched, sent = M.time[place];
    const got = read < 0 ? sent : Math.max(sent, M.time[read]);
    if (got < view.from || sent > view.to || from === to) continue;
    const x0 = xOf(sent), x1 = Math.max(x0, xOf(got)), key = from + ":" + to + ":" + Math.round(x0 / 3) + ":" + Math.round(x1 / 3);
    if (seen.has(key) || seen.size >= MOST_ARROWS) continue;
    seen.add(key);
    arrows.push([x0, markY(lanes[from]), x1, markY(lanes[to]), place, read < 0]);
  }
}

function drawMessages() {
  pen.strokeStyle = pen.fillStyle = colours.message;
  pen.lineWidth = 1.3;
  pen.globalAlpha = Math.max(0.12, Math.min(0.9, MANY / Math.max(1, arrows.length)));
  for (const [x0, y0, x1, y1, , unread] of arrows) drawArrow(x0, y0, x1, y1, unread);
  drawn.arrows = arrows.length;
  pen.setLineDash([]);
  pen.globalAlpha = 1;
}

function drawArrow(x0, y0, x1, y1, unread) {
  const down = y1 > y0 ? 1 : -1, tip = y1 - down * 5;
  pen.setLineDash(unread ? [4, 3] : []);
  pen.beginPath();
  pen.moveTo(x0, y0);
  const bend = Math.min(60, Math.abs(tip - y0) * 0.5);
  pen.bezierCurveTo(x0, y0 + down * bend, x1, tip - down * bend, x1, tip);
  pen.stroke();
  pen.setLineDash([]);
  pen.beginPath();
  pen.moveTo(x1, y1 - down * 1); pen.lineTo(x1 - 4, tip - down * 3); pen.lineTo(x1 + 4, tip - down * 3);
  pen.fill();
}

function drawSelected() {
  const i = cursor.place;
  if (i < 0) return;
  const step = M.step[i], lane = lanes[M.agent[i]];
  pen.strokeStyle = colours.ink;
  pen.lineWidth = 2;
  if (step >= 0) {
    const left = xOf(S.start[step]), wide = Math.max(3, xOf(S.end[step]) - left);
    pen.beginPath();
    pen.roundRect(left - 1.5, rowTop(lanes[S.agent[step]], S.row[step]) - 1.5, wide + 2, rowHeight, 4);
    pen.stroke();
  } else {
    pen.beginPath();
    pen.arc(xOf(M.time[i]), markY(lane), 9, 0, 7);
    pen.stroke();
  }
}

function drawLabel(lane) {
  pen.fillStyle = lane.number % 2 === 0 ? colours.lane : colours.bg;
  pen.fillRect(0, lane.top, GUTTER, lane.height - 1);
  pen.fillStyle = colours.line;
  pen.fillRect(GUTTER - 1, lane.top, 1, lane.height);
  pen.save();
  pen.beginPath(); pen.rect(0, lane.top, GUTTER - 8, lane.height); pen.clip();
  pen.textBaseline = "alphabetic";
  pen.font = "600 13px system-ui, sans-serif";
  pen.fillStyle = colours.ink;
  pen.fillText(fitted(lane.agent || "nobody named", GUTTER - 24), 14, lane.top + 19);
  pen.font = "11.5px system-ui, sans-serif";
  const lines = [], about = (head.about.agents || {})[lane.agent];
  if (lane.steps) lines.push([count(lane.steps) + (lane.steps === 1 ? " step" : " steps"), colours.muted]);
  if (lane.errors) lines.push([count(lane.errors) + " failed", colours.error]);
  if (about) lines.push([about, colours.muted]);
  lines.forEach(([text, colour], place) => {
    const y = lane.top + 35 + 15 * place;
    if (y > lane.top + lane.height - 4) return;
    pen.fillStyle = colour;
    pen.fillText(fitted(text, GUTTER - 24), 14, y);
  });
  pen.restore();
}

function fitted(text, room) {
  if (pen.measureText(text).width <= room) return text;
  let most = text.length;
  while (most > 1 && pen.measureText(text.slice(0, most) + "…").width > room) most--;
  return text.slice(0, most) + "…";
}

function drawAxis(at) {
  pen.fillStyle = colours.raised;
  pen.fillRect(0, 0, width, AXIS);
  pen.fillStyle = colours.line;
  pen.fillRect(0, AXIS - 1, width, 1);
  const step = tickStep();
  pen.font = "11.5px system-ui, sans-serif";
  pen.textBaseline = "middle";
  pen.textAlign = "center";
  pen.fillStyle = colours.muted;
  for (let t = Math.ceil(Math.max(0, view.from) / step) * step; t <= view.to; t += step) {
    const x = xOf(t);
    if (x >= GUTTER + 24 && x < width - 16) pen.fillText(clockTime(t, step), x, AXIS / 2);
  }
  pen.textAlign = "left";
  pen.fillStyle = colours.raised;
  pen.fillRect(0, 0, GUTTER, AXIS - 1);
  pen.fillStyle = colours.muted;
  pen.fillText("time since the start", 14, AXIS / 2);
  if (at < GUTTER - 1 || at > width) return;
  pen.fillStyle = colours.accent;
  pen.fillRect(at - 0.75, AXIS - 2, 1.5, height);
  pen.beginPath(); pen.moveTo(at - 6, AXIS - 9); pen.lineTo(at + 6, AXIS - 9); pen.lineTo(at, AXIS); pen.fill();
}

// The overview: how much happened when; errors red; the stretch that is shown above.
const overview = $("overview"), brush = overview.getContext("2d");
let overWidth = 0, overHeight = 0, bins = [], badBins = [];
function resizeOverview() {
  [overWidth, overHeight] = sized(overview, brush);
  const size = Math.max(1, Math.floor(overWidth / 3));
  bins = new Float64Array(size); badBins = new Uint8Array(size);
  for (let i = 0; i < M.n; i++) {
    const bin = Math.min(size - 1, Math.floor((M.time[i] / Math.max(1, head.length)) * size));
    bins[bin]++;
    if (M.error[i]) badBins[bin] = 1;
  }
}
function drawOverview() {
  brush.fillStyle = colours.bg;
  brush.fillRect(0, 0, overWidth, overHeight);
  const most = Math.log1p(bins.reduce((a, b) => Math.max(a, b), 1));
  for (let b = 0; b < bins.length; b++) {
    if (!bins[b]) continue;
    const high = 4 + (Math.log1p(bins[b]) / most) * (overHeight - 12);
    brush.fillStyle = colours.accent;
    brush.globalAlpha = 0.55;
    brush.fillRect(b * 3, overHeight - high, 2.2, high);
    brush.globalAlpha = 1;
    brush.fillStyle = colours.error;
    if (badBins[b]) brush.fillRect(b * 3, 0, 2.2, 7);
  }
  const x = (time) => (time / Math.max(1, head.length)) * overWidth;
  brush.fillStyle = colours.veil;
  brush.fillRect(0, 0, x(view.from), overHeight);
  brush.fillRect(x(view.to), 0, overWidth, overHeight);
  brush.strokeStyle = colours.muted;
  brush.lineWidth = 1;
  brush.strokeRect(Math.max(0.5, x(view.from)), 0.5, Math.min(overWidth, x(view.to)) - Math.max(0, x(view.from)) - 1, overHeight - 1);
  brush.fillStyle = colours.ink;
  brush.fillRect(Math.min(overWidth - 2, x(cursor.time) - 1), 0, 2, overHeight);
}
