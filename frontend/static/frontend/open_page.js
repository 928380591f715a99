// What every page does that stays true while it is open: it shows how the line to the server is, and draws a part of
// itself anew.

import { Line } from "./line.js";
import { enliven } from "./page.js";
import { clock } from "./time.js";

const LOST_AFTER = 2_000; // a short interruption alarms nobody
const CHIPS = { live: ["is-secure", "Live"], reconnecting: ["is-low", "Reconnecting…"], stale: ["is-unknown", "Stale since"] };

const main = document.querySelector("main");
export const one = (selector) => document.querySelector(selector);
export const announce = (text) => { one("#announce").textContent = text; };

export function write(element, text) {
  if (element.textContent !== text) element.textContent = text; // else a screen reader would say it again
}

// --- the line -------------------------------------------------------------------------------------

let lostSince = 0;

export function connect(news, query = "") {
  const { socket, poll } = main.dataset;
  const address = new URL(socket + query, location.href.replace(/^http/, "ws")).href;
  return new Line(address, poll + query, { news, state: lineState, shutOut });
}

function lineState(name, since) {
  const [colour, words] = CHIPS[name];
  setChip(colour, name === "stale" ? `${words} ${clock(since)}` : words);
  lostSince = name === "live" ? 0 : lostSince || Date.now();
  one("#lost").hidden = !lostSince || Date.now() - lostSince < LOST_AFTER;
  if (one("#lost").hidden) return;
  write(one("#lost").lastElementChild, name === "stale"
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
  const back = encodeURIComponent(location.pathname + location.search);
  const link = Object.assign(document.createElement("a"), { href: `${main.dataset.signIn}?next=${back}` });
  link.textContent = "Sign in";
  one("#lost").lastElementChild.replaceChildren(`${words} `, link);
  one("#lost").hidden = false;
  setChip("is-unknown", `Stale since ${clock(Date.now())}`);
}

// --- a part of the page, anew -----------------------------------------------------------------------

export class Part {
  // drawn(before): called once it is drawn, with what stood there before; fallback(): what gets the focus if what had it is gone
  constructor(selector, drawn, fallback = () => null) {
    Object.assign(this, { selector, drawn, fallback });
    this.owed = false; // it could not be fetched: the next news tries again
    this.fetching = null;
  }

  refresh() {
    this.owed = true;
    this.fetching ??= this.fetch().catch(() => {}).finally(() => { this.fetching = null; });
  }

  async fetch() {
    this.owed = false;
    let answer;
    try {
      answer = await fetch(location.href, { headers: { Accept: "text/html" } });
      if (!answer.ok) throw new Error(answer.status);
    } catch (error) {
      this.owed = true;
      throw error;
    }
    if (answer.redirected) return location.reload(); // signed out meanwhile
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const before = one(this.selector);
    const fresh = document.adoptNode(page.querySelector(this.selector));
    const focus = before.contains(document.activeElement) ? mark(document.activeElement) : null;
    for (const open of before.querySelectorAll("details[open][id]")) fresh.querySelector(`#${open.id}`)?.setAttribute("open", "");
    for (const field of before.querySelectorAll("input[id]")) keep(field, fresh.querySelector(`#${field.id}`));
    before.replaceWith(fresh);
    document.title = page.title;
    window.htmx?.process(fresh);
    enliven(fresh);
    this.drawn(before);
    if (focus !== null) ((focus && fresh.querySelector(focus)) || this.fallback() || main).focus();
    if (this.owed) await this.fetch();
  }
}

// How to find it again: by its id, or by where it leads. "" if it has neither.
function mark({ id, attributes: { href } }) {
  return id ? `#${CSS.escape(id)}` : href ? `[href="${CSS.escape(href.value)}"]` : "";
}

// What was ticked or typed since the page came.
function keep(field, fresh) {
  if (fresh && field.checked !== field.defaultChecked) fresh.checked = field.checked;
  if (fresh && field.type !== "checkbox" && field.value !== field.defaultValue) fresh.value = field.value;
}
