// The page: takes the state and its changes, and shows them. Nothing here decides anything.

import { Drawing } from "./drawing.js";
import { Strip } from "./strips.js";

const at = (id) => document.getElementById(id);
const root = document.documentElement;
const RECENT = 10; // seconds over which requests are counted

let state = null;
let drawing = null;
let strips = [];
let chosen = "";
let token = "";
let shown = -1; // the epoch of the lab that is drawn
let waiting = false;

function element(name, values = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(values)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// --- a lab that is new to this page

async function meet() {
  const { epoch } = state.lab;
  const answer = await fetch("lab.svg");
  if (!answer.ok || state.lab.epoch !== epoch) return;
  await document.fonts.ready;
  drawing = new Drawing(at("drawing"), await answer.text());
  const directors = Object.keys(state.lab.nodes).filter((node) => state.lab.nodes[node] === "director");
  at("strips").replaceChildren();
  strips = Object.entries(state.lab.services).map(
    ([name, service]) => new Strip(at("strips"), name, service, directors),
  );
  at("addresses").replaceChildren(...Object.keys(state.lab.instances).map(addressRow));
  at("servers").replaceChildren(...servers().map(serverRow));
  offer();
  root.dataset.epoch = shown = epoch;
  show();
}

function servers() {
  return Object.keys(state.lab.nodes).filter((node) => state.lab.nodes[node] === "server");
}

function cells(...classes) {
  return classes.map((name) => element("td", name ? { class: name } : {}));
}

function addressRow(instance) {
  const { address, network } = state.lab.instances[instance];
  const head = element("th", { scope: "row" }, address);
  head.title = `${instance} on ${network}`;
  return element("tr", { "data-row": instance }, head, ...cells("", "number", "number"));
}

function serverRow(server) {
  return element("tr", { "data-row": server }, element("th", { scope: "row" }, server), ...cells("", "number", "number"));
}

function put(cell, text, name = "") {
  if (cell.textContent !== text) cell.textContent = text;
  cell.classList.toggle("trouble", name === "trouble");
  cell.classList.toggle("elsewhere", name === "elsewhere");
}

// --- what is shown again and again

function show() {
  root.dataset.up = state.lab.up ? "yes" : "no";
  if (state.lab.epoch === 0) return verdict("wait", "waiting for the lab");
  at("name").textContent = state.lab.name;
  document.title = `${state.lab.name}: lab watch`;
  showVerdict();
  showLog();
  if (state.lab.epoch !== shown) return undefined;
  drawing.show(state);
  for (const strip of strips) strip.show(state);
  showAddresses();
  showServers();
  showCheck();
  const unseen = Object.entries(state).filter(([key, value]) => key.startsWith("unseen/") && value);
  at("unseen").textContent = unseen.map(([key, value]) => `${key.slice(7)}: ${value}`).join("; ");
  return undefined;
}

function verdict(kind, words) {
  const place = at("state");
  place.dataset.state = kind;
  if (place.textContent !== words) place.textContent = words;
}

function showVerdict() {
  if (!state.lab.up) return verdict("broken", "the lab is gone");
  const off = Object.keys(state.lab.nodes).filter((node) => state[`node/${node}`] === "off");
  const broken = [...new Set([...off.map((node) => `${node} is off`), ...state.broken])];
  if (broken.length) return verdict("broken", broken.length > 2 ? `${broken.length} things are broken` : broken.join(", "));
  const away = Object.entries(state.lab.instances).filter(([name, instance]) => {
    const holders = state[`holders/${name}`];
    return holders.length !== 1 || holders[0] !== instance.directors[0];
  });
  if (away.length) return verdict("wait", "not every address is at home");
  if (state.busy) return verdict("wait", "a change is at work");
  if (state.check && state.check.ok < state.check.all) return verdict("broken", "the checklist fails");
  return verdict("well", "all is well");
}

function showAddresses() {
  for (const row of at("addresses").children) {
    const name = row.dataset.row;
    const holders = state[`holders/${name}`];
    const [home] = state.lab.instances[name].directors;
    const away = holders.length === 1 && holders[0] !== home;
    const kind = holders.length === 1 ? (away ? "elsewhere" : "") : "trouble";
    const words = holders.length > 1 ? `${holders.join(" and ")}: split brain` : (holders[0] ?? "nobody");
    put(row.children[1], away ? `${words} (backup)` : words, kind);
    put(row.children[2], String((state[`beat/${name}`] ?? [0])[0]));
    put(row.children[3], String((state[`arp/${name}`] ?? [0])[0]));
  }
}

function showServers() {
  const now = Math.floor(state.clock);
  for (const row of at("servers").children) {
    const name = row.dataset.row;
    let answers = 0;
    for (const [key, value] of Object.entries(state)) {
      const age = key.startsWith("second/") ? now - value[0] : 0;
      if (age > 0 && age <= RECENT) answers += value[3][name] ?? 0;
    }
    const is = state[`node/${name}`];
    const rate = state[`server/${name}`];
    const idle = is === "running" && !rate && Object.keys(state).some((key) => key.startsWith("server/"));
    put(row.children[1], idle ? "in no table" : is, is === "running" && !idle ? "" : "trouble");
    put(row.children[2], rate ? rate.all.toFixed(1) : "–");
    put(row.children[3], (answers / RECENT).toFixed(1));
  }
}

function showCheck() {
  const { check } = state;
  if (!check || showCheck.last === check) return;
  showCheck.last = check;
  const well = check.ok === check.all;
  at("check").textContent = well ? `all ${check.all} checks pass` : `${check.all - check.ok} of ${check.all} checks fail`;
  at("check").className = well ? "well" : "trouble";
  at("bad").replaceChildren(
    ...check.bad.map((bad) => element("li", {}, `${bad.node}: ${bad.says}`, element("span", {}, bad.hint))),
  );
}

function showLog() {
  const lines = Object.entries(state).filter(([key]) => key.startsWith("line/"));
  const sorted = lines.map(([, line]) => line).sort((one, other) => other[0] - one[0]);
  const newest = sorted.length ? sorted[0][0] : -1;
  if (showLog.newest === newest && showLog.epoch === state.lab.epoch) return;
  showLog.newest = newest;
  showLog.epoch = state.lab.epoch;
  at("log").replaceChildren(
    ...sorted.map(([, seconds, text]) => {
      const time = new Date(seconds * 1000);
      return element("li", {}, element("time", { datetime: time.toISOString() }, time.toLocaleTimeString("en-GB")), text);
    }),
  );
}

// --- faults

function offer() {
  const nodes = Object.keys(state.lab.nodes);
  if (!nodes.includes(chosen)) [chosen] = nodes;
  at("nodes").replaceChildren(
    ...nodes.map((node, number) => {
      const key = number < 9 ? [" ", element("kbd", {}, String(number + 1))] : [];
      const made = element("button", { type: "button", "aria-pressed": node === chosen }, node, ...key);
      made.addEventListener("click", () => choose(node));
      return made;
    }),
  );
  const wanted = state.lab.buttons.filter((button) => button.node === chosen || button.node === "");
  at("buttons").replaceChildren(
    ...wanted.map((button) => {
      const made = element("button", { type: "button", title: button.does, "data-press": button.key }, button.words);
      made.disabled = !token;
      made.addEventListener("click", () => press(button.key));
      return made;
    }),
  );
}

function choose(node) {
  chosen = node;
  offer();
}

async function order(path, given, body = "") {
  const answer = await fetch(path, { method: "POST", headers: { "X-Lab-Token": given }, body });
  if (answer.status === 204) return {};
  const said = await answer.json();
  if (!answer.ok) throw new Error(said.error);
  return said;
}

async function press(key) {
  if (!token || waiting) return;
  waiting = true;
  at("answer").textContent = "…";
  try {
    at("answer").textContent = (await order("press", token, key)).done;
  } catch (error) {
    at("answer").textContent = error.message;
  }
  waiting = false;
}

at("lock").addEventListener("submit", async (event) => {
  event.preventDefault();
  const given = at("token").value;
  at("token").value = "";
  try {
    await order("unlock", given);
    token = given;
    at("lock").hidden = true;
    at("answer").textContent = "";
    offer();
  } catch (error) {
    at("answer").textContent = error.message;
  }
});

// --- views and keys

function toggle(id, name, on, off) {
  const value = root.dataset[name] === on ? off : on;
  root.dataset[name] = value;
  localStorage.setItem(name, value);
  at(id).setAttribute("aria-pressed", value === on);
}

function restoreViews() {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = localStorage.getItem("theme") ?? (dark ? "dark" : "light");
  root.dataset.view = localStorage.getItem("view") ?? "desk";
  at("dark").setAttribute("aria-pressed", root.dataset.theme === "dark");
  at("projector").setAttribute("aria-pressed", root.dataset.view === "projector");
}

const project = () => toggle("projector", "view", "projector", "desk");
const darken = () => toggle("dark", "theme", "dark", "light");
at("projector").addEventListener("click", project);
at("dark").addEventListener("click", darken);
at("help").addEventListener("click", () => at("keys").showModal());

const KEYS = {
  p: project,
  d: darken,
  t: () => at("token").focus(),
  h: () => press("heal"),
  "?": () => at("keys").showModal(),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input") || at("keys").open) return;
  const node = state?.lab.nodes ? Object.keys(state.lab.nodes)[Number(event.key) - 1] : undefined;
  const act = node ? () => choose(node) : KEYS[event.key.toLowerCase()];
  if (!act) return;
  event.preventDefault();
  act();
});

// --- the stream

restoreViews();
const stream = new EventSource("events");
stream.addEventListener("state", (event) => {
  state = JSON.parse(event.data);
  show();
  if (state.lab.epoch !== shown && state.lab.epoch > 0) meet();
});
stream.addEventListener("change", (event) => {
  Object.assign(state, JSON.parse(event.data));
  show();
});
stream.addEventListener("error", () => verdict("broken", "lab watch does not answer"));
