// Keeps relative times true and shows exact ones in the reader's own time zone. The words are those of words.py.

const parts = { day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit" };
const exact = new Intl.DateTimeFormat("en-GB", parts);
const exactWithZone = new Intl.DateTimeFormat("en-GB", { ...parts, timeZoneName: "short" });
const hourAndMinute = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });

export const clock = (date) => hourAndMinute.format(date);
export const moment = (date) => exactWithZone.format(date);

export function distance(date, now = Date.now()) {
  const seconds = (now - date) / 1000;
  if (Math.abs(seconds) < 45) return seconds >= 0 ? "just now" : "in a moment";
  return seconds > 0 ? `${span(seconds)} ago` : `in ${span(-seconds)}`;
}

function span(seconds) {
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${Math.max(minutes, 1)} min`;
  return minutes < 72 * 60 ? `${Math.floor(minutes / 60)} h` : `${Math.floor(minutes / 1440)} days`;
}

const words = { ago: distance, at: (date) => exact.format(date), age: (date) => span((Date.now() - date) / 1000) };

export function tellTimes(within = document) {
  for (const element of within.querySelectorAll("time[data-time]")) {
    const date = new Date(element.dateTime);
    const text = words[element.dataset.time](date);
    if (element.textContent !== text) element.textContent = text;
    element.title = moment(date);
  }
}
