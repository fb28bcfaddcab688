// A canvas with boxes and curves that is moved and zoomed by mouse, fingers and keys; it draws only what is in view.
import { make } from "./look.js";

const FONT = "system-ui, sans-serif";
// Below these scales, text cannot be read, and corners and heads of arrows are not seen.
const TEXT = 0.4;
const FINE = 0.3;
const SCALES = { least: 0.01, most: 3 };
// Pixels that a finger or a mouse may move within a click.
const CLICK = 6;
// With more curves in view, none are drawn while the sheet moves.
const MANY = 8000;
const HEAD = 7;

export class Sheet {
  // Nodes have a key, a middle (x, y), width, height, isJob, and what setFaces gives; edges have source, target, and
  // points: a start, then three for each Bézier curve.
  constructor(place, nodes, edges, on) {
    this.place = place;
    this.nodes = nodes;
    this.edges = edges;
    this.on = on;
    this.known = new Map(nodes.map((node) => [node.key, node]));
    this.scale = 1;
    this.shift = { x: 0, y: 0 };
    this.found = null;
    this.near = null;
    this.fingers = new Map();
    this.box = boxOf(nodes);
    for (const edge of edges) edge.box = boxOfPoints(edge.points);
    this.canvas = make("canvas", { "aria-hidden": "true" });
    this.pen = this.canvas.getContext("2d");
    place.replaceChildren(this.canvas);
    this.listen();
    this.resize();
  }

  setFaces(faces, look) {
    this.look = look;
    for (const node of this.nodes) Object.assign(node, faces.get(node.key));
    this.draw();
  }

  // Of a set of keys, or none: all others are pale.
  mark(found) {
    this.found = found;
    this.draw();
  }

  resize() {
    const ratio = devicePixelRatio || 1;
    this.width = this.place.clientWidth;
    this.height = this.place.clientHeight;
    this.canvas.width = Math.round(this.width * ratio);
    this.canvas.height = Math.round(this.height * ratio);
    this.draw();
  }

  destroy() {
    this.stop.abort();
    cancelAnimationFrame(this.frame);
    clearTimeout(this.rest);
  }

  fit(keys = null, room = 16) {
    const box = keys === null ? this.box : boxOf(keys.map((key) => this.known.get(key)));
    const scale = Math.min((this.width - 2 * room) / box.width, (this.height - 2 * room) / box.height);
    this.scale = clamp(scale, SCALES.least, keys === null ? SCALES.most : 1.15);
    this.center(box);
  }

  center(box) {
    this.shift = {
      x: this.width / 2 - (box.x + box.width / 2) * this.scale,
      y: this.height / 2 - (box.y + box.height / 2) * this.scale,
    };
    this.draw();
  }

  centerOn(key) {
    const node = this.known.get(key);
    this.center({ x: node.x, y: node.y, width: 0, height: 0 });
  }

  zoom(factor, at = { x: this.width / 2, y: this.height / 2 }) {
    const scale = clamp(this.scale * factor, SCALES.least, SCALES.most);
    const share = scale / this.scale;
    this.shift = { x: at.x - (at.x - this.shift.x) * share, y: at.y - (at.y - this.shift.y) * share };
    this.scale = scale;
    this.move();
  }

  pan(x, y) {
    this.shift = { x: this.shift.x + x, y: this.shift.y + y };
    this.move();
  }

  // What moves is drawn without the many curves, which follow when it rests.
  move() {
    this.isMoving = true;
    clearTimeout(this.rest);
    this.rest = setTimeout(() => {
      this.isMoving = false;
      this.draw();
    }, 120);
    this.draw();
  }

  listen() {
    this.stop = new AbortController();
    const listen = (name, act, options = {}) => this.place.addEventListener(name, act, { signal: this.stop.signal, ...options });
    listen("pointerdown", (event) => this.press(event));
    listen("pointermove", (event) => this.follow(event));
    listen("pointerup", (event) => this.release(event));
    listen("pointercancel", (event) => this.fingers.delete(event.pointerId));
    listen("pointerleave", () => this.point(null));
    // One finger up or down scrolls the page; two belong to the drawing.
    listen("touchstart", (event) => event.touches.length > 1 && event.preventDefault(), { passive: false });
    listen("wheel", (event) => this.roll(event), { passive: false });
    listen("keydown", (event) => this.type(event));
  }

  spot(event) {
    const frame = this.place.getBoundingClientRect();
    return { x: event.clientX - frame.left, y: event.clientY - frame.top };
  }

  press(event) {
    if (event.button !== 0) return;
    const at = this.spot(event);
    this.fingers.set(event.pointerId, { ...at, start: at, isClick: this.fingers.size === 0 });
    if (this.fingers.size > 1) for (const finger of this.fingers.values()) finger.isClick = false;
  }

  follow(event) {
    const at = this.spot(event);
    const finger = this.fingers.get(event.pointerId);
    if (finger === undefined) {
      this.point(this.findNode(at));
      return;
    }
    if (finger.isClick && Math.hypot(at.x - finger.start.x, at.y - finger.start.y) < CLICK) return;
    if (finger.isClick) this.place.setPointerCapture(event.pointerId);
    finger.isClick = false;
    const other = [...this.fingers].find(([id]) => id !== event.pointerId)?.[1];
    if (other === undefined) {
      this.pan(at.x - finger.x, at.y - finger.y);
    } else {
      const before = Math.hypot(finger.x - other.x, finger.y - other.y);
      const after = Math.hypot(at.x - other.x, at.y - other.y);
      this.pan((at.x - finger.x) / 2, (at.y - finger.y) / 2);
      this.zoom(after / Math.max(before, 1), { x: (at.x + other.x) / 2, y: (at.y + other.y) / 2 });
    }
    Object.assign(finger, at);
  }

  release(event) {
    const finger = this.fingers.get(event.pointerId);
    this.fingers.delete(event.pointerId);
    const node = finger?.isClick ? this.findNode(finger) : null;
    if (node) this.on.open(node);
  }

  // The wheel scrolls the page; with Ctrl, or once the drawing was clicked, it zooms.
  roll(event) {
    if (!event.ctrlKey && document.activeElement !== this.place) return;
    event.preventDefault();
    this.zoom(event.deltaY < 0 ? 1.15 : 1 / 1.15, this.spot(event));
  }

  type(event) {
    const steps = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] };
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key in steps) this.pan(...steps[event.key]);
    else if (event.key === "+" || event.key === "=") this.zoom(1.4);
    else if (event.key === "-") this.zoom(1 / 1.4);
    else return;
    event.preventDefault();
  }

  findNode(at) {
    const x = (at.x - this.shift.x) / this.scale;
    const y = (at.y - this.shift.y) / this.scale;
    return this.nodes.find((node) => Math.abs(node.x - x) <= node.width / 2 && Math.abs(node.y - y) <= node.height / 2) ?? null;
  }

  point(node) {
    if ((node?.key ?? null) === (this.near?.key ?? null)) return;
    this.near = null;
    if (node !== null) {
      const edges = this.edges.filter((edge) => edge.source === node.key || edge.target === node.key);
      const keys = new Set([node.key, ...edges.flatMap((edge) => [edge.source, edge.target])]);
      this.near = { key: node.key, keys, edges: new Set(edges) };
    }
    this.on.point(node);
    this.draw();
  }

  draw() {
    cancelAnimationFrame(this.frame);
    this.frame = requestAnimationFrame(() => this.drawNow());
  }

  drawNow() {
    if (!this.look || this.width === 0) return;
    const { pen, scale, shift } = this;
    const ratio = this.canvas.width / this.width;
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.clearRect(0, 0, this.canvas.width, this.canvas.height);
    pen.setTransform(ratio * scale, 0, 0, ratio * scale, ratio * shift.x, ratio * shift.y);
    const view = { x: -shift.x / scale, y: -shift.y / scale, width: this.width / scale, height: this.height / scale };
    this.drawEdges(this.edges.filter((edge) => meets(edge.box, view)));
    const nodes = this.nodes.filter((node) => meets({ x: node.x - node.width / 2, y: node.y - node.height / 2, width: node.width, height: node.height }, view));
    if (scale < FINE) this.drawBlocks(nodes);
    else for (const node of nodes) this.drawNode(node);
    pen.globalAlpha = 1;
  }

  drawEdges(edges) {
    if (this.isMoving && edges.length > MANY) return;
    const { pen, near } = this;
    pen.lineWidth = this.scale < FINE ? 0.6 / this.scale : 1.2;
    pen.strokeStyle = pen.fillStyle = this.look.edge;
    pen.globalAlpha = near === null && this.found === null ? 1 : 0.25;
    this.trace(near === null ? edges : edges.filter((edge) => !near.edges.has(edge)));
    pen.globalAlpha = 1;
    if (near === null) return;
    pen.lineWidth = 2;
    pen.strokeStyle = pen.fillStyle = this.look.link;
    this.trace(edges.filter((edge) => near.edges.has(edge)));
  }

  trace(edges) {
    const { pen } = this;
    const isFine = this.scale >= FINE;
    pen.beginPath();
    for (const { points } of edges) {
      const last = points.length - 1;
      pen.moveTo(points[0].x, points[0].y);
      if (isFine) {
        for (let at = 1; at + 2 <= last; at += 3) {
          pen.bezierCurveTo(points[at].x, points[at].y, points[at + 1].x, points[at + 1].y, points[at + 2].x, points[at + 2].y);
        }
      } else {
        pen.lineTo(points[last].x, points[last].y);
      }
    }
    pen.stroke();
    if (!isFine) return;
    pen.beginPath();
    for (const { points } of edges) {
      const [before, end] = points.slice(-2);
      const length = Math.hypot(end.x - before.x, end.y - before.y) || 1;
      const [x, y] = [((end.x - before.x) / length) * HEAD, ((end.y - before.y) / length) * HEAD];
      pen.moveTo(end.x, end.y);
      pen.lineTo(end.x - x - y * 0.45, end.y - y + x * 0.45);
      pen.lineTo(end.x - x + y * 0.45, end.y - y - x * 0.45);
      pen.closePath();
    }
    pen.fill();
  }

  shade(node) {
    const isPale = (this.near !== null && !this.near.keys.has(node.key)) || (this.found !== null && !this.found.has(node.key));
    this.pen.globalAlpha = isPale ? 0.35 : 1;
  }

  // From afar a node is a block of its strongest colour.
  drawBlocks(nodes) {
    const { pen } = this;
    for (const node of nodes) {
      this.shade(node);
      pen.fillStyle = this.found?.has(node.key) ? this.look.link : node.border;
      pen.fillRect(node.x - node.width / 2, node.y - node.height / 2, node.width, node.height);
    }
  }

  drawNode(node) {
    const { pen, look } = this;
    const [left, top] = [node.x - node.width / 2, node.y - node.height / 2];
    this.shade(node);
    pen.beginPath();
    pen.roundRect(left, top, node.width, node.height, node.isJob ? 7 : 12);
    if (node.shares.length === 1) {
      pen.fillStyle = node.shares[0].color;
    } else {
      pen.fillStyle = pen.createLinearGradient(left, 0, left + node.width, 0);
      for (const { color, from, to } of node.shares) {
        pen.fillStyle.addColorStop(from, color);
        pen.fillStyle.addColorStop(to, color);
      }
    }
    pen.fill();
    pen.lineWidth = node.thick;
    pen.strokeStyle = node.border;
    pen.setLineDash(node.isDashed ? [4, 3] : []);
    pen.stroke();
    pen.setLineDash([]);
    if (this.found?.has(node.key)) {
      pen.beginPath();
      pen.roundRect(left - 4, top - 4, node.width + 8, node.height + 8, 10);
      pen.lineWidth = 3;
      pen.strokeStyle = look.link;
      pen.stroke();
    }
    if (this.scale < TEXT) return;
    pen.fillStyle = look.text;
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    pen.font = node.isJob ? `500 13px ${FONT}` : `11px ${FONT}`;
    const lines = node.label.split("\n");
    for (const [index, line] of lines.entries()) pen.fillText(line, node.x, node.y + (index - (lines.length - 1) / 2) * 16);
  }
}

function clamp(value, least, most) {
  return Math.min(Math.max(value, least), most);
}

function meets(box, view) {
  return box.x <= view.x + view.width && box.x + box.width >= view.x && box.y <= view.y + view.height && box.y + box.height >= view.y;
}

function boxOf(nodes) {
  return boxOfPoints(nodes.flatMap(({ x, y, width, height }) => [{ x: x - width / 2, y: y - height / 2 }, { x: x + width / 2, y: y + height / 2 }]));
}

function boxOfPoints(points) {
  let [left, top, right, bottom] = [Infinity, Infinity, -Infinity, -Infinity];
  for (const { x, y } of points) {
    [left, right] = [Math.min(left, x), Math.max(right, x)];
    [top, bottom] = [Math.min(top, y), Math.max(bottom, y)];
  }
  return { x: left, y: top, width: Math.max(right - left, 1), height: Math.max(bottom - top, 1) };
}
