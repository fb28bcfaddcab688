// What a payload prints, as it prints it. Asking marks the attempt as watched, so that its pilot sends more.
const PAUSE = 1000;
// Characters that are kept: the server keeps no more either.
const KEPT = 65536;

export function show(element) {
  let timer = 0;
  let address = "";

  const read = async () => {
    clearTimeout(timer);
    if (!element.isConnected || "final" in element.dataset) return;
    if (document.visibilityState === "visible") await ask();
    timer = setTimeout(read, PAUSE);
  };

  const ask = async () => {
    address = element.dataset.log;
    const next = Number(element.dataset.next || 0);
    let piece;
    try {
      const answer = await fetch(`${address}&offset=${next}&watch=1`, { cache: "no-store" });
      if (!answer.ok) return;
      piece = await answer.json();
    } catch {
      // The page itself says that the server is lost.
      return;
    }
    // The page may show another attempt by now.
    if (element.dataset.log !== address) return;
    append(element, piece, next);
  };

  read();
  document.addEventListener("visibilitychange", read);
  // A page that changed may show another attempt, which goes on where its text ends.
  return () => {
    if (element.dataset.log !== address && !("final" in element.dataset)) read();
  };
}

function append(element, piece, next) {
  const isAtEnd = element.scrollHeight - element.scrollTop - element.clientHeight < 24;
  if (piece.text !== "") {
    const gap = piece.offset > next ? "\n… (the server did not keep what stood here)\n" : "";
    element.textContent = (element.textContent + gap + piece.text).slice(-KEPT);
    if (isAtEnd) element.scrollTop = element.scrollHeight;
  }
  element.dataset.next = piece.next;
  if (piece.final) element.dataset.final = "";
}
