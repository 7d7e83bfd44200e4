// The last minute of each virtual server: a column for each second, a row for each machine.

import { make } from "./drawing.js";

const SECONDS = 60;
const LEFT = 62;
const CELL = 8;
const TALL = 26;
const ROW = 13;
const SERVERS_SHOWN = 6;

export class Strip {
  constructor(place, name, service, directors) {
    this.name = name;
    this.rows = [...directors, ...service.servers.slice(0, SERVERS_SHOWN)];
    const height = TALL + 6 + ROW * this.rows.length;
    const head = document.createElement("p");
    this.said = document.createElement("span");
    this.said.className = "said";
    const title = document.createElement("strong");
    const host = service.address.includes(":") ? `[${service.address}]` : service.address;
    title.textContent = `${name} ${host}:${service.port}`;
    head.append(title, this.said);
    this.svg = make("svg", { viewBox: `0 0 ${LEFT + SECONDS * CELL} ${height}`, role: "img" });
    this.svg.append(make("rect", { class: "back", x: LEFT, width: SECONDS * CELL, height: TALL, rx: 3 }));
    this.label("answers", TALL / 2 + 4);
    this.rows.forEach((row, number) => this.label(row, this.top(number) + ROW - 4));
    this.cells = Array.from({ length: SECONDS }, () => this.cell());
    const figure = document.createElement("div");
    figure.className = "strip";
    figure.append(head, this.svg);
    place.append(figure);
  }

  label(words, y) {
    const short = words.length > 9 ? `${words.slice(0, 8)}…` : words;
    this.svg.append(make("text", { x: 0, y }, short));
    this.svg.append(make("line", { class: "line", x1: LEFT, x2: LEFT + SECONDS * CELL, y1: y + 3.5, y2: y + 3.5 }));
  }

  top(number) {
    return TALL + 6 + ROW * number;
  }

  cell() {
    const group = make("g", { visibility: "hidden" });
    const good = make("rect", { class: "good", x: 0.6, width: CELL - 1.2 });
    const lost = make("path", { class: "lost", d: `M1.2 3 l${CELL - 2.4} 8 m0 -8 l-${CELL - 2.4} 8`, visibility: "hidden" });
    const marks = this.rows.map((_, number) =>
      make("rect", { class: "by", x: 0, width: CELL, y: this.top(number) + 3, height: ROW - 7, visibility: "hidden" }),
    );
    group.append(good, lost, ...marks);
    this.svg.append(group);
    return { group, good, lost, marks };
  }

  show(state) {
    const now = Math.floor(state.clock);
    let lost = 0;
    let answered = 0;
    this.cells.forEach((cell, place) => {
      const value = state[`second/${this.name}/${place}`];
      const age = value ? now - value[0] : SECONDS;
      const visible = age >= 0 && age < SECONDS;
      cell.group.setAttribute("visibility", visible ? "inherit" : "hidden");
      if (!visible) return;
      answered += value[1];
      lost += value[2];
      cell.group.setAttribute("transform", `translate(${LEFT + (SECONDS - 1 - age) * CELL} 0)`);
      if (cell.value !== value) this.fill(cell, value);
    });
    this.said.textContent = lost ? `${answered} answered, ${lost} lost` : `${answered} answered, none lost`;
    this.said.classList.toggle("trouble", lost > 0);
    this.svg.setAttribute("aria-label", `${this.name}: of the last minute ${this.said.textContent}`);
  }

  fill(cell, value) {
    const [, answered, lost, servers, holders] = value;
    const height = (TALL * answered) / Math.max(1, answered + lost);
    cell.good.setAttribute("height", height);
    cell.good.setAttribute("y", TALL - height);
    const visible = (is) => (is ? "inherit" : "hidden");
    cell.lost.setAttribute("visibility", visible(lost > 0));
    this.rows.forEach((row, number) => {
      cell.marks[number].setAttribute("visibility", visible(holders.includes(row) || servers[row] > 0));
    });
    cell.value = value;
  }
}
