// A workflow's graph: laid out by Graphviz in a worker, drawn by cytoscape, in the colours of the states.
import { make, makeSource, measureText, mix, onTheme, readColors, readVariables } from "./look.js";

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
    const buttons = [["Fit", () => this.cy?.animate({ fit: { padding: 16 } }, { duration: 150 })],
      ["+", () => this.zoom(1.4)], ["−", () => this.zoom(1 / 1.4)]];
    const tools = make("div", { class: "tools" }, this.find, this.fold);
    for (const [text, act] of buttons) {
      const label = { "+": "Zoom in", "−": "Zoom out" }[text] ?? "Show the whole graph";
      const button = make("button", { type: "button", "aria-label": label }, text);
      button.addEventListener("click", act);
      tools.append(button);
    }
    this.canvas = make("div", { class: "canvas", role: "img", "aria-label": "Graph of jobs and data; the table of jobs says the same" });
    this.told = make("p", { class: "mute", role: "status" }, "Drawing the graph …");
    place.append(make("div", { class: "above" }, this.legend, tools), this.canvas, this.told);
  }

  async start() {
    try {
      const [{ default: cytoscape }] = await Promise.all([import("./built/cytoscape.js"), document.fonts.ready]);
      this.cytoscape = cytoscape;
    } catch {
      this.say("The drawing needs assets that were not installed (make assets).");
      this.tools().hidden = this.canvas.hidden = true;
      return;
    }
    // cytoscape would add a style sheet of its own, which the page's policy refuses; live.css says the same.
    if (document.getElementById("__________cytoscape_stylesheet") === null) {
      document.head.append(make("meta", { id: "__________cytoscape_stylesheet" }));
    }
    await this.refresh();
  }

  tools() {
    return this.place.querySelector(".tools");
  }

  say(text) {
    this.told.textContent = text;
    this.told.hidden = text === "";
  }

  async refresh() {
    if (!this.cytoscape || this.isBusy) return;
    this.isBusy = true;
    try {
      const data = await this.source(this.place.dataset.dag + this.query);
      if (data !== null) await this.update(data);
    } catch (error) {
      // A server that does not answer is told by the page itself.
      if (!(error instanceof TypeError)) this.say(error.message);
    } finally {
      this.isBusy = false;
    }
  }

  async update(data) {
    this.data = data;
    this.opened = new Set(data.opened);
    this.fold.hidden = data.closed.length === 0 && data.opened.length === 0;
    this.fold.textContent = data.opened.length > 0 ? "Close families" : "Open families";
    const shape = JSON.stringify([data.nodes.map((node) => node.key), data.links]);
    if (shape !== this.shape) {
      if (this.isFirst) this.say(data.nodes.length > 300 ? `Laying out ${data.nodes.length} nodes …` : "Drawing the graph …");
      const layout = await computeLayout(data, this.place.clientWidth < NARROW);
      this.shape = shape;
      this.draw(layout);
    }
    this.paint();
    this.say("");
  }

  draw(layout) {
    const focus = this.isFirst ? null : this.focus;
    this.cy?.destroy();
    const width = this.place.clientWidth;
    const size = layout.width / layout.height;
    // As high as the graph needs at this width, within limits.
    const needed = Math.min(width / size, layout.height * 1.15) + 36;
    this.canvas.style.height = `${Math.round(Math.min(Math.max(needed, 130), 620, innerHeight * 0.75))}px`;
    this.cy = this.cytoscape({
      container: this.canvas,
      elements: makeElements(this.data, layout),
      layout: { name: "preset" },
      minZoom: 0.02,
      maxZoom: 3,
      autoungrabify: true,
      boxSelectionEnabled: false,
      textureOnViewport: this.data.nodes.length > 2000,
      hideEdgesOnViewport: this.data.nodes.length > 2000,
      pixelRatio: "auto",
    });
    this.cy.userZoomingEnabled(false);
    this.cy.on("tap", "node", (event) => this.open(event.target));
    this.cy.on("mouseover", "node", (event) => this.hover(event.target));
    this.cy.on("mouseout", "node", () => this.unhover());
    this.canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    this.fit();
    const found = focus && this.cy.nodes().filter((node) => node.data("name").startsWith(focus));
    if (found && found.length > 0) this.cy.center(found);
    this.isFirst = false;
    this.watchSize();
  }

  fit() {
    this.cy.fit(undefined, 16);
    if (this.cy.zoom() > 1.15) {
      this.cy.zoom(1.15);
      this.cy.center();
    }
    // Names that cannot be read say nothing: a large graph begins at its start, at a size that can.
    if (this.cy.zoom() < 0.45) {
      this.cy.zoom(0.55);
      const box = this.cy.elements().boundingBox();
      this.cy.pan({ x: 16 - box.x1 * 0.55, y: this.canvas.clientHeight / 2 - ((box.y1 + box.y2) / 2) * 0.55 });
    }
  }

  watchSize() {
    if (this.watcher) return;
    let last = this.place.clientWidth;
    this.watcher = new ResizeObserver(() => {
      if (Math.abs(this.place.clientWidth - last) < 8) return;
      last = this.place.clientWidth;
      this.cy.resize();
      this.fit();
    });
    this.watcher.observe(this.place);
  }

  // The wheel scrolls the page; with Ctrl, or once the drawing was clicked, it zooms.
  wheel(event) {
    if (!event.ctrlKey && !this.canvas.contains(document.activeElement)) return;
    event.preventDefault();
    const box = this.canvas.getBoundingClientRect();
    this.zoom(event.deltaY < 0 ? 1.15 : 1 / 1.15, { x: event.clientX - box.left, y: event.clientY - box.top });
  }

  zoom(factor, at) {
    const middle = { x: this.canvas.clientWidth / 2, y: this.canvas.clientHeight / 2 };
    this.cy?.zoom({ level: this.cy.zoom() * factor, renderedPosition: at ?? middle });
  }

  paint() {
    const look = readLook();
    this.cy.style(makeStyle(look));
    const seen = {};
    this.cy.batch(() => {
      for (const node of this.data.nodes) {
        for (const [state, number] of Object.entries(node.states)) {
          if (node.noun === "job" || QUIET.has(state) || state === "failed") seen[state] = (seen[state] ?? 0) + number;
        }
        this.cy.getElementById(node.key).data(makeFace(node, look));
      }
    });
    const entries = STATES.filter((state) => seen[state]);
    this.legend.replaceChildren(
      ...entries.map((state) => make("li", {}, make("span", { class: `state ${state}` }, state))),
    );
    this.search();
  }

  open(node) {
    const { family, noun, name, uuid } = node.data();
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

  hover(node) {
    this.canvas.style.cursor = "pointer";
    this.canvas.title = describe(node.data());
    const near = node.closedNeighborhood();
    this.cy.elements().not(near).addClass("far");
    near.edges().addClass("near");
  }

  unhover() {
    this.canvas.style.cursor = "";
    this.canvas.title = "";
    this.cy.elements().removeClass("far near");
  }

  search() {
    const text = this.find.value.trim().toLowerCase();
    this.cy?.batch(() => {
      this.cy.nodes().removeClass("found missed");
      if (text === "") return;
      for (const node of this.cy.nodes()) {
        node.addClass(node.data("name").toLowerCase().includes(text) || node.data("uuid").startsWith(text) ? "found" : "missed");
      }
    });
  }

  goToFound() {
    const found = this.cy.nodes(".found");
    if (found.length === 1) this.open(found);
    else if (found.length > 1) this.cy.animate({ fit: { eles: found, padding: 60 } }, { duration: 150 });
  }
}

function describe({ noun, name, family, count, states, external }) {
  const counts = Object.entries(states).map(([state, number]) => (count > 1 ? `${number} ${state}` : state)).join(", ");
  if (family) return `${count} ${noun === "job" ? "jobs" : "data"} ${name}: ${counts}${noun === "job" ? "; click to open" : ""}`;
  return `${external ? "external data" : noun === "job" ? "job" : "data"} ${name}: ${counts}`;
}

function readLook() {
  const [card, text, mute, line, link] = readVariables("--card", "--text", "--mute", "--line", "--link");
  return { card, text, mute, line, link, colors: readColors(STATES) };
}

// What a node shows: its name, and how many of it are in which state, as colours from left to right.
function makeFace(node, look) {
  const count = sum(node);
  const states = STATES.filter((state) => node.states[state]);
  const stops = [];
  const colors = [];
  let from = 0;
  for (const state of states) {
    const share = QUIET.has(state) ? 0 : 0.24;
    const color = mix(look.colors[state], look.card, share);
    const to = from + (100 * node.states[state]) / count;
    colors.push(color, color);
    stops.push(from, to);
    from = to;
  }
  const main = states[0] ?? "waiting";
  const isQuiet = QUIET.has(main);
  return {
    label: makeLabel(node),
    count,
    states: node.states,
    colors: colors.join(" "),
    stops: stops.map((stop) => `${stop}%`).join(" "),
    border: isQuiet ? mix(look.mute, look.card, 0.5) : look.colors[main],
    thick: main === "running" || main === "failed" ? 2 : 1,
    dash: isQuiet ? "dashed" : "solid",
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
      for (const { fail } of waiting.values()) fail(new Error("The layout cannot be computed in this browser."));
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
    if (part[0] === "node") spots.set(data.nodes[Number(part[1])].key, { x: part[2] * INCH, y: size.height - part[3] * INCH });
    if (part[0] === "edge") {
      const points = [];
      for (let index = 0; index < Number(part[3]); index += 1) {
        points.push({ x: part[4 + 2 * index] * INCH, y: size.height - part[5 + 2 * index] * INCH });
      }
      bends.set(`${data.nodes[Number(part[1])].key}\n${data.nodes[Number(part[2])].key}`, points);
    }
  }
  return { spots, sizes, bends, ...size };
}

function makeElements(data, layout) {
  const nodes = data.nodes.map((node) => ({
    data: { id: node.key, ...node, ...layout.sizes.get(node.key) },
    position: layout.spots.get(node.key),
    classes: `${node.noun}${node.family ? " family" : ""}${node.external ? " external" : ""}`,
  }));
  const edges = data.links.map(([source, target]) => ({
    data: { id: `${source}\n${target}`, source, target, ...bendEdge(layout, source, target) },
  }));
  return [...nodes, ...edges];
}

// cytoscape wants bends as distances from the straight line, and shares of it.
function bendEdge(layout, source, target) {
  const [a, b] = [layout.spots.get(source), layout.spots.get(target)];
  const points = layout.bends.get(`${source}\n${target}`) ?? [];
  const start = points[0] ?? { x: a.x + layout.sizes.get(source).width / 2, y: a.y };
  const end = points.at(-1) ?? { x: b.x - layout.sizes.get(target).width / 2, y: b.y };
  const line = { x: end.x - start.x, y: end.y - start.y };
  const square = line.x ** 2 + line.y ** 2 || 1;
  const weights = [];
  const distances = [];
  for (const point of points.length > 0 ? sampleCurve(points) : bendSoftly(start, end)) {
    const off = { x: point.x - start.x, y: point.y - start.y };
    weights.push((off.x * line.x + off.y * line.y) / square);
    distances.push((off.y * line.x - off.x * line.y) / Math.sqrt(square));
  }
  return {
    weights,
    distances,
    from: `${start.x - a.x}px ${start.y - a.y}px`,
    to: `${end.x - b.x}px ${end.y - b.y}px`,
  };
}

function bendSoftly(start, end) {
  const half = (end.x - start.x) / 2;
  return sampleCurve([start, { x: start.x + half, y: start.y }, { x: end.x - half, y: end.y }, end]);
}

function sampleCurve(points) {
  const found = [];
  for (let first = 0; first + 3 < points.length; first += 3) {
    const [p, q, r, s] = points.slice(first, first + 4);
    const isStraight = Math.abs(p.y - s.y) < 1 && Math.abs(q.y - p.y) < 1 && Math.abs(r.y - p.y) < 1;
    for (const t of isStraight ? [1] : [0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1]) {
      const u = 1 - t;
      const blend = (axis) => u ** 3 * p[axis] + 3 * u * u * t * q[axis] + 3 * u * t * t * r[axis] + t ** 3 * s[axis];
      found.push({ x: blend("x"), y: blend("y") });
    }
  }
  return found.slice(0, -1);
}

function makeStyle(look) {
  const line = mix(look.mute, look.card, 0.45);
  return [
    {
      selector: "node",
      style: {
        width: "data(width)", height: "data(height)", shape: "round-rectangle", "corner-radius": 7,
        label: "data(label)", "text-valign": "center", "text-halign": "center", "text-wrap": "wrap",
        "font-family": FONT, "font-size": 13, "font-weight": 500, color: look.text, "min-zoomed-font-size": 5,
        "background-color": look.card, "background-fill": "linear-gradient", "background-gradient-direction": "to-right",
        "background-gradient-stop-colors": "data(colors)", "background-gradient-stop-positions": "data(stops)",
        "border-width": "data(thick)", "border-color": "data(border)", "border-style": "data(dash)",
        "overlay-opacity": 0,
      },
    },
    { selector: "node.family", style: { "line-height": 1.25 } },
    { selector: "node.dataset", style: { "corner-radius": 12, "font-size": 11, "font-weight": 400 } },
    {
      selector: "edge",
      style: {
        width: 1.2, "line-color": line, "target-arrow-color": line, "target-arrow-shape": "triangle", "arrow-scale": 0.7,
        "curve-style": "segments", "segment-weights": "data(weights)", "segment-distances": "data(distances)",
        "edge-distances": "endpoints", "source-endpoint": "data(from)", "target-endpoint": "data(to)", "overlay-opacity": 0,
      },
    },
    { selector: "edge[weights.length = 0]", style: { "curve-style": "straight" } },
    { selector: "edge.near", style: { width: 2, "line-color": look.link, "target-arrow-color": look.link, "z-index": 9 } },
    { selector: "node.far, node.missed", style: { opacity: 0.35 } },
    { selector: "edge.far", style: { opacity: 0.25 } },
    { selector: "node.found", style: { "outline-width": 3, "outline-color": look.link, "outline-offset": 2, "outline-opacity": 1 } },
  ];
}

