// Shortcuts for who would rather type. The dialog lists them, and turns them off and on; where g and a letter lead, the
// links of the navigation say.

const SOON = 1500; // ms in which the letter follows g
const OWN_KEYS = "input:not([type=checkbox], [type=radio]), textarea, select, [contenteditable], [data-own-keys]";

const dialog = document.querySelector("#keys");
const wanted = dialog.querySelector("[name=keys]");
const links = [...document.querySelectorAll("[data-key]")];
const shown = (selector, within = document) => [...within.querySelectorAll(selector)].filter((each) => each.checkVisibility());
const row = () => document.activeElement.closest("main tbody tr");
let gone; // when g was pressed

const KEYS = {
  "/": find,
  "?": () => dialog.showModal(),
  j: () => step(1),
  k: () => step(-1),
  x: () => row()?.querySelector("[type=checkbox]")?.click(),
  g: (event) => { gone = event.timeStamp; },
};

function find() {
  const field = shown("main [type=search]")[0] ?? document.querySelector("#host[list]");
  field?.focus();
  field?.select();
}

function step(by) {
  const rows = shown("main tbody tr");
  const at = rows.indexOf(row());
  const next = at >= 0 ? rows[at + by] : rows.at(by > 0 ? 0 : -1);
  if (!next) return;
  const stop = shown("a", next)[0] ?? shown("button", next)[0] ?? next;
  if (stop === next) next.tabIndex = -1; // a row with nothing to open
  stop.focus();
}

function key(event) {
  if (!wanted.checked || dialog.open || event.defaultPrevented || event.isComposing) return;
  if (event.ctrlKey || event.altKey || event.metaKey || event.target.closest(OWN_KEYS)) return;
  const link = event.timeStamp - gone < SOON && links.find((each) => each.dataset.key === event.key);
  const act = link ? () => link.click() : KEYS[event.key];
  if (event.key !== "Shift") gone = undefined;
  if (!act) return;
  event.preventDefault();
  act(event);
}

function list() {
  for (const link of links) {
    const line = dialog.querySelector("template").content.cloneNode(true);
    line.querySelector("[data-letter]").textContent = link.dataset.key;
    line.querySelector("dd").textContent = link.dataset.leads;
    dialog.querySelector("dl").append(line);
  }
}

async function keep() {
  const { action } = wanted.form;
  const answer = await fetch(action, { method: "POST", body: new FormData(wanted.form) }).catch(() => ({ ok: false }));
  dialog.querySelector("[role=alert]").hidden = answer.ok;
  if (!answer.ok) wanted.checked = !wanted.checked;
}

list();
document.addEventListener("keydown", key);
wanted.addEventListener("change", keep);
const opener = document.querySelector("#show-keys");
opener.addEventListener("click", () => dialog.showModal());
opener.hidden = false;
