// What every page does: times, copy buttons, and results that htmx has swapped in.

import { moment, tellTimes } from "./time.js";

export function enliven(within = document) {
  tellTimes(within);
  if (!navigator.clipboard) return; // a browser without it, or a page that did not come over HTTPS or from this machine
  for (const element of within.querySelectorAll("[data-copy], [data-with-copy]")) element.hidden = false;
}

async function copy(button) {
  await navigator.clipboard.writeText(button.dataset.copy);
  say(button, "Copied");
  document.querySelector("#announce").textContent = "Copied";
}

function say(button, words) {
  button.dataset.label ??= button.textContent;
  button.textContent = words;
  setTimeout(() => { button.textContent = button.dataset.label; }, 1500);
}

document.addEventListener("click", (event) => {
  const button = event.target.closest?.("[data-copy]");
  if (button) copy(button).catch(() => say(button, "Not allowed"));
});

document.addEventListener("htmx:afterSettle", () => enliven());
document.addEventListener("htmx:beforeSwap", ({ detail }) => {
  const { xhr, pathInfo, target } = detail;
  const asked = new URL(pathInfo.finalRequestPath, location.href).pathname;
  if (!xhr.responseURL || new URL(xhr.responseURL).pathname === asked) return;
  detail.shouldSwap = false; // signed out meanwhile: the answer is the sign-in page
  if (document.querySelector("[data-unsaved]")) target.textContent = "You are signed out. Sign in in another tab, then go on here: nothing is lost.";
  else location.reload();
});

document.addEventListener("submit", ({ target: { elements } }) => {
  if (elements.next) elements.next.value = location.pathname + location.search; // htmx may have moved on since
});

// On paper there are no fields and no address bar: a line says when it was printed, how it is filtered, and where from.
addEventListener("beforeprint", () => {
  const used = ({ labels, type, checked, value }) => labels?.length && (type === "checkbox" ? checked : value);
  const inWords = ({ labels: [{ textContent: label }], type, selectedOptions, value }) =>
    type === "checkbox" ? label : `${label}: ${selectedOptions?.[0].text ?? value}`;
  const filters = [...document.querySelectorAll("main .search :is(input, select)")].filter(used).map(inWords);
  document.querySelector(".printed").textContent = [moment(Date.now()), ...filters, location.href].join(" · ");
});

setInterval(tellTimes, 60_000);
document.addEventListener("visibilitychange", () => tellTimes());
const zone = document.querySelector("[data-time-zone]");
if (zone) zone.textContent = Intl.DateTimeFormat().resolvedOptions().timeZone;
enliven();
