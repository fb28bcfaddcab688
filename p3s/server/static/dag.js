// A workflow's graph: laid out by Graphviz in a worker, drawn on a sheet, in the colours of the states.
import { make, makeSource, measureText, mix, onTheme, readColors, readVariables } from "./look.js";
import { Sheet } from "./sheet.js";

const FONT = "system-ui, sans-serif";
// In the order of the legend: what needs a look comes first.
const STATES = [
  "failed", "running", "dispatched", "defined", "waiting", "held", "expected",
  "finished", "available", "cancelled", "skipped", "deleted",
];
const QUIET = new Set(["waiting", "held", "expected"]);
const HEIGHT = { job: 38, dataset: 24 };
// Below this width the graph goes from top to bottom.
const NARROW = 560;
// Pixels of an inch of Graphviz.
const INCH = 72;
// Columns and rows of a graph whose levels the server has computed.
const GRID = { x: 260, y: 46 };

export function show(place) {
  return new Drawing(place).refresh;
}

class Drawing {
  constructor(place) {
    this.place = place;
    this.source = makeSource();
    this.query = "";
    this.shape = "";
    this.opened = new Set();
    this.isFirst = true;
    this.build();
    this.refresh = this.refresh.bind(this);
    this.ready = this.start();
    onTheme(() => this.data && this.paint());
  }

  build() {
    const place = this.place;
    place.replaceChildren();
    this.legend = make("ul", { class: "legend", "aria-label": "States" });
    this.find = make("input", { type: "search", placeholder: "find a job", "aria-label": "Find in the graph", size: "14" });
    this.find.addEventListener("input", () => this.search());
    this.find.addEventListener("keydown", (event) => event.key === "Enter" && this.goToFound());
    this.fold = make("button", { type: "button", hidden: "" }, "Close families");
    this.fold.addEventListener("click", () => this.toggleFamilies());
    const buttons = [["Fit", () => this.sheet?.fit()],
      ["+", () => this.sheet?.zoom(1.4)], ["−", () => this.sheet?.zoom(1 / 1.4)]];
    const tools = make("div", { class: "tools" }, this.find, this.fold);
    for (const [text, act] of buttons) {
      const label = { "+": "Zoom in", "−": "Zoom out" }[text];
      const button = make("button", { type: "button", ...(label ? { "aria-label": label } : {}) }, text);
      button.addEventListener("click", act);
      tools.append(button);
    }
    this.canvas = make("div", { class: "canvas", role: "img", tabindex: "0", "aria-label": "Graph of jobs and data; the table of jobs says the same" });
    this.told = make("p", { class: "mute", role: "status" }, "Drawing the graph …");
    place.append(make("div", { class: "above" }, this.legend, tools), this.canvas, this.told);
  }

  async start() {
    // Names are measured in the font that they are drawn in.
    await document.fonts.ready;
    await this.refresh();
  }

  say(text) {
    this.told.textContent = text;
    this.told.hidden = text === "";
  }

  async refresh() {
    if (this.isBusy) return;
    this.isBusy = true;
    try {
      const data = await this.source(this.makeAddress());
      if (data !== null) await this.update(this.complete(data));
    } catch (error) {
      // A server that does not answer is told by the page itself.
      if (!(error instanceof TypeError)) this.say(error.message);
    } finally {
      this.isBusy = false;
    }
  }

  // Nodes and edges that are known already are not sent again: states alone come.
  makeAddress() {
    const known = this.data ? `${this.query ? "&" : "?"}known=${this.data.mark}` : "";
    return this.place.dataset.dag + this.query + known;
  }

  complete(data) {
    const nodes = data.nodes ? data.nodes.map(readNode) : this.data.nodes;
    const links = data.links ? data.links.map(([a, b]) => [nodes[a].key, nodes[b].key]) : this.data.links;
    for (const [index, state] of data.states.entries()) nodes[index].states = typeof state === "string" ? { [state]: 1 } : state;
    return { ...data, nodes, links };
  }

  async update(data) {
    this.data = data;
    this.opened = new Set(data.opened);
    this.fold.hidden = data.closed.length === 0 && data.opened.length === 0;
    this.fold.textContent = data.opened.length > 0 ? "Close families" : "Open families";
    if (data.nodes.length === 0) {
      this.say("Its jobs are being written.");
      return;
    }
    if (data.mark !== this.shape) {
      if (this.isFirst) this.say(data.nodes.length > 300 ? `Laying out ${data.nodes.length} nodes …` : "Drawing the graph …");
      this.isNarrow = this.place.clientWidth < NARROW;
      const layout = await computeLayout(data, this.isNarrow);
      this.shape = data.mark;
      this.draw(layout);
    }
    this.paint();
    this.say("");
  }

  draw(layout) {
    const focus = this.isFirst ? null : this.focus;
    this.sheet?.destroy();
    const size = layout.width / layout.height;
    // As high as the graph needs at this width, within limits.
    const needed = Math.min(this.place.clientWidth / size, layout.height * 1.15) + 36;
    this.canvas.style.height = `${Math.round(Math.min(Math.max(needed, 130), 620, innerHeight * 0.75))}px`;
    const nodes = this.data.nodes.map((node) => ({
      key: node.key, isJob: node.noun === "job", ...layout.spots.get(node.key), ...layout.sizes.get(node.key),
    }));
    const edges = this.data.links.map(([source, target]) => ({ source, target, points: bendEdge(layout, source, target) }));
    this.known = new Map(this.data.nodes.map((node) => [node.key, node]));
    this.sheet = new Sheet(this.canvas, nodes, edges, {
      open: (node) => this.open(this.known.get(node.key)),
      point: (node) => this.point(node && this.known.get(node.key)),
    });
    this.fit();
    const found = focus && this.data.nodes.find((node) => node.name.startsWith(focus));
    if (found) this.sheet.centerOn(found.key);
    this.isFirst = false;
    this.watchSize();
  }

  fit() {
    const { sheet } = this;
    sheet.fit();
    if (sheet.scale > 1.15) {
      sheet.scale = 1.15;
      sheet.center(sheet.box);
    }
    // Names that cannot be read say nothing: a large graph begins at its start, at a size that can.
    if (sheet.scale < 0.45) {
      sheet.scale = 0.55;
      sheet.center(sheet.box);
      const { x, y } = sheet.shift;
      sheet.shift = { x: Math.max(x, 16 - sheet.box.x * 0.55), y: this.isNarrow ? Math.max(y, 16 - sheet.box.y * 0.55) : y };
    }
  }

  watchSize() {
    if (this.watcher) return;
    let last = this.place.clientWidth;
    this.watcher = new ResizeObserver(() => {
      if (Math.abs(this.place.clientWidth - last) < 8) return;
      last = this.place.clientWidth;
      this.sheet.resize();
      this.fit();
    });
    this.watcher.observe(this.place);
  }

  paint() {
    const look = readLook();
    const seen = {};
    const faces = new Map();
    for (const node of this.data.nodes) {
      for (const [state, number] of Object.entries(node.states)) {
        if (node.noun === "job" || QUIET.has(state) || state === "failed") seen[state] = (seen[state] ?? 0) + number;
      }
      faces.set(node.key, makeFace(node, look));
    }
    this.known = new Map(this.data.nodes.map((node) => [node.key, node]));
    this.sheet.setFaces(faces, look);
    const entries = STATES.filter((state) => seen[state]);
    this.legend.replaceChildren(
      ...entries.map((state) => make("li", {}, make("span", { class: `state ${state}` }, state))),
    );
    this.search();
  }

  open(node) {
    const { family, noun, name, uuid } = node;
    if (family) {
      this.focus = name;
      this.query = `?${[...this.opened, name].map((one) => `open=${encodeURIComponent(one)}`).join("&")}`;
      this.refresh();
    } else {
      location.href = noun === "job" ? `/jobs/${uuid}` : `/datasets/${uuid}`;
    }
  }

  toggleFamilies() {
    this.focus = null;
    this.query = this.data.opened.length > 0 ? "?fold=1" : "?open=*";
    this.isFirst = true;
    this.refresh();
  }

  point(node) {
    this.canvas.style.cursor = node ? "pointer" : "";
    this.canvas.title = node ? describe(node) : "";
  }

  listFound() {
    const text = this.find.value.trim().toLowerCase();
    if (text === "") return null;
    return this.data.nodes.filter((node) => node.name.toLowerCase().includes(text) || node.uuid.startsWith(text));
  }

  search() {
    const found = this.data ? this.listFound() : null;
    this.sheet?.mark(found && new Set(found.map((node) => node.key)));
  }

  goToFound() {
    const found = this.listFound() ?? [];
    const jobs = found.filter((node) => node.noun === "job");
    if (found.length === 1 || jobs.length === 1) this.open(jobs[0] ?? found[0]);
    else if (found.length > 1) this.sheet.fit(found.map((node) => node.key), 60);
  }
}

// The key of a node says what it is: job:NAME, family:NAME, dataset:KEY or group:NAME.
function readNode(node) {
  const [kind, name] = [node.key.slice(0, node.key.indexOf(":")), node.key.slice(node.key.indexOf(":") + 1)];
  return { ...node, name, noun: kind === "job" || kind === "family" ? "job" : "dataset", family: kind === "family" || kind === "group" };
}

function describe({ noun, name, family, states, external }) {
  const count = sum({ states });
  const counts = Object.entries(states).map(([state, number]) => (count > 1 ? `${number} ${state}` : state)).join(", ");
  if (family) return `${count} ${noun === "job" ? "jobs" : "data"} ${name}: ${counts}${noun === "job" ? "; click to open" : ""}`;
  return `${external ? "external data" : noun === "job" ? "job" : "data"} ${name}: ${counts}`;
}

function readLook() {
  const [card, text, mute, line, link] = readVariables("--card", "--text", "--mute", "--line", "--link");
  return { card, text, mute, line, link, edge: mix(mute, card, 0.45), colors: readColors(STATES) };
}

// What a node shows: its name, and how many of it are in which state, as colours from left to right.
function makeFace(node, look) {
  const count = sum(node);
  const states = STATES.filter((state) => node.states[state]);
  const shares = [];
  let from = 0;
  for (const state of states) {
    const to = Math.min(from + node.states[state] / count, 1);
    shares.push({ color: mix(look.colors[state], look.card, QUIET.has(state) ? 0 : 0.24), from, to });
    from = to;
  }
  const main = states[0] ?? "waiting";
  const isQuiet = QUIET.has(main);
  return {
    label: makeLabel(node),
    shares: shares.length > 0 ? shares : [{ color: look.card, from: 0, to: 1 }],
    border: isQuiet ? mix(look.mute, look.card, 0.5) : look.colors[main],
    thick: main === "running" || main === "failed" ? 2 : 1,
    isDashed: isQuiet,
  };
}

function sum(node) {
  return Object.values(node.states).reduce((total, number) => total + number, 0);
}

function makeLabel(node) {
  const name = node.name.length > 34 ? `${node.name.slice(0, 20)}…${node.name.slice(-12)}` : node.name;
  if (!node.family) return name;
  if (node.noun === "dataset") return `${name} × ${sum(node)}`;
  return `${name} × ${sum(node)}\n${node.states.finished ?? 0} finished ▸`;
}

function measureNode(node) {
  const lines = makeLabel(node).replace(/\d+ finished/, `${sum(node)} finished`).split("\n");
  const font = node.noun === "job" ? `500 13px ${FONT}` : `11px ${FONT}`;
  const width = Math.max(...lines.map((text) => measureText(text, font)));
  const padding = node.noun === "job" ? 24 : 20;
  return { width: Math.max(Math.ceil(width) + padding, 40), height: HEIGHT[node.noun] + (node.family && node.noun === "job" ? 6 : 0) };
}

async function computeLayout(data, isNarrow) {
  const sizes = new Map(data.nodes.map((node) => [node.key, measureNode(node)]));
  return data.nodes.some((node) => "level" in node) ? placeByLevel(data, sizes) : await askGraphviz(data, sizes, isNarrow);
}

function placeByLevel(data, sizes) {
  const spots = new Map(data.nodes.map((node) => [node.key, { x: node.level * GRID.x, y: node.place * GRID.y }]));
  const level = Math.max(...data.nodes.map((node) => node.level));
  const place = Math.max(...data.nodes.map((node) => node.place));
  return { spots, sizes, bends: new Map(), width: (level + 1) * GRID.x, height: (place + 1) * GRID.y };
}

let worker = null;
let asked = 0;
const waiting = new Map();

function layOut(dot) {
  if (worker === null) {
    worker = new Worker(new URL("./layout.js", import.meta.url), { type: "module" });
    worker.onmessage = ({ data }) => {
      const { done, fail } = waiting.get(data.id);
      waiting.delete(data.id);
      if (data.error) fail(new Error(data.error));
      else done(data.plain);
    };
    worker.onerror = () => {
      for (const { fail } of waiting.values()) fail(new Error("The graph is not laid out: its assets were not installed (make assets), or this browser is too old."));
      waiting.clear();
    };
  }
  asked += 1;
  const id = asked;
  return new Promise((done, fail) => {
    waiting.set(id, { done, fail });
    worker.postMessage({ id, dot });
  });
}

async function askGraphviz(data, sizes, isNarrow) {
  const numbers = new Map(data.nodes.map((node, index) => [node.key, index]));
  // The limits keep 5,000 nodes within seconds; without them the search for fewer crossings does not end.
  const lines = ["digraph {", `graph [rankdir=${isNarrow ? "TB" : "LR"}, nslimit=1, nslimit1=1, mclimit=0.1, nodesep=0.17, ranksep=${isNarrow ? 0.35 : 0.55}];`,
    "node [shape=box, fixedsize=true, label=\"\"]; edge [arrowhead=none];"];
  for (const node of data.nodes) {
    const { width, height } = sizes.get(node.key);
    lines.push(`${numbers.get(node.key)} [width=${width / INCH}, height=${height / INCH}];`);
  }
  for (const [source, target] of data.links) lines.push(`${numbers.get(source)} -> ${numbers.get(target)};`);
  lines.push("}");
  return readPlain(await layOut(lines.join("\n")), data, sizes);
}

// Graphviz's "plain" output: inches from the lower left corner, edges as points of Bézier curves.
function readPlain(plain, data, sizes) {
  const spots = new Map();
  const bends = new Map();
  let size = { width: 1, height: 1 };
  for (const line of plain.replaceAll("\\\n", "").split("\n")) {
    const part = line.split(" ");
    if (part[0] === "graph") size = { width: part[2] * INCH, height: part[3] * INCH };
    if (part[0] === "node") spots.set(data.nodes[Number(part[1])].key, { x: Number(part[2]) * INCH, y: size.height - part[3] * INCH });
    if (part[0] === "edge") {
      const points = [];
      for (let index = 0; index < Number(part[3]); index += 1) {
        points.push({ x: Number(part[4 + 2 * index]) * INCH, y: size.height - part[5 + 2 * index] * INCH });
      }
      bends.set(`${data.nodes[Number(part[1])].key}\n${data.nodes[Number(part[2])].key}`, points);
    }
  }
  return { spots, sizes, bends, ...size };
}

// Where Graphviz said nothing, a curve from the right side of one to the left side of the other.
function bendEdge(layout, source, target) {
  const points = layout.bends.get(`${source}\n${target}`);
  if (points) return points;
  const [a, b] = [layout.spots.get(source), layout.spots.get(target)];
  const start = { x: a.x + layout.sizes.get(source).width / 2, y: a.y };
  const end = { x: b.x - layout.sizes.get(target).width / 2, y: b.y };
  const half = (end.x - start.x) / 2;
  return [start, { x: start.x + half, y: start.y }, { x: end.x - half, y: end.y }, end];
}
