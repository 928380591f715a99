// The page of feeds while something is read: how far it is, and the table anew when a step begins or ends.

import { announce, connect, one, Part, write } from "./open_page.js";

const NO_NEWS = 10_000; // a feed under way of which nothing is heard for so long is asked after
const WORDS = { queued: "Waiting", fetching: "Fetching", reading: "Reading", matching: "Matching" }; // as in feed_pages.py

const rowOf = (name) => one(`[data-feed="${CSS.escape(name)}"]`);
const running = (within = document) => within.querySelectorAll('[data-feed]:not([data-step=""])');

const heard = new Map(); // by feed: the last that was said of it while it is read
let lastNews = Date.now();

const table = new Part("#feeds", drawn);
const count = (number) => number.toLocaleString("en").replaceAll(",", "\u202f");
const megabytes = (bytes) => `${(bytes / 1024 ** 2).toFixed(1)}\u00a0MB`;

// --- what the server says -----------------------------------------------------------------------

function news(message) {
  if (message.type === "feed") take(message.feed);
  else if (message.type === "snapshot") table.refresh(); // what was said before is not known, or there is no socket
  else if (table.owed || (running().length && Date.now() - lastNews > NO_NEWS)) {
    lastNews = Date.now();
    table.refresh();
  }
}

function take(feed) {
  lastNews = Date.now();
  const row = rowOf(feed.name);
  if (!row) return;
  if (feed.step) heard.set(feed.name, feed);
  else heard.delete(feed.name);
  if (feed.step && feed.step === row.dataset.step) show(row, feed);
  else table.refresh(); // a step begins, or all is over: the row in the database says so, and more
}

function show(row, { step, done, total }) {
  const field = (name) => row.querySelector(`[data-field="${name}"]`);
  const bar = field("progress");
  if (total) Object.assign(bar, { max: total, value: Math.min(done, total) });
  else bar.removeAttribute("value");
  bar.hidden = false;
  write(field("step"), WORDS[step] ?? step);
  const words = amount(step, done, total);
  if (words) write(field("amount"), words);
  field("amount").hidden = false;
}

function amount(step, done, total) {
  if (!done && !total) return "";
  if (step === "fetching") return total ? `${megabytes(done)} of ${megabytes(total)}` : megabytes(done);
  if (step === "matching") return `${count(done)} of ${count(total ?? done)} package versions`;
  return `${count(done)} rows`;
}

// --- the table, anew ------------------------------------------------------------------------------

function drawn(before) {
  for (const feed of heard.values()) {
    const row = rowOf(feed.name);
    if (row?.dataset.step === feed.step) show(row, feed);
  }
  tellChanges(new Set([...running(before)].map((row) => row.dataset.feed)));
}

function tellChanges(before) {
  const said = [];
  for (const row of document.querySelectorAll("[data-feed]")) {
    const { feed, step, title } = row.dataset;
    if (before.has(feed) && !step) said.push("failed" in row.dataset ? `${title} could not be read.` : `${title} has been read.`);
    else if (!before.has(feed) && step) said.push(`${title} is being read.`);
  }
  if (said.length) announce(said.join(" "));
}

// ------------------------------------------------------------------------------------------------

connect(news);
