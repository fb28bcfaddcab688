// What drawings share: colours of states as the style sheet has them, asking for data, text that says what is wrong.

// The colour of a state is that of the dot before its word, whatever the theme.
export function readColors(states) {
  const probe = document.createElement("span");
  document.body.append(probe);
  const colors = {};
  for (const state of states) {
    probe.className = `state ${state}`;
    colors[state] = getComputedStyle(probe, "::before").backgroundColor;
  }
  probe.remove();
  return colors;
}

export function readVariables(...names) {
  const style = getComputedStyle(document.documentElement);
  return names.map((name) => style.getPropertyValue(name).trim());
}

// A share of one colour laid over another, as one that covers what is below.
export function mix(color, ground, share) {
  const [a, b] = [toNumbers(color), toNumbers(ground)];
  return `rgb(${a.map((value, index) => Math.round(value * share + b[index] * (1 - share))).join(",")})`;
}

const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });

// Reading a canvas is slow, and colours are few.
const numbers = new Map();

function toNumbers(color) {
  if (!numbers.has(color)) {
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    numbers.set(color, [...canvas.getImageData(0, 0, 1, 1).data.slice(0, 3)]);
  }
  return numbers.get(color);
}

let lastFont = "";

export function measureText(text, font) {
  if (font !== lastFont) canvas.font = lastFont = font;
  return canvas.measureText(text).width;
}

// Called when the viewer changes the theme of the system.
export function onTheme(redraw) {
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
}

// Asks an address again and again; what is the same as before is null.
export function makeSource() {
  let tag = null;
  let last = "";
  return async (address) => {
    const headers = tag !== null && last === address ? { "If-None-Match": tag } : {};
    const answer = await fetch(address, { headers, cache: "no-store" });
    if (answer.status === 304) return null;
    const body = await answer.json();
    if (!answer.ok) {
      const problems = body.error.problems.map((problem) => problem.message);
      throw new Error(problems.length > 0 ? problems.join("; ") : body.error.message);
    }
    last = address;
    tag = answer.headers.get("ETag");
    return body;
  };
}

export function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

export function makeSvg(name, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

export function loadStyle(name) {
  const href = new URL(name, import.meta.url).href;
  if (document.querySelector(`link[href="${href}"]`) === null) {
    document.head.append(make("link", { rel: "stylesheet", href }));
  }
}
