// Where things stand: lanes, their rows, and sorted places so that any stretch of time is found without a scan.
const MARKS = new Set(["memory", "task", "artifact", "run", "message", "log", "metric", "param", "tag", "agent", "other"]);
const GUTTER = 148, AXIS = 26, STRIP = 22, GAP = 8;
let lanes = [];

function buildLanes() {
  lanes = head.agents.map((agent, number) => ({ agent, number, rows: [], marks: [], steps: 0, errors: 0, top: 0, height: 0 }));
  for (let i = 0; i < S.n; i++) {
    const lane = lanes[S.agent[i]];
    while (lane.rows.length <= S.row[i]) lane.rows.push([]);
    lane.rows[S.row[i]].push(i);
    lane.steps++;
  }
  for (const lane of lanes) {
    lane.rows = lane.rows.map((row) => {
      const steps = Int32Array.from(row), ends = new Float64Array(row.length), bad = new Int32Array(row.length + 1);
      let latest = 0;
      for (let k = 0; k < steps.length; k++) {
        ends[k] = latest = Math.max(latest, S.end[steps[k]]);
        bad[k + 1] = bad[k] + (S.status[steps[k]] === 2 ? 1 : 0);
      }
      lane.errors += bad[steps.length];
      return { steps, ends, bad };
    });
  }
  for (let i = 0; i < M.n; i++) if (MARKS.has(kindOf(i)) && !(kindOf(i) === "agent" && !M.error[i])) lanes[M.agent[i]].marks.push(i);
  for (const lane of lanes) lane.marks.sort((a, b) => M.time[a] - M.time[b]);
}

let rowHeight = 20;
/** Give every lane its place; rows are as high as fits, from 15 to 26 pixels. */
function placeLanes(height) {
  const rows = lanes.reduce((sum, lane) => sum + Math.max(1, lane.rows.length), 0);
  const fixed = lanes.length * (STRIP + GAP);
  rowHeight = Math.max(15, Math.min(26, Math.floor((height - AXIS - fixed) / Math.max(1, rows))));
  let top = AXIS;
  for (const lane of lanes) {
    lane.top = top;
    lane.height = STRIP + GAP + Math.max(1, lane.rows.length) * rowHeight;
    top += lane.height;
  }
  return top;
}
const laneAt = (y) => lanes.find((lane) => y >= lane.top && y < lane.top + lane.height);
const rowTop = (lane, row) => lane.top + STRIP + row * rowHeight;
