// Starts what a page needs: the contract is in p3s/server/monitor/__init__.py. Pages work without all of this.
import { follow } from "./live.js";
import { showTimes } from "./times.js";

// Drawings load what they draw with only where there is something to draw.
const PLACES = {
  dag: () => import("./dag.js"),
  log: () => import("./log.js"),
  plot: () => import("./plots.js"),
  timeline: () => import("./timeline.js"),
};

// Element to the function that asks again for what it shows.
const drawn = new Map();

async function attach(kind, element) {
  drawn.set(element, () => {});
  const { show } = await PLACES[kind]();
  drawn.set(element, show(element));
}

function attachAll() {
  for (const kind of Object.keys(PLACES)) {
    for (const element of document.querySelectorAll(`[data-${kind}]`)) {
      if (!drawn.has(element)) attach(kind, element);
    }
  }
  for (const element of drawn.keys()) {
    if (!element.isConnected) drawn.delete(element);
  }
  showTimes();
}

attachAll();
follow(attachAll, () => {
  for (const refresh of drawn.values()) refresh();
});
setInterval(showTimes, 1000);
