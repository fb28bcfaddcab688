// The server's clock, as its answers tell it; a viewer's own may be minutes off.
let offset = 0;

export function setClock(answer) {
  const told = Date.parse(answer.headers.get("Date") ?? "");
  // The header counts whole seconds: less than two is not known to be a difference.
  if (!Number.isNaN(told)) offset = Math.abs(told - Date.now()) > 2000 ? told - Date.now() : 0;
}

// Seconds since 1970, as the server writes times.
export function readClock() {
  return (Date.now() + offset) / 1000;
}
