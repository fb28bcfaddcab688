// Times in the viewer's zone, or as the distance from now; the exact UTC is shown on hover.
import { readClock } from "./clock.js";

const two = (number) => String(number).padStart(2, "0");

export function formatTime(seconds) {
  const at = new Date(seconds * 1000);
  return (
    `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ` +
    `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`
  );
}

export function formatUtc(seconds) {
  return `${new Date(seconds * 1000).toISOString().slice(0, 19).replace("T", " ")} UTC`;
}

export function formatDuration(seconds) {
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  if (seconds < 100) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 100) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

function formatAge(age) {
  const size = Math.abs(age);
  if (size < 1) return "now";
  const text = size < 60 ? `${Math.floor(size)} s` : formatDuration(size);
  return age > 0 ? `${text} ago` : `in ${text}`;
}

export function showTimes() {
  const now = readClock();
  for (const element of document.querySelectorAll("time[datetime]")) {
    const seconds = Date.parse(element.dateTime) / 1000;
    if (Number.isNaN(seconds)) continue;
    const text = "age" in element.dataset ? formatAge(now - seconds) : formatTime(seconds);
    if (element.textContent !== text) element.textContent = text;
    const title = "age" in element.dataset ? `${formatTime(seconds)}, ${formatUtc(seconds)}` : formatUtc(seconds);
    if (element.title !== title) element.title = title;
  }
}
