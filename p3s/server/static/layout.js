// A worker that lays out graphs with Graphviz. It is the one place where WebAssembly is admitted.
import { Graphviz } from "./built/graphviz.js";

const loaded = Graphviz.load();

self.onmessage = async ({ data: { id, dot } }) => {
  try {
    const graphviz = await loaded;
    self.postMessage({ id, plain: graphviz.layout(dot, "plain", "dot") });
  } catch (error) {
    self.postMessage({ id, error: String(error) });
  }
};
