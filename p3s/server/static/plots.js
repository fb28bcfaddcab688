// Numbers over time, or against a param, drawn by uPlot.
import { loadStyle, make, makeSource, mix, onTheme, readColors, readVariables } from "./look.js";
import { formatTime } from "./times.js";

const HEIGHT = 150;
// Steps between marks where numbers are whole.
const WHOLE = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6];

export function show(place) {
  const source = makeSource();
  let data = null;
  let plots = [];
  let width = 0;
  let uPlot = null;
  const told = make("p", { class: "mute", role: "status" }, "");

  const draw = () => {
    for (const plot of plots) plot.destroy();
    plots = [];
    const isEmpty = data === null || data.x.length === 0;
    told.textContent = isEmpty ? (data?.empty ?? "") : "";
    told.hidden = !isEmpty;
    place.replaceChildren(told);
    if (isEmpty || uPlot === null) return;
    const look = readLook(data);
    for (const panel of data.panels) {
      const box = make("figure", { class: "panel" }, makeHead(panel, look));
      place.append(box);
      plots.push(new uPlot(makeOptions(uPlot, data, panel, look, width), [data.x, ...panel.series.map((one) => one.values)], box));
    }
  };

  const refresh = async () => {
    try {
      if (uPlot === null) {
        loadStyle("./built/uplot.css");
        uPlot = (await import("./built/uplot.js")).default;
      }
    } catch {
      told.textContent = "Plots need assets that were not installed (make assets).";
      place.replaceChildren(told);
      return;
    }
    try {
      const fresh = await source(place.dataset.plot);
      if (fresh === null) return;
      data = fresh;
      draw();
    } catch (error) {
      if (error instanceof TypeError) return;
      told.textContent = error.message;
      told.hidden = false;
    }
  };

  new ResizeObserver(([{ contentRect }]) => {
    if (Math.abs(contentRect.width - width) < 4) return;
    width = contentRect.width;
    draw();
  }).observe(place);
  onTheme(draw);
  place.replaceChildren(told);
  refresh();
  return refresh;
}

function readLook(data) {
  const [card, text, mute, line, ...roles] = readVariables("--card", "--text", "--mute", "--line", "--busy", "--ready", "--good", "--wait", "--bad", "--still");
  const states = data.panels.flatMap((panel) => panel.series.map((one) => one.state).filter(Boolean));
  return { card, text, mute, line, roles, states: readColors(states) };
}

function colorOf(one, index, look) {
  return one.state ? look.states[one.state] : look.roles[index % look.roles.length];
}

function makeHead(panel, look) {
  const names = panel.series.map((one, index) => {
    const swatch = make("span", { class: "swatch" });
    swatch.style.background = colorOf(one, index, look);
    return make("li", {}, swatch, one.name, make("output", {}));
  });
  return make("figcaption", {}, make("span", {}, panel.title), make("ul", { class: "legend" }, ...names));
}

function makeOptions(uPlot, data, panel, look, width) {
  const grid = { stroke: mix(look.line, look.card, 0.7), width: 1 };
  const axis = { stroke: look.mute, font: "11px system-ui, sans-serif", grid, ticks: { show: false } };
  return {
    width,
    height: panel.height ?? HEIGHT,
    padding: [8, 12, 0, 0],
    legend: { show: false },
    cursor: { sync: { key: data.group ?? "plots" }, points: { size: 6 }, y: false, drag: { x: false, y: false } },
    scales: {
      // Room for the last bar, which stands after its mark.
      x: { time: data.time, range: (_plot, low, high) => (panel.counts ? [low, high + data.x[1] - data.x[0]] : pad(low, high)) },
      // From nought, where numbers count something.
      y: { range: (_plot, low, high) => (panel.counts ? [0, Math.max(high, 1) * 1.08] : pad(low, high)) },
    },
    axes: [
      { ...axis, space: 70, values: chooseMarks(data), incrs: isWhole(data) ? WHOLE : undefined },
      { ...axis, size: 46, space: 28, incrs: panel.counts ? WHOLE : undefined },
    ],
    series: [{}, ...panel.series.map((one, index) => makeSeries(uPlot, one, colorOf(one, index, look), look))],
    hooks: { setCursor: [(plot) => readOut(plot, panel)] },
  };
}

// A param such as a run's number has no fractions, and its digits are no groups of thousands.
function isWhole(data) {
  return !data.time && data.x.every(Number.isInteger);
}

// What stands at the marks of the x axis: the time of day, or the values of a param.
function chooseMarks(data) {
  if (data.labels) return (_plot, marks) => marks.map((mark) => data.labels[mark] ?? "");
  if (!data.time) return isWhole(data) ? (_plot, marks) => marks.map(String) : undefined;
  const isLong = data.x.at(-1) - data.x[0] > 2 * 86400;
  return (_plot, marks) => marks.map((mark) => (isLong ? formatTime(mark).slice(5, 10) : formatTime(mark).slice(11, 16)));
}

function makeSeries(uPlot, one, color, look) {
  const series = { label: one.name, stroke: color, width: 1.6, points: { show: one.style === "points", size: 6, fill: color } };
  if (one.style === "points") return { ...series, paths: () => null };
  // A bar is seen also where the time before and after is empty.
  const bars = { fill: mix(color, look.card, 0.3), width: 1, paths: uPlot.paths.bars({ size: [0.9, 60], align: 1 }) };
  if (one.style === "bars") return { ...series, ...bars, points: { show: false } };
  return { ...series, points: { size: 4, fill: color } };
}

function pad(low, high) {
  const room = (high - low || Math.abs(high) || 1) * 0.1;
  return [low - room, high + room];
}

function readOut(plot, panel) {
  const outputs = plot.root.parentElement.querySelectorAll("output");
  for (const [index, one] of panel.series.entries()) {
    const value = plot.cursor.idx === null ? null : one.values[plot.cursor.idx];
    outputs[index].textContent = value === null || value === undefined ? "" : Number(value.toPrecision(5)).toLocaleString("en");
  }
}
