// The lab's own drawing, alive: what every piece stands for is written on it (data-…).

const SVG = "http://www.w3.org/2000/svg";
const WORDS = { carrier: "pulled", silent: "silent", multicast: "deaf" };
const calm = matchMedia("(prefers-reduced-motion: reduce)");

export function make(name, values = {}, text = "") {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(values)) made.setAttribute(key, value);
  if (text) made.textContent = text;
  return made;
}

function pulse(element, frames, milliseconds) {
  if (!calm.matches) element.animate(frames, { duration: milliseconds, easing: "ease-out" });
}

// A word in a filled box, around a point.
function note(x, y) {
  const made = make("g", { class: "note", visibility: "hidden" });
  made.append(make("rect", { y: y - 10, height: 19, rx: 9 }), make("text", { x, y: y + 4 }));
  return made;
}

function say(made, words) {
  const [box, text] = made.children;
  if (text.textContent === words) return;
  text.textContent = words;
  made.setAttribute("visibility", words ? "visible" : "hidden");
  const width = words.length * 8 + 14;
  box.setAttribute("x", Number(text.getAttribute("x")) - width / 2);
  box.setAttribute("width", width);
}

export class Drawing {
  constructor(place, text) {
    const parsed = new DOMParser().parseFromString(text, "image/svg+xml").documentElement;
    this.svg = document.importNode(parsed, true);
    this.svg.setAttribute("role", "group");
    this.svg.querySelector("title").textContent = "The lab, as it is now";
    place.replaceChildren(this.svg);
    this.crop();
    this.addresses = [...this.svg.querySelectorAll("[data-instance]")].map((text) => this.address(text));
    this.machines = [...this.svg.querySelectorAll("[data-box]")].map((box) => this.machine(box));
    this.wires = this.wiring();
  }

  // Without the heading and the legend of the drawing on paper: the page has its own.
  crop() {
    const [, , width] = this.svg.getAttribute("viewBox").split(" ").map(Number);
    const boxes = [...this.svg.querySelectorAll("rect[rx]")].map((box) => box.getBBox());
    const top = Math.min(...boxes.map((box) => box.y)) - 12;
    const bottom = Math.max(...boxes.map((box) => box.y + box.height)) + 12;
    this.svg.setAttribute("viewBox", `0 ${top} ${width} ${bottom - top}`);
    this.svg.removeAttribute("width");
    this.svg.removeAttribute("height");
  }

  address(text) {
    const { node, instance } = text.dataset;
    const { x, y, width, height } = text.getBBox();
    const group = make("g", { class: "address", role: "img", "data-node": node, "data-instance": instance });
    text.removeAttribute("data-instance");
    text.removeAttribute("data-node");
    text.replaceWith(group);
    const left = x - 8;
    const size = { x: left, y: y - 0.5, width: width + 16, height: Math.min(height, 18), rx: 8.5 };
    const beat = make("circle", { cx: left - 8, cy: y + height / 2 - 0.5, r: 4 });
    group.append(make("rect", size), text, beat);
    return { group, node, instance, pill: group.firstChild, beat, adverts: -1, arps: -1 };
  }

  machine(box) {
    const name = box.dataset.box;
    const [x, y, width, height] = ["x", "y", "width", "height"].map((key) => Number(box.getAttribute(key)));
    box.classList.add("machine");
    const badge = note(x + width - 44, y + height);
    const rate = make("text", { class: "rate", x: x + width / 2, y: y + 96 });
    this.svg.append(rate, badge);
    box.setAttribute("role", "img");
    return { name, box, badge, rate, narrow: width < 200 };
  }

  wiring() {
    const found = new Map();
    for (const piece of this.svg.querySelectorAll("[data-interface]")) {
      const { node, interface: card, network } = piece.dataset;
      piece.classList.add("wire");
      const key = `${node}/${card}`;
      if (!found.has(key)) found.set(key, { node, network, key, pieces: [] });
      found.get(key).pieces.push(piece);
    }
    for (const wire of found.values()) {
      const box = wire.pieces.find((piece) => piece.tagName === "polyline").getBBox();
      wire.note = note(box.x + box.width / 2, box.y + box.height / 2);
      this.svg.append(wire.note);
    }
    return [...found.values()];
  }

  show(state) {
    for (const one of this.addresses) this.showAddress(one, state);
    for (const one of this.machines) this.showMachine(one, state);
    for (const one of this.wires) this.showWire(one, state);
  }

  showAddress(one, state) {
    const holds = state[`holders/${one.instance}`].includes(one.node);
    const off = state[`node/${one.node}`] === "off";
    one.group.classList.toggle("holds", holds);
    one.group.classList.toggle("off", off && !holds);
    const address = state.lab.instances[one.instance].address;
    const verb = holds ? "has" : off ? "is off and lost" : "waits for";
    one.group.setAttribute("aria-label", `${one.node} ${verb} ${address}`);
    const [adverts, sender] = state[`beat/${one.instance}`] ?? [0, ""];
    if (one.adverts >= 0 && adverts !== one.adverts && sender === one.node) {
      pulse(one.beat, [{ opacity: 1 }, { opacity: 0.25 }], 350);
    }
    one.adverts = adverts;
    const [arps, announcer] = state[`arp/${one.instance}`] ?? [0, ""];
    if (one.arps >= 0 && arps !== one.arps && announcer === one.node) {
      pulse(one.pill, [{ strokeWidth: 9, strokeOpacity: 0.5 }, { strokeWidth: 2, strokeOpacity: 1 }], 700);
    }
    one.arps = arps;
  }

  showMachine(one, state) {
    const is = state[`node/${one.name}`];
    const down = is !== "running";
    one.box.classList.toggle("down", down);
    one.box.setAttribute("aria-label", `${one.name}: ${is}`);
    say(one.badge, down ? `✕ ${is}` : "");
    const rate = state[`server/${one.name}`];
    one.rate.textContent = rate ? `${rate.all.toFixed(1)}${one.narrow ? "/s" : " connections/s"}` : "";
  }

  showWire(one, state) {
    const fault = state[`wire/${one.key}`] ?? "";
    const off = state[`node/${one.node}`] === "off";
    const here = Object.entries(state.lab.instances).filter(
      ([, instance]) => instance.network === one.network && instance.directors.includes(one.node),
    );
    const holds = here.some(([name]) => state[`holders/${name}`].includes(one.node));
    for (const piece of one.pieces) {
      piece.classList.toggle("down", Boolean(fault) || off);
      piece.classList.toggle("holds", here.length > 0 && holds);
      piece.classList.toggle("waits", here.length > 0 && !holds);
    }
    say(one.note, fault ? `✕ ${WORDS[fault] ?? fault}` : "");
  }
}
