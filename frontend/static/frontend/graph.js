// The graph of a whole host. All of it is drawn into a bitmap that is larger than what shows; while somebody drags or
// zooms, that bitmap is moved, and drawn anew only when its edge comes into sight or the hand rests.

const COLUMN = 240; // units between two columns and two rows; at a scale of 1 a unit is a pixel
const ROW = 22;
const MARGIN = 0.5; // of the bitmap beyond each side of what shows, as a part of its width and height
const LEGIBLE = 0.5; // from this scale on there is room for names
const LARGEST = 2;
const REST = 120; // ms without a movement until the bitmap is drawn anew
const STATES = ["update", "open", "unknown", "clear"];
const GRAVE = ["update", "open"];
const SIZES = { update: 6, open: 6, unknown: 4.5, clear: 4 };
const FEW = 4000; // lines; more of them are drawn fainter
const NAMED = 40; // names at most that are shown beside what is searched or picked, where the scale is too small

const figure = document.querySelector("#graph");
const box = figure.querySelector(".graph");
const canvas = box.querySelector("canvas");
const says = box.querySelector("[data-says]");
const search = document.querySelector("#q");
const screen = canvas.getContext("2d");
const bitmap = document.createElement("canvas");
const view = { x: 0, y: 0, scale: 1 }; // the middle of what shows, in units
const drawn = { x: 0, y: 0, scale: 0 }; // of what the bitmap shows
let graph, colours, width, height, wide, high, ratio, whole, resting, asked; // wide and high: the bitmap
let picked = -1;
let under = -1; // the pointer
let matches = new Set();
let chosen = []; // what stands out: what is picked with its neighbours and ways, or what is searched
let ways = { nodes: [], pairs: [] }; // by which what is picked is pulled in: those that the page tells in words

// --- data ------------------------------------------------------------------------------------------

function read({ names, columns, rows, states, needs }) {
  const neededBy = names.map(() => []);
  needs.forEach((others, node) => { for (const other of others) neededBy[other].push(node); });
  const x = Float64Array.from(columns, (column) => column * COLUMN);
  const y = Float64Array.from(rows, (row) => (row / 2) * ROW);
  const ofState = Object.fromEntries(STATES.map((name) => [name, []]));
  names.forEach((_, node) => ofState[STATES[states[node]]].push(node));
  const edges = needs.reduce((sum, others) => sum + others.length, 0);
  return { names, x, y, states, needs, neededBy, ofState, edges, right: Math.max(...x), low: Math.max(...y) };
}

const state = (node) => STATES[graph.states[node]];

// --- where things are ------------------------------------------------------------------------------

const sx = (x, at = view, w = width) => (x - at.x) * at.scale + w / 2;
const sy = (y, at = view, h = height) => (y - at.y) * at.scale + h / 2;

function measure() {
  ({ clientWidth: width, clientHeight: height } = canvas);
  ratio = Math.min(devicePixelRatio, 2);
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  wide = width + 2 * Math.round(width * MARGIN);
  high = height + 2 * Math.round(height * MARGIN);
  bitmap.width = Math.round(wide * ratio);
  bitmap.height = Math.round(high * ratio);
  const names = COLUMN * 0.75; // of the last column, to its right
  const scale = Math.min(width / (graph.right + names), height / (2 * (graph.low + ROW)), 1);
  whole = { x: graph.right / 2 + COLUMN / 8, y: 0, scale };
}

function show(x, y, scale) {
  view.scale = Math.min(Math.max(scale, whole.scale), LARGEST);
  view.x = Math.min(Math.max(x, 0), Math.max(graph.right, whole.x));
  view.y = Math.min(Math.max(y, -graph.low), graph.low);
  soon();
}

const showAll = () => show(whole.x, whole.y, whole.scale);

function zoom(by, x = width / 2, y = height / 2) {
  const scale = Math.min(Math.max(view.scale * by, whole.scale), LARGEST);
  const moved = 1 / view.scale - 1 / scale; // what is at x, y stays there
  show(view.x + (x - width / 2) * moved, view.y + (y - height / 2) * moved, scale);
}

const lookAt = (node) => show(graph.x[node], graph.y[node], Math.max(view.scale, 0.8));

function nodeAt(x, y) {
  const reach = view.scale >= LEGIBLE ? COLUMN * view.scale * 0.7 : 14; // a name belongs to its mark
  let nearest = -1, least = Infinity;
  for (let node = 0; node < graph.names.length; node++) {
    const dx = x - sx(graph.x[node]), dy = Math.abs(y - sy(graph.y[node]));
    if (dx < -14 || dx > reach || dy > 14) continue;
    const far = Math.abs(dx) + dy * 3;
    if (far < least) [nearest, least] = [node, far];
  }
  return nearest;
}

// --- drawing ---------------------------------------------------------------------------------------

function readColours() {
  const { color, backgroundColor, borderTopColor, outlineColor } = getComputedStyle(box);
  colours = { text: color, surface: backgroundColor, line: borderTopColor, focus: outlineColor };
  for (const name of STATES) {
    colours[name] = getComputedStyle(document.querySelector(`#states [data-state="${name}"] .shape`)).color;
  }
}

function mark(pen, name, x, y, size) {
  if (name === "update") {
    const cut = size * 0.42;
    pen.moveTo(x - cut, y - size);
    pen.lineTo(x + cut, y - size);
    pen.lineTo(x + size, y - cut);
    pen.lineTo(x + size, y + cut);
    pen.lineTo(x + cut, y + size);
    pen.lineTo(x - cut, y + size);
    pen.lineTo(x - size, y + cut);
    pen.lineTo(x - size, y - cut);
    pen.closePath();
  } else if (name === "open") {
    pen.moveTo(x, y - size * 1.2);
    pen.lineTo(x + size * 1.2, y);
    pen.lineTo(x, y + size * 1.2);
    pen.lineTo(x - size * 1.2, y);
    pen.closePath();
  } else {
    pen.moveTo(x + size, y);
    pen.arc(x, y, size, 0, 2 * Math.PI);
  }
}

function marks(pen, nodes, name, at, w, h) {
  const size = SIZES[name] * Math.max(at.scale, GRAVE.includes(name) ? 0.7 : 0.4) ** 0.8;
  pen.beginPath();
  for (const node of nodes) {
    const x = sx(graph.x[node], at, w), y = sy(graph.y[node], at, h);
    if (x > -20 && x < w + 20 && y > -20 && y < h + 20) mark(pen, name, x, y, size);
  }
  pen.fillStyle = name === "unknown" ? colours.surface : colours[name];
  pen.fill();
  if (name === "clear" && at.scale < LEGIBLE) return; // no room for a rim
  pen.lineWidth = at.scale < LEGIBLE ? 1 : 1.5;
  pen.strokeStyle = name === "unknown" ? colours[name] : colours.surface;
  pen.stroke();
}

function label(pen, node, at, w, h) {
  const x = sx(graph.x[node], at, w) + 11, y = sy(graph.y[node], at, h) + 4;
  const room = COLUMN * at.scale - 26;
  if (x < -room || x > w || y < -10 || y > h + 10) return;
  const letters = Math.floor(room / 6.7);
  const name = graph.names[node];
  pen.fillText(name.length > letters ? `${name.slice(0, letters - 1)}…` : name, x, y);
}

function edges(pen, pairs, at, w, h) {
  pen.beginPath();
  for (const [from, to] of pairs) {
    const x = sx(graph.x[from], at, w), y = sy(graph.y[from], at, h);
    const x2 = sx(graph.x[to], at, w), y2 = sy(graph.y[to], at, h);
    if (Math.max(x, x2) < 0 || Math.min(x, x2) > w || Math.max(y, y2) < 0 || Math.min(y, y2) > h) continue;
    pen.moveTo(x, y);
    pen.lineTo(x2, y2);
  }
  pen.stroke();
}

function* allPairs() {
  for (let node = 0; node < graph.needs.length; node++) for (const other of graph.needs[node]) yield [node, other];
}

function drawBitmap() {
  const pen = bitmap.getContext("2d", { alpha: false });
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.fillStyle = colours.surface;
  pen.fillRect(0, 0, wide, high);
  pen.globalAlpha = Math.min((0.05 + view.scale * 0.3) * (graph.edges < FEW ? 2 : 1), 0.35);
  pen.strokeStyle = colours.line;
  pen.lineWidth = 0.7;
  edges(pen, allPairs(), view, wide, high);
  pen.globalAlpha = 1;
  for (const name of [...STATES].reverse()) marks(pen, graph.ofState[name], name, view, wide, high);
  if (view.scale >= LEGIBLE) {
    write(pen);
    for (let node = 0; node < graph.names.length; node++) label(pen, node, view, wide, high);
  }
  Object.assign(drawn, view);
}

function write(pen) {
  pen.font = "12px system-ui, sans-serif";
  pen.fillStyle = colours.text;
}

// What is picked, searched or pointed at stands out; all else fades.
function drawOver() {
  if (chosen.length) {
    screen.globalAlpha = 0.7;
    screen.fillStyle = colours.surface;
    screen.fillRect(0, 0, width, height);
    screen.globalAlpha = 1;
  }
  if (picked >= 0) {
    screen.strokeStyle = colours.focus;
    screen.lineWidth = 1;
    screen.globalAlpha = chosen.length > 100 ? 0.25 : 0.6;
    edges(screen, graph.needs[picked].map((other) => [picked, other]), view, width, height);
    edges(screen, graph.neededBy[picked].map((other) => [other, picked]), view, width, height);
    screen.globalAlpha = 1;
    screen.lineWidth = view.scale >= LEGIBLE ? 3 : 2;
    edges(screen, ways.pairs, view, width, height);
  }
  for (const name of [...STATES].reverse()) {
    marks(screen, chosen.filter((node) => state(node) === name), name, view, width, height);
  }
  rings([...matches]);
  frames(ways.nodes);
  if (picked >= 0) rings([picked], 3);
  write(screen);
  const few = (nodes) => (view.scale >= LEGIBLE || nodes.length <= NAMED ? nodes : []);
  const named = picked >= 0 ? [picked, ...few(ways.nodes), ...few(chosen)] : few(chosen);
  for (const node of new Set([...named, ...(under >= 0 ? [under] : [])])) plate(node);
}

function rings(nodes, thick = 1.5) {
  screen.beginPath();
  for (const node of nodes) mark(screen, "clear", sx(graph.x[node]), sy(graph.y[node]), 9);
  screen.strokeStyle = colours.focus;
  screen.lineWidth = thick;
  screen.stroke();
}

function frames(nodes) {
  const half = view.scale >= LEGIBLE ? 9 : 6;
  screen.beginPath();
  for (const node of nodes) screen.rect(sx(graph.x[node]) - half, sy(graph.y[node]) - half, 2 * half, 2 * half);
  screen.strokeStyle = colours.focus;
  screen.lineWidth = 2;
  screen.stroke();
}

function plate(node) { // a name that stays legible on whatever lies below it, and inside the frame
  const name = graph.names[node], mark = sx(graph.x[node]), y = sy(graph.y[node]) + 4;
  if (mark < -20 || mark > width + 20) return;
  const long = screen.measureText(name).width;
  const x = mark + 11 + long < width ? mark + 11 : mark - 11 - long;
  screen.lineWidth = 4;
  screen.lineJoin = "round";
  screen.strokeStyle = colours.surface;
  screen.strokeText(name, x, y);
  screen.fillText(name, x, y);
}

const wholePixel = (number) => Math.round(number * ratio) / ratio; // between two a bitmap blurs

function paint() {
  asked = 0;
  const by = view.scale / drawn.scale;
  const w = wide * by, h = high * by;
  const left = wholePixel(sx(drawn.x) - w / 2), top = wholePixel(sy(drawn.y) - h / 2);
  const outside = left > 0 || top > 0 || left + w < width || top + h < height;
  if (!drawn.scale || (outside && by === 1)) {
    drawBitmap();
    return paint();
  }
  screen.setTransform(ratio, 0, 0, ratio, 0, 0);
  if (outside) {
    screen.fillStyle = colours.surface;
    screen.fillRect(0, 0, width, height);
  }
  screen.drawImage(bitmap, left, top, w, h);
  drawOver();
  clearTimeout(resting);
  if (by !== 1 || view.x !== drawn.x || view.y !== drawn.y) resting = setTimeout(anew, REST);
}

function soon() {
  asked ||= requestAnimationFrame(paint);
}

function anew() {
  drawn.scale = 0;
  soon();
}

// --- picking and searching -------------------------------------------------------------------------

function choose() {
  const near = picked >= 0 ? [picked, ...graph.needs[picked], ...graph.neededBy[picked], ...ways.nodes] : matches;
  chosen = [...new Set(near)];
  soon();
}

function readWays() {
  const told = document.querySelector("#picked");
  const chains = picked >= 0 && told.dataset.node === graph.names[picked] ? told.querySelectorAll(".chains li") : [];
  const ofChain = (chain) => Array.from(chain.querySelectorAll("a, strong"), ({ textContent }) => graph.names.indexOf(textContent));
  const found = Array.from(chains, ofChain);
  ways = {
    nodes: [...new Set(found.flatMap((nodes) => nodes.slice(0, -1)))], // what is picked has its ring
    pairs: found.flatMap((nodes) => nodes.slice(1).map((node, at) => [nodes[at], node])),
  };
  choose();
}

function pick(node) {
  if (node === picked) return;
  picked = node;
  readWays(); // of none yet
  const field = search.form.elements.node; // so that a search that is under way keeps it
  field.value = graph.names[node] ?? "";
  field.disabled = node < 0;
  const address = new URL(location);
  for (const { name, value } of [field, search]) {
    if (value) address.searchParams.set(name, value);
    else address.searchParams.delete(name);
  }
  const path = address.pathname + address.search;
  const swaps = { target: "#picked", select: "#picked", selectOOB: "#table", swap: "outerHTML" };
  window.htmx.ajax("GET", path, { ...swaps, push: path });
  const { needs, neededBy, names } = graph;
  document.querySelector("#announce").textContent =
    node < 0 ? "No package is picked" : `${names[node]} is picked: needed by ${neededBy[node].length}, needs ${needs[node].length}`;
}

const typed = () => search.value.trim().toLowerCase();

function find() { // what the list shows
  const q = typed(), wanted = new URLSearchParams(location.search).get("state");
  const fits = (node) => graph.names[node].toLowerCase().includes(q) && (!wanted || state(node) === wanted);
  matches = new Set(q || wanted ? [...graph.names.keys()].filter(fits) : []);
  choose();
}

function pickFound(event) {
  const q = typed();
  if (!q || !matches.size) return;
  event.preventDefault();
  event.stopImmediatePropagation(); // htmx searches as one types
  const far = (node) => graph.names[node].length + (graph.names[node].startsWith(q) ? 0 : 1000);
  const node = [...matches].reduce((best, other) => (far(other) < far(best) ? other : best));
  pick(node);
  lookAt(node);
}

// --- hands -----------------------------------------------------------------------------------------

const pointers = new Map();
let dragged = false;

const between = () => {
  const [one, other] = [...pointers.values()];
  return { x: (one.x + other.x) / 2, y: (one.y + other.y) / 2, far: Math.hypot(one.x - other.x, one.y - other.y) };
};

const place = (event) => {
  const { left, top } = canvas.getBoundingClientRect();
  return { x: event.clientX - left, y: event.clientY - top };
};

function down(event) {
  if (event.button) return;
  if (event.isPrimary) pointers.clear(); // a first finger: of others a busy page has missed the end
  if (!pointers.size) dragged = false;
  pointers.set(event.pointerId, place(event));
  canvas.setPointerCapture(event.pointerId);
}

function move(event) {
  const here = place(event);
  const before = pointers.get(event.pointerId);
  if (!before) {
    const node = nodeAt(here.x, here.y);
    if (node !== under) { under = node; soon(); }
    canvas.classList.toggle("on-a-package", node >= 0);
    return;
  }
  if (!dragged && pointers.size === 1 && Math.hypot(here.x - before.x, here.y - before.y) < 4) return;
  dragged = true;
  under = -1;
  if (pointers.size === 1) {
    pointers.set(event.pointerId, here);
    show(view.x - (here.x - before.x) / view.scale, view.y - (here.y - before.y) / view.scale, view.scale);
  } else if (pointers.size === 2) {
    const then = between();
    pointers.set(event.pointerId, here);
    const now = between();
    show(view.x - (now.x - then.x) / view.scale, view.y - (now.y - then.y) / view.scale, view.scale);
    zoom(now.far / then.far, now.x, now.y);
  }
}

function up(event) {
  if (!pointers.delete(event.pointerId) || dragged || event.type === "pointercancel") return;
  const { x, y } = place(event);
  pick(nodeAt(x, y));
}

function wheel(event) {
  const { x, y } = place(event);
  const by = Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.002));
  if (by < 1 && view.scale <= whole.scale) return; // all of it shows: the page may scroll on
  event.preventDefault();
  zoom(by, x, y);
}

const STEP = 80; // pixels
const KEYS = {
  ArrowLeft: () => show(view.x - STEP / view.scale, view.y, view.scale),
  ArrowRight: () => show(view.x + STEP / view.scale, view.y, view.scale),
  ArrowUp: () => show(view.x, view.y - STEP / view.scale, view.scale),
  ArrowDown: () => show(view.x, view.y + STEP / view.scale, view.scale),
  "+": () => zoom(1.5),
  "=": () => zoom(1.5),
  "-": () => zoom(1 / 1.5),
  0: showAll,
  Escape: () => pick(-1),
};

function key(event) {
  const act = event.ctrlKey || event.metaKey || event.altKey ? undefined : KEYS[event.key];
  if (!act) return;
  event.preventDefault();
  act();
}

function listen() {
  canvas.addEventListener("pointerdown", down);
  canvas.addEventListener("pointermove", move);
  canvas.addEventListener("pointerup", up);
  canvas.addEventListener("pointercancel", up);
  canvas.addEventListener("pointerleave", () => { under = -1; soon(); });
  canvas.addEventListener("wheel", wheel, { passive: false });
  box.addEventListener("keydown", key);
  figure.querySelector("[data-zoom]").hidden = false;
  for (const button of figure.querySelectorAll("[data-zoom-by]")) {
    const by = Number(button.dataset.zoomBy);
    button.addEventListener("click", () => (by ? zoom(by) : showAll()));
  }
  document.addEventListener("htmx:afterSwap", readWays);
  search.addEventListener("input", find);
  search.form.addEventListener("submit", pickFound, { capture: true });
  new ResizeObserver(resized).observe(box);
  for (const query of ["(prefers-color-scheme: dark)", "print"]) matchMedia(query).addEventListener("change", recoloured);
}

function recoloured() { // at once: paper does not wait for a frame
  readColours();
  drawn.scale = 0;
  paint();
}

function resized() {
  if (!canvas.clientWidth || (canvas.clientWidth === width && canvas.clientHeight === height)) return;
  const all = view.scale === whole.scale;
  measure();
  if (all) showAll();
  anew();
}

async function begin() {
  const answer = await fetch(figure.dataset.address);
  if (!answer.ok) throw new Error(answer.status);
  graph = read(await answer.json());
  readColours();
  measure();
  showAll();
  find();
  picked = graph.names.indexOf(document.querySelector("#picked").dataset.node);
  if (picked >= 0) lookAt(picked);
  readWays();
  paint();
  says.hidden = true;
  listen();
}

says.textContent = "Drawing…";
begin().catch((error) => {
  says.textContent = "The picture could not be drawn: what it shows did not arrive. Reload the page; the list below says the same.";
  throw error;
});
