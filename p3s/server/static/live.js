// Asks for the page's own address every two seconds and changes in place what differs.
import { readClock, setClock } from "./clock.js";

const PAUSE = 2000;
// A server that takes longer than this has been lost.
const PATIENCE = 8000;
// Drawings ask again when the page has changed, and at every fifth look.
const CALM = 5;

let morph = null;
let tag = null;
let heard = readClock();
let lost = "";
let looks = 0;

export async function follow(changed, looked) {
  const live = document.querySelector("#live[data-live]");
  if (live === null) return;
  try {
    morph = (await import("./built/morph.js")).Idiomorph.morph;
  } catch {
    console.info("the monitor was installed without its assets; pages do not change by themselves (make assets)");
    return;
  }
  let timer = 0;
  const look = async () => {
    clearTimeout(timer);
    if (document.visibilityState === "hidden") return;
    const isOver = await lookAgain(changed, looked);
    clearTimeout(timer);
    if (!isOver) timer = setTimeout(look, PAUSE);
  };
  document.addEventListener("visibilitychange", look);
  timer = setTimeout(look, PAUSE);
  setInterval(tellLoss, 1000);
}

async function lookAgain(changed, looked) {
  let answer, text;
  try {
    const headers = tag === null ? {} : { "If-None-Match": tag };
    answer = await fetch(location.href, { headers, cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
    text = await answer.text();
  } catch {
    lose("The server does not answer.");
    return false;
  }
  if (answer.status === 401 || answer.status === 403) {
    lose("The session has ended; load the page again to log in.");
    return true;
  }
  if (answer.status !== 304 && !answer.ok) {
    lose(answer.status === 404 ? "This is not there any more." : `The server answers with ${answer.status}.`);
    return false;
  }
  setClock(answer);
  heard = readClock();
  lose("");
  looks += 1;
  if (answer.status === 200) {
    if (!isBusy()) {
      swap(new DOMParser().parseFromString(text, "text/html"));
      tag = answer.headers.get("ETag");
      changed();
    }
    looked();
  } else if (looks % CALM === 0) {
    looked();
  }
  return false;
}

// What somebody is about to do is not taken out of their hands.
function isBusy() {
  for (const input of document.querySelectorAll("#live :is(input, select, textarea)")) {
    if (input.type === "hidden") continue;
    if (input.type === "checkbox" ? input.checked !== input.defaultChecked : input === document.activeElement) return true;
    if (input.tagName !== "SELECT" && input.type !== "checkbox" && input.value !== input.defaultValue) return true;
  }
  const selected = document.getSelection();
  return selected !== null && !selected.isCollapsed && document.getElementById("live").contains(selected.anchorNode);
}

function swap(fresh) {
  const live = document.getElementById("live");
  const next = fresh.getElementById("live");
  if (next === null) return;
  document.title = fresh.title;
  morph(live, next, {
    morphStyle: "outerHTML",
    callbacks: {
      beforeNodeMorphed: (old, made) => !(old instanceof Element && isKept(old, made)),
      // What was opened stays open.
      beforeAttributeUpdated: (name, node) => !(name === "open" && node.tagName === "DETAILS"),
    },
  });
}

function isKept(old, made) {
  if (old.hasAttribute("data-keep")) return true;
  if (old.hasAttribute("data-log")) return old.dataset.log === made.dataset?.log;
  // A time that says the same was already put into the viewer's zone.
  return old.tagName === "TIME" && old.dateTime === made.dateTime;
}

function lose(why) {
  lost = why;
  tellLoss();
}

function tellLoss() {
  document.documentElement.classList.toggle("lost", lost !== "");
  let note = document.getElementById("lost");
  if (lost === "") {
    note?.remove();
    return;
  }
  if (note === null) {
    note = document.createElement("p");
    note.id = "lost";
    note.setAttribute("role", "status");
    document.body.append(note);
  }
  const text = `${lost} What you see is ${Math.max(0, Math.round(readClock() - heard))} s old.`;
  if (note.textContent !== text) note.textContent = text;
}
