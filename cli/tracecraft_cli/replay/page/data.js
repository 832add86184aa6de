// The data of the page: columns become typed arrays, words are unzipped when they are looked at.
const $ = (id) => document.getElementById(id);
const options = new URLSearchParams(location.hash.slice(1));
const problems = [];
addEventListener("error", (event) => problems.push(String(event.message)));
addEventListener("unhandledrejection", (event) => problems.push(String(event.reason)));
document.addEventListener("securitypolicyviolation", (event) => problems.push("policy: " + event.violatedDirective));

async function unzip(id) {
  const text = atob($(id).textContent.trim());
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return JSON.parse(await new Response(stream).text());
}

function summed(deltas) {
  const sums = new Float64Array(deltas.length);
  let sum = 0;
  for (let i = 0; i < deltas.length; i++) sums[i] = sum += deltas[i];
  return sums;
}

/** First place in a sorted array where ok(value) holds. */
function firstPlace(length, ok) {
  let low = 0, high = length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (ok(middle)) high = middle; else low = middle + 1;
  }
  return low;
}

let head, M, S, kindNames;

function unpack(packed) {
  head = packed;
  kindNames = head.kinds;
  const m = head.moments, s = head.steps;
  const n = m.kind.length;
  M = { n, seq: summed(m.seq), time: summed(m.time), agent: Int32Array.from(m.agent), kind: Uint8Array.from(m.kind),
    step: Int32Array.from(m.step), event: Int32Array.from(m.event), name: Int32Array.from(m.name),
    error: new Uint8Array(n), errors: Int32Array.from(m.error), clock: new Float64Array(n), byAgent: head.agents.map(() => []) };
  let latest = 0;
  for (let i = 0; i < n; i++) {
    M.clock[i] = latest = Math.max(latest, M.time[i]);
    M.byAgent[M.agent[i]].push(i);
  }
  for (const i of m.error) M.error[i] = 1;
  const start = summed(s.start);
  S = { n: start.length, start, end: start.map((at, i) => at + s.time[i]), seq: summed(s.seq), row: s.row, agent: s.agent,
    name: s.name, kind: s.kind, status: s.status, parent: s.parent, tokens: s.tokens, cost: s.cost, model: s.model, task: s.task };
}

const word = (place) => (place < 0 ? "" : head.words[place]);
const kindOf = (i) => kindNames[M.kind[i]];
const placeOfSeq = (seq) => firstPlace(M.n, (i) => M.seq[i] >= seq);
const placeAt = (time) => firstPlace(M.n, (i) => M.clock[i] > time) - 1;

const chunks = new Map();
/** The words of a chunk: [lines, details]; at most 40 chunks stay open. */
function chunk(number) {
  if (!chunks.has(number)) {
    if (chunks.size >= 40) chunks.delete(chunks.keys().next().value);
    const opening = { lines: null, ready: unzip("chunk-" + number) };
    opening.ready.then((both) => { opening.lines = both; });
    chunks.set(number, opening);
  }
  return chunks.get(number);
}
async function wordsOf(i) {
  const [lines, details] = await chunk(Math.floor(i / head.chunk)).ready;
  return { line: lines[i % head.chunk], detail: details[i % head.chunk] };
}
/** The line of a moment when it is there, else null; then(ready) is called when it is. */
function lineNow(i, then) {
  const opened = chunk(Math.floor(i / head.chunk));
  if (opened.lines) return opened.lines[0][i % head.chunk];
  opened.ready.then(then);
  return null;
}

function span(micros) {
  if (micros < 1e3) return micros.toFixed(0) + " µs";
  if (micros < 1e6) return trim(micros / 1e3) + " ms";
  if (micros < 60e6) return trim(micros / 1e6) + " s";
  const seconds = Math.round(micros / 1e6);
  if (seconds < 3600) return Math.floor(seconds / 60) + " m " + (seconds % 60) + " s";
  return Math.floor(seconds / 3600) + " h " + Math.floor((seconds % 3600) / 60) + " m";
}
const trim = (number) => String(Number(number.toPrecision(3)));
const count = (number) => number.toLocaleString("en-US");
/** Time since the start as a clock shows it, as fine as `step` microseconds need. */
function clockTime(micros, step) {
  const digits = step >= 1e6 ? 0 : step >= 1e5 ? 1 : step >= 1e4 ? 2 : step >= 1e3 ? 3 : 6;
  const total = micros / 1e6, whole = Math.floor(total + 1e-9);
  const seconds = (total - Math.floor(whole / 60) * 60).toFixed(digits).padStart(digits ? digits + 3 : 2, "0");
  const minutes = Math.floor(whole / 60) % 60, hours = Math.floor(whole / 3600);
  return (hours ? hours + ":" + String(minutes).padStart(2, "0") : minutes) + ":" + seconds;
}
const wallTime = (micros) => new Date((head.zero + micros) / 1e3).toISOString().replace("T", " ").replace("Z", "") + " UTC";
