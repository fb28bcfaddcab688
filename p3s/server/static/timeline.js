// A workflow's attempts by pilot, over time; the chain that decided when it ended is marked.
import { readClock } from "./clock.js";
import { make, makeSource, makeSvg, measureText } from "./look.js";
import { formatDuration, formatTime } from "./times.js";

const ROW = 20;
// Above so many rows, bars are thin and carry no names.
const ROWS = 60;
const THIN = 7;
const AXIS = 24;
const GUTTER = 150;
// Below this width, pilots are named above their rows.
const NARROW = 620;
const HEAD = 18;
const FONT = "11.5px system-ui, sans-serif";
// Bars that the keyboard goes through; the table has all of them.
const STOPS = 60;

export function show(place) {
  const source = makeSource();
  let data = null;
  let scale = 1;
  const summary = make("p", { class: "mute" });
  const tools = make("div", { class: "tools" });
  const frame = make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Timeline of attempts" });
  place.replaceChildren(make("div", { class: "above" }, summary, tools), frame);
  for (const [text, label, factor] of [["+", "Wider", 2], ["−", "Narrower", 0.5]]) {
    const button = make("button", { type: "button", "aria-label": label }, text);
    button.addEventListener("click", () => {
      const middle = (frame.scrollLeft + frame.clientWidth / 2) / frame.scrollWidth;
      scale = Math.min(Math.max(scale * factor, 1), 64);
      draw();
      frame.scrollLeft = middle * frame.scrollWidth - frame.clientWidth / 2;
    });
    tools.append(button);
  }

  const draw = () => {
    if (data === null || data.pilots.length === 0) {
      summary.textContent = "No job has been started yet.";
      tools.hidden = frame.hidden = true;
      return;
    }
    tools.hidden = frame.hidden = false;
    const chart = makeChart(data, frame.clientWidth || place.clientWidth, scale);
    frame.replaceChildren(chart.svg);
    summary.replaceChildren(...describe(data, chart));
  };

  const refresh = async () => {
    try {
      const fresh = await source(place.dataset.timeline);
      if (fresh !== null) data = fresh;
      // What runs grows.
      if (fresh !== null || data?.end === null) draw();
    } catch (error) {
      if (!(error instanceof TypeError)) summary.textContent = error.message;
    }
  };

  let last = 0;
  new ResizeObserver(() => {
    if (Math.abs(place.clientWidth - last) < 8) return;
    last = place.clientWidth;
    draw();
  }).observe(place);
  refresh();
  return refresh;
}

function describe(data, chart) {
  const total = `${formatDuration(chart.end - data.begin)}${data.end === null ? " so far" : ""}`;
  const parts = [total];
  if (chart.critical > 0) {
    const mark = make("span", { class: "mark" }, "critical path");
    parts.push(" · ", mark, ` ${formatDuration(chart.critical)} of work`);
  }
  if (data.left_out) parts.push(" · the newest 3,000 attempts");
  return parts;
}

function makeChart(data, width, scale) {
  const bars = data.pilots.flatMap((pilot) => pilot.bars);
  const now = readClock();
  const end = Math.max(data.end ?? now, ...bars.map((bar) => bar.ended ?? now));
  const begin = Math.min(data.begin, ...bars.map((bar) => bar.claimed));
  const rows = data.pilots.map((pilot) => 1 + Math.max(...pilot.bars.map((bar) => bar.row)));
  const all = rows.reduce((total, number) => total + number, 0);
  const height = all > ROWS ? THIN : ROW;
  const isNarrow = width < NARROW;
  const left = isNarrow ? 4 : GUTTER;
  const inner = Math.max((width - left - 12) * scale, 60);
  const toX = (seconds) => left + ((seconds - begin) / Math.max(end - begin, 0.001)) * inner;

  const grid = makeSvg("g", { class: "grid" });
  const body = makeSvg("g");
  let y = AXIS;
  const middles = new Map();
  for (const [index, pilot] of data.pilots.entries()) {
    const title = nameLane(pilot, data.pilots);
    if (isNarrow) y += HEAD;
    const band = makeSvg("rect", { class: index % 2 ? "band odd" : "band", x: 0, y: y - 3, width: left + inner + 12, height: rows[index] * height + 6 });
    const name = makeSvg("text", { class: "pilot", x: isNarrow ? 4 : 2, y: isNarrow ? y - 7 : y + height / 2 + 4 }, cut(title, isNarrow ? 60 : 21));
    name.append(makeSvg("title", {}, `${title} on ${pilot.host}`));
    grid.append(band, name);
    for (const bar of pilot.bars) {
      const top = y + bar.row * height;
      body.append(...makeBar(bar, toX, top, height, now, bars.length <= STOPS));
      if (bar.critical) middles.set(bar, top + height / 2);
    }
    y += rows[index] * height + 10;
  }
  const svg = makeSvg("svg", { class: "timeline", width: left + inner + 12, height: y, role: "group", "aria-label": `${bars.length} attempts on ${data.pilots.length} pilots` });
  for (const tick of chooseTicks(begin, end, inner)) {
    const x = Math.round(toX(tick.at)) + 0.5;
    grid.append(makeSvg("line", { x1: x, x2: x, y1: AXIS - 6, y2: y }));
    grid.append(makeSvg("text", { class: "tick", x: x + 3, y: 13 }, tick.text));
  }
  if (data.deadline !== null && data.deadline >= begin && data.deadline <= end) {
    const x = toX(data.deadline);
    grid.append(makeSvg("line", { class: "deadline", x1: x, x2: x, y1: 0, y2: y }, makeSvg("title", {}, "deadline")));
  }
  const chain = [...middles.keys()].sort((a, b) => a.claimed - b.claimed);
  svg.append(grid, makeChain(chain, middles, toX), body);
  const critical = chain.reduce((total, bar) => total + ((bar.ended ?? now) - (bar.started ?? bar.claimed)), 0);
  return { svg, end, critical };
}

// Pilots of one name differ by their ids.
function nameLane(pilot, pilots) {
  const id = pilot.uuid.slice(0, 8);
  if (!pilot.name) return id;
  return pilots.filter((one) => one.name === pilot.name).length > 1 ? `${pilot.name} ${id}` : pilot.name;
}

// A bar, which is a link, and its name where there is room for it.
function makeBar(bar, toX, top, height, now, isStop) {
  const from = toX(bar.started ?? bar.claimed);
  const to = toX(bar.ended ?? now);
  const width = Math.max(to - from, 1.5);
  const gap = height > THIN ? 2 : 0.5;
  const what = `${bar.name}${bar.number > 1 ? `, attempt ${bar.number}` : ""}`;
  const state = bar.reason ? `${bar.state} (${bar.reason})` : bar.state;
  const took = formatDuration((bar.ended ?? now) - (bar.started ?? bar.claimed));
  const link = makeSvg("a", { href: `/jobs/${bar.job}`, "aria-label": `${what}: ${state}, ${took}` });
  if (!isStop) link.setAttribute("tabindex", "-1");
  const rect = makeSvg("rect", {
    class: `bar ${bar.state}${bar.critical ? " critical" : ""}`,
    x: from, y: top + gap, width, height: height - 2 * gap, rx: Math.min(3, width / 2),
  });
  link.append(makeSvg("title", {}, `${what}\n${state}, ${took}\n${formatTime(bar.started ?? bar.claimed)}`), rect);
  if (height <= THIN || width < 30) return [link];
  const share = (width - 10) / measureText(bar.name, FONT);
  const text = share >= 1 ? bar.name : cut(bar.name, Math.floor(bar.name.length * share * 0.95));
  // Beside the link, whose label has the whole name: a link may not show a name that its label lacks.
  return [link, makeSvg("text", { class: "name", "aria-hidden": "true", x: from + 5, y: top + height / 2 + 4 }, text)];
}

// From the end of each critical attempt to the start of the next.
function makeChain(chain, middles, toX) {
  const group = makeSvg("g", { class: "chain" });
  for (let index = 1; index < chain.length; index += 1) {
    const [a, b] = [chain[index - 1], chain[index]];
    if (a.ended === null) continue;
    const [x1, y1, x2, y2] = [toX(a.ended), middles.get(a), toX(b.started ?? b.claimed), middles.get(b)];
    const bend = Math.max((x2 - x1) / 2, 6);
    group.append(makeSvg("path", { d: `M${x1},${y1} C${x1 + bend},${y1} ${x2 - bend},${y2} ${x2},${y2}` }));
  }
  return group;
}

const STEPS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400];

// Seconds since the start, at round numbers.
function chooseTicks(begin, end, width) {
  const step = STEPS.find((one) => (width * one) / Math.max(end - begin, 0.001) >= 74) ?? 86400;
  const ticks = [];
  for (let at = 0; at <= end - begin; at += step) ticks.push({ at: begin + at, text: at === 0 ? "0" : `+${formatStep(at, step)}` });
  return ticks;
}

function formatStep(at, step) {
  if (step < 60) return at < 60 ? `${step < 1 ? at.toFixed(1) : at} s` : `${Math.floor(at / 60)}:${String(Math.round(at % 60)).padStart(2, "0")}`;
  return at < 3600 ? `${at / 60} min` : `${Math.floor(at / 3600)}:${String(Math.round((at % 3600) / 60)).padStart(2, "0")} h`;
}

// Members of a family differ at the end of their names.
function cut(text, length) {
  if (text.length <= length) return text;
  if (length < 2) return "";
  const head = Math.ceil((length - 1) * 0.4);
  return `${text.slice(0, head)}…${text.slice(text.length - (length - 1 - head))}`;
}
