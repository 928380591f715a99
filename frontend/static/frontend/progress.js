// The card of the scan under way. The server draws it too, from the same template: a reload shows the same.

import { distance } from "./time.js";

const PATIENCE = 10_000; // a queued scan that waits longer gets a hint
const card = () => document.querySelector("[data-progress]");

export function show(scan, steps) {
  if (card()?.dataset.progress !== String(scan.id)) begin(scan);
  const { step, percent, detail } = scan.progress;
  const queued = scan.state === "queued";
  write("step", queued ? "Waiting for a worker" : step || "Starting");
  write("number", steps.includes(step) ? `Step ${steps.indexOf(step) + 1} of ${steps.length}` : "");
  write("detail", detail ? ` · ${detail}` : "");
  write("percent", queued ? "" : `${percent} %`);
  const bar = card().querySelector("progress");
  if (queued) bar.removeAttribute("value");
  else bar.value = percent;
  if (!queued) card().querySelector("[data-field=hint]").hidden = true;
}

function begin(scan) {
  const fresh = document.querySelector("#progress-template").content.cloneNode(true).firstElementChild;
  fresh.dataset.progress = scan.id;
  fresh.dataset.started = scan.scan_date;
  fresh.querySelector("form").action = `${scan.url}cancel/`;
  document.querySelector("#progress").replaceChildren(fresh);
  write("by", scan.requested_by ?? `the ${scan.trigger}`);
  write("since", distance(new Date(scan.scan_date)));
}

function write(field, text) {
  const element = card().querySelector(`[data-field="${field}"]`);
  if (element.textContent !== text) element.textContent = text;
}

export function hintWhenStuck() {
  const waiting = card();
  if (!waiting || waiting.querySelector("progress").hasAttribute("value")) return;
  waiting.querySelector("[data-field=hint]").hidden = Date.now() - new Date(waiting.dataset.started) < PATIENCE;
}
