// Keeps the page true while it is open: progress as it goes, and the page's own results anew when a scan ends.

import { announce, connect, one, Part } from "./open_page.js";
import { hintWhenStuck, show } from "./progress.js";

const NO_NEWS = 10_000; // an active scan that says nothing for so long is asked after: its worker may be gone

const main = document.querySelector("main");
const { live: kind, host } = main.dataset;
const steps = main.dataset.steps.split("|");
const results = () => one("#results");
const known = (name) => Number(results().dataset[name]);

let lastScanNews = Date.now();
let quarter = 0;
let reached = 0; // how far the shown scan is: an answer may be older than what the socket has said meanwhile
let heard; // on the page of all hosts: which scans are under way, and each one's state

const shown = new Part("#results", () => setBusy(known("active") > 0), () => one("#run:enabled"));

// --- what the server says -----------------------------------------------------------------------

function news(message) {
  if (kind === "all") hearAll(message);
  else if (message.type === "snapshot") {
    const active = known("active");
    message.scans.forEach(take);
    if (active && !message.scans.some((scan) => scan.id === active)) shown.refresh();
  } else if (message.type === "scan") take(message.scan);
  if (shown.owed) shown.refresh();
}

function take(scan) {
  if (scan.host !== host || (kind === "scan" && scan.id !== known("active"))) return;
  lastScanNews = Date.now();
  if (!scan.progress) {
    if (scan.id === known("active") || scan.id > known("last")) ended(scan);
  } else if (scan.id > known("last")) goesOn(scan);
}

function hearAll({ type, scans, scan }) {
  if (type === "beat" || type === "feed") return;
  const before = JSON.stringify(heard);
  if (type === "snapshot") heard = {};
  for (const { id, state } of scans ?? [scan]) heard = { ...heard, [id]: state };
  if (JSON.stringify(heard) !== before) shown.refresh();
}

function goesOn(scan) {
  const { attempt, percent } = scan.progress;
  const far = 1000 * attempt + percent;
  if (scan.id === known("active") && far < reached) return;
  reached = far;
  if (scan.id !== known("active")) {
    results().dataset.active = scan.id;
    quarter = 0;
    announce(`A scan of ${host} has begun.`);
  }
  show(scan, steps);
  setBusy(true);
  document.title = `● ${percent} % – ${host} · Package scanner`;
  const now = Math.floor(percent / 25);
  if (now > quarter && now < 4) announce(`Scan: ${now * 25} %`);
  quarter = Math.max(quarter, now);
}

function ended(scan) {
  Object.assign(results().dataset, { active: 0, last: Math.max(scan.id, known("last")) });
  announce(inWords(scan));
  shown.refresh();
}

function inWords(scan) {
  if (scan.state === "failed") return `The scan of ${scan.host} failed. ${scan.error ?? ""}`;
  if (scan.state === "cancelled") return `The scan of ${scan.host} was cancelled.`;
  const least = scan.state === "partial" ? "at least " : "";
  return `The scan of ${scan.host} is done: ${least}${scan.security_updates ?? "an unknown number of"} security updates.`;
}

function setBusy(busy) {
  const form = one("#run-form");
  if (!form || !("mayRun" in form.dataset)) return;
  form.querySelector("button").disabled = busy;
  one("#run-reason").textContent = "A scan is under way.";
  one("#run-reason").hidden = !busy;
}

// --- Run Scan Now, Cancel -----------------------------------------------------------------------

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.id !== "run-form" && !("cancel" in form.dataset)) return;
  event.preventDefault();
  send(form);
});

async function send(form) {
  const button = form.querySelector("button");
  const label = button.textContent;
  const focused = button === document.activeElement;
  button.disabled = true;
  button.textContent = form.id === "run-form" ? "Starting…" : "Cancelling…";
  one("#refusal").hidden = true;
  const token = form.querySelector("[name=csrfmiddlewaretoken]").value;
  const headers = { Prefer: "respond-async", Accept: "application/json", "X-CSRFToken": token };
  try {
    const answer = await fetch(form.action, { method: "POST", body: new FormData(form), headers });
    const { message, scan_data: scan } = await answer.json();
    if (!answer.ok) throw new Error(answer.status === 401 ? "You are signed out: reload the page to sign in." : message);
    take(scan);
    if (focused) one("[data-progress]")?.focus(); // a disabled button would lose it
  } catch (error) {
    const words = error instanceof TypeError || error instanceof SyntaxError ? "The server does not answer. Nothing was changed; try again in a moment." : error.message;
    one("#refusal p").textContent = words;
    one("#refusal").hidden = false;
    button.disabled = false;
    button.textContent = label;
    if (focused) button.focus();
    line.poll();
  }
  if (form.id === "run-form") button.textContent = label;
}

// ------------------------------------------------------------------------------------------------

const line = connect(news, `?host=${encodeURIComponent(host)}`);
setBusy(known("active") > 0);
setInterval(() => {
  hintWhenStuck();
  if (known("active") && Date.now() - lastScanNews > NO_NEWS) {
    lastScanNews = Date.now();
    line.poll();
  }
}, 1000);
