// Beside the lanes: the list of moments, the details of one, and the state at the cursor. Words only ever become text nodes.
function made(tag, text, className) {
  const node = document.createElement(tag);
  if (text !== undefined) node.textContent = text;
  if (className) node.className = className;
  return node;
}

const ROW = 24, list = $("list"), rowsBox = $("rows");
const scale = () => Math.min(1, 12e6 / Math.max(1, M.n * ROW)); // browsers end at some millions of pixels

function stretch() {
  rowsBox.style.height = M.n * ROW * scale() + "px";
}

function drawList() {
  const first = Math.max(0, Math.floor(list.scrollTop / scale() / ROW) - 1), shown = Math.ceil(list.clientHeight / ROW) + 2;
  const found = [];
  for (let i = first; i < Math.min(M.n, first + shown); i++) found.push(listRow(i, first));
  rowsBox.replaceChildren(...found);
}

function listRow(i, first) {
  const row = made("div", undefined, "row" + (i === cursor.place ? " here" : "") + (i > cursor.place ? " later" : "") + (M.error[i] ? " bad" : ""));
  row.style.top = (scale() < 1 ? list.scrollTop + (i - first - 1) * ROW : i * ROW) + "px";
  const dot = made("span", undefined, "dot");
  dot.style.background = kindColour(M.error[i] ? "error" : M.step[i] >= 0 && kindOf(i) === "step" ? word(S.kind[M.step[i]]) : kindOf(i));
  row.append(made("span", clockTime(M.time[i], head.length < 60e6 ? 1e3 : 1e5), "t"), dot, made("span", head.agents[M.agent[i]] || "-", "who"));
  const line = lineNow(i, drawListSoon);
  row.append(made("span", line === null ? "…" : line, "what"));
  row.title = line || "";
  row.onclick = () => select(i, false);
  return row;
}

let listWaiting = false;
function drawListSoon() {
  if (listWaiting) return;
  listWaiting = true;
  requestAnimationFrame(() => { listWaiting = false; drawList(); });
}
list.onscroll = drawListSoon;

function reveal() {
  stretch();
  const top = cursor.place * ROW * scale(), seen = list.clientHeight;
  if (top < list.scrollTop + ROW || top > list.scrollTop + seen - 2 * ROW) list.scrollTop = Math.max(0, top - seen / 2);
  drawListSoon();
}

let asked = 0;
async function drawDetail() {
  const box = $("detail"), i = cursor.place, mine = ++asked;
  if (i < 0) { box.replaceChildren(made("p", "Click a bar, a mark or an arrow.", "muted")); return; }
  const { line, detail } = await wordsOf(i);
  if (mine !== asked) return;
  const table = made("table"), step = M.step[i];
  const fact = (name, value, go) => {
    if (value === "" || value === null || value === undefined) return;
    const row = made("tr"), cell = made("td");
    if (go) { const link = made("button", value, "link"); link.onclick = go; cell.append(link); } else cell.append(value);
    row.append(made("th", name), cell);
    table.append(row);
  };
  fact("agent", head.agents[M.agent[i]]);
  fact("what", kindOf(i) + (word(M.event[i]) && word(M.event[i]) !== kindOf(i) ? ", " + word(M.event[i]) : ""));
  const elsewhen = head.moments.elsewhen[i]; // outside of the run's time
  fact("when", elsewhen === undefined ? clockTime(M.time[i], 1) + "  ·  " + wallTime(M.time[i]) : wallTime(elsewhen));
  fact("sequence", String(M.seq[i]));
  if (step >= 0) {
    fact("step", pathOf(step));
    fact("took", head.statuses[S.status[step]] === "open" ? "still open" : span(S.end[step] - S.start[step]) + ", " + head.statuses[S.status[step]]);
    fact("tokens", S.tokens[step] ? count(S.tokens[step]) : "");
    fact("cost", S.cost[step] === null ? "" : "$" + S.cost[step].toPrecision(4));
    fact("model", word(S.model[step]));
    fact("task", word(S.task[step]));
    if (S.parent[step] >= 0) fact("inside of", word(S.name[S.parent[step]]), () => select(placeOfSeq(S.seq[S.parent[step]]), true));
    if (M.seq[i] !== S.seq[step]) fact("began", clockTime(S.start[step], 1e3), () => select(placeOfSeq(S.seq[step]), true));
  }
  const title = made("h2", line, M.error[i] ? "bad" : "");
  const shown = made("pre");
  let whole = true;
  try { pretty(shown, JSON.parse(detail), ""); } catch { whole = false; shown.textContent = detail; }
  box.replaceChildren(title, table, shown);
  if (!whole) box.append(made("p", "Only the first " + head.most_detail + " characters are on this page; the whole is in the bundle.", "muted"));
  box.scrollTop = 0;
}

function pathOf(step) {
  const names = [];
  for (let at = step; at >= 0 && names.length < 12; at = S.parent[at]) names.unshift(word(S.name[at]));
  return names.join(" › ");
}

/** JSON with colours, as text nodes. */
function pretty(box, value, indent) {
  const put = (text, className) => box.append(className ? made("span", text, className) : text);
  if (Array.isArray(value) || (value && typeof value === "object")) {
    const isList = Array.isArray(value), keys = Object.keys(value), inner = indent + "  ";
    if (!keys.length) return put(isList ? "[]" : "{}");
    put(isList ? "[\n" : "{\n");
    keys.forEach((key, place) => {
      put(inner);
      if (!isList) { put(JSON.stringify(key), "key"); put(": "); }
      pretty(box, value[key], inner);
      put(place < keys.length - 1 ? ",\n" : "\n");
    });
    return put(indent + (isList ? "]" : "}"));
  }
  return put(JSON.stringify(value), typeof value === "string" ? "string" : typeof value === "number" ? "number" : "word");
}

// The state: what memory, tasks and mailboxes were when the moment at the cursor had happened.
let changes = null;
function changesByName() {
  if (changes) return changes;
  changes = { memory: new Map(), task: new Map() };
  for (let i = 0; i < M.n; i++) {
    if (M.name[i] < 0) continue;
    const found = changes[kindOf(i)], name = word(M.name[i]);
    if (!found.has(name)) found.set(name, []);
    found.get(name).push(i);
  }
  return changes;
}

function stateAt(place) {
  const found = { memory: new Map(), task: new Map() }, before = head.before || {};
  for (const kind of ["memory", "task"]) for (const [name, text] of Object.entries(before[kind] || {})) found[kind].set(name, text);
  for (const kind of ["memory", "task"]) {
    for (const [name, places] of changesByName()[kind]) {
      const at = places[firstPlace(places.length, (k) => places[k] > place) - 1];
      if (at === undefined) continue;
      if (word(M.event[at]) === "deleted") found[kind].delete(name); else found[kind].set(name, at);
    }
  }
  const mail = new Map();
  for (const [from, to, sent, fetched, acked] of head.messages) {
    if (sent > place || (acked >= 0 && acked <= place)) continue;
    if (!mail.has(to)) mail.set(to, []);
    mail.get(to).push([sent, from, fetched >= 0 && fetched <= place]);
  }
  return { ...found, mail };
}

const MOST_SHOWN = 300;
let stateAsked = 0;
async function drawState() {
  const box = $("state-pane"), mine = ++stateAsked, state = stateAt(cursor.place), parts = [];
  const table = (title, rows) => {
    parts.push(made("h2", title + " (" + count(rows.length) + ")"));
    if (!rows.length) return parts.push(made("p", "nothing", "muted"));
    const node = made("table");
    for (const [name, text, go] of rows.slice(0, MOST_SHOWN)) {
      const row = made("tr"), first = made("td");
      if (go === undefined) first.textContent = name; else { const link = made("button", name, "link"); link.onclick = () => select(go, true); first.append(link); }
      row.append(first, made("td", text));
      node.append(row);
    }
    parts.push(node);
    return rows.length > MOST_SHOWN && parts.push(made("p", "and " + count(rows.length - MOST_SHOWN) + " more", "muted"));
  };
  const lines = async (kind, cut) => {
    const rows = [];
    for (const [name, at] of [...state[kind]].sort((a, b) => (a[0] < b[0] ? -1 : 1))) {
      if (typeof at === "string") rows.push([name, at]);
      else rows.push([name, rows.length < MOST_SHOWN ? cut((await wordsOf(at)).line, name) : "", at]);
    }
    return rows;
  };
  const memory = await lines("memory", (line, name) => line.slice(("memory " + name + " = ").length));
  const tasks = await lines("task", (line, name) => line.slice(line.startsWith("task ") ? ("task " + name + " ").length : name.length + 1));
  const mail = [];
  for (const [to, letters] of state.mail) for (const [sent, from, fetched] of letters) {
    mail.push([head.agents[to], "from " + head.agents[from] + (fetched ? ", shown: " : ": ") + (mail.length < MOST_SHOWN ? (await wordsOf(sent)).line : ""), sent]);
  }
  if (mine !== stateAsked) return;
  parts.unshift(made("p", "After sequence " + (M.n ? M.seq[Math.max(0, cursor.place)] : "-") + (head.before ? "" : ", of what this run saw"), "muted"));
  table("Memory", memory);
  table("Tasks", tasks);
  table("Mail not acknowledged", mail);
  box.replaceChildren(...parts);
}
