// The page of feeds while something is read: how far it is, and the table anew when a step begins or ends.

import { Line } from "./line.js";
import { enliven } from "./page.js";
import { clock } from "./time.js";

const NO_NEWS = 10_000; // a feed under way of which nothing is heard for so long is asked after
const LOST_AFTER = 2_000; // a short interruption alarms nobody
const WORDS = { queued: "Waiting", fetching: "Fetching", reading: "Reading", matching: "Matching" }; // as in feed_pages.py

const main = document.querySelector("main");
const { socket, poll, signIn } = main.dataset;
const one = (selector) => document.querySelector(selector);
const rowOf = (name) => one(`[data-feed="${CSS.escape(name)}"]`);
const running = () => document.querySelectorAll('[data-feed]:not([data-step=""])');

const heard = new Map(); // by feed: the last that was said of it while it is read
let lastNews = Date.now();
let lostSince = 0;
let fetching = null;
let owed = false;

const announce = (text) => { one("#announce").textContent = text; };
const count = (number) => number.toLocaleString("en").replaceAll(",", "\u202f");
const megabytes = (bytes) => `${(bytes / 1024 ** 2).toFixed(1)}\u00a0MB`;

// --- what the server says -----------------------------------------------------------------------

function news(message) {
  if (message.type === "feed") take(message.feed);
  else if (message.type === "snapshot") refresh(); // what was said before is not known, or there is no socket
  else if (owed || (running().length && Date.now() - lastNews > NO_NEWS)) {
    lastNews = Date.now();
    refresh();
  }
}

function take(feed) {
  lastNews = Date.now();
  const row = rowOf(feed.name);
  if (!row) return;
  if (feed.step) heard.set(feed.name, feed);
  else heard.delete(feed.name);
  if (feed.step && feed.step === row.dataset.step) show(row, feed);
  else refresh(); // a step begins, or all is over: the row in the database says so, and more
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

function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// --- the same page, anew ------------------------------------------------------------------------

function refresh() {
  owed = true;
  fetching ??= fetchTable().catch(() => {}).finally(() => { fetching = null; });
}

async function fetchTable() {
  owed = false;
  let answer;
  try {
    answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (!answer.ok) throw new Error(answer.status);
  } catch (error) {
    owed = true; // the next news tries again
    throw error;
  }
  if (answer.redirected) return location.reload(); // signed out meanwhile
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  const before = new Map([...running()].map((row) => [row.dataset.feed, row.dataset.step]));
  const shown = one("#feeds");
  const focus = shown.contains(document.activeElement) ? document.activeElement.id : null;
  const drawn = document.adoptNode(fresh.querySelector("#feeds"));
  for (const open of shown.querySelectorAll("details[open][id]")) drawn.querySelector(`#${open.id}`)?.setAttribute("open", "");
  shown.replaceWith(drawn);
  document.title = fresh.title;
  enliven(drawn);
  for (const feed of heard.values()) {
    const row = rowOf(feed.name);
    if (row?.dataset.step === feed.step) show(row, feed);
  }
  tellChanges(before);
  if (focus !== null) (document.getElementById(focus) ?? main).focus();
  if (owed) await fetchTable();
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

// --- how the line is ----------------------------------------------------------------------------

const chips = { live: ["is-secure", "Live"], reconnecting: ["is-low", "Reconnecting…"], stale: ["is-unknown", "Stale since"] };

function lineState(name, since) {
  const [colour, words] = chips[name];
  setChip(colour, name === "stale" ? `${words} ${clock(since)}` : words);
  lostSince = name === "live" ? 0 : lostSince || Date.now();
  one("#lost").hidden = !lostSince || Date.now() - lostSince < LOST_AFTER;
  write(one("#lost span"), name === "stale"
    ? `The server has not answered since ${clock(since)}: what is shown may be out of date.`
    : "Live updates are interrupted. Meanwhile this page asks every 5 seconds.");
}

function setChip(colour, words) {
  const chip = one("#live");
  chip.className = `chip ${colour}`;
  write(chip, words);
  chip.hidden = false;
}

function shutOut(words) {
  const link = Object.assign(document.createElement("a"), { href: `${signIn}?next=${encodeURIComponent(location.pathname)}` });
  link.textContent = "Sign in";
  one("#lost span").replaceChildren(`${words} `, link);
  one("#lost").hidden = false;
  setChip("is-unknown", `Stale since ${clock(Date.now())}`);
}

// ------------------------------------------------------------------------------------------------

new Line(new URL(socket, location.href.replace(/^http/, "ws")).href, poll, { news, state: lineState, shutOut });
