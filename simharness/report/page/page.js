"use strict";
// The state is what is shown: a cell, one of its orderings, a position in it (how many steps have been made), and whether every step has a row.
const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const state = { cell: 0, side: "failing", position: 0, every: false };
let views = {};
let parts = [];
const NOTHING = ["", "None", "-", "–"];
const LEGEND = "A dot is a step. Its line is thick while the actor holds a lock and dotted while it cannot move. An arrow leads from a step to the one that it let go on.";
const SVG = "http://www.w3.org/2000/svg";

function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return made;
}

function shape(tag, attributes, parent) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  parent.append(made);
  return made;
}

const soft = (text) => String(text).split(/(?<=[_/])/).flatMap((word) => [word, el("wbr")]);
const seconds = (value) => `${Number(value.toFixed(9))} s`;
const plural = (number, word) => `${number.toLocaleString("en")} ${word}${number === 1 ? "" : "s"}`;
const same = (one, two) => JSON.stringify(one) === JSON.stringify(two);
const current = () => data.cells[state.cell];
const found = () => current().counterexample;
const view = () => views[state.side];
const fails = () => Boolean(found().failure);

// One ordering: its rows, and what the world is like after each of its steps.

class View {
  constructor(trace, side) {
    this.trace = trace;
    this.side = side;
    this.rows = state.every ? trace.steps.map(rowOf) : trace.rows;
    this.positions = [0, ...this.rows.map((row) => row.last)];
  }

  step(number) {
    return this.trace.steps[number - 1];
  }

  world(position) {
    const { steps, initial } = this.trace;
    for (let at = position; at > 0; at--) if (Object.keys(steps[at - 1].shown).length) return steps[at - 1];
    return { ...initial, held: {}, wall: 0 };
  }

  movesAfter(position) {
    const next = this.trace.steps[position];
    return next ? next.moves : this.trace.moves;
  }

  tables(position) {
    const all = {};
    const looks = [this.trace.initial.tables, ...this.trace.steps.slice(0, position).map((step) => step.tables)];
    for (const look of looks) {
      for (const [database, tables] of Object.entries(look)) all[database] = { ...all[database], ...tables };
    }
    return all;
  }

  rowAt(position) {
    return this.rows.find((row) => row.number <= position && position <= row.last);
  }

  rowFor(number) {
    const step = this.step(number);
    const own = this.rows.filter((row) => step && row.actor === step.actor);
    return this.rowAt(number) || own.find((row) => row.number > number) || own[own.length - 1];
  }

  index() {
    const exact = this.positions.indexOf(state.position);
    if (exact >= 0) return exact;
    const next = this.positions.findIndex((position) => position >= state.position);
    return next < 0 ? this.positions.length - 1 : next;
  }
}

function rowOf(step) {
  const { number, actor, text, database, log, place } = step;
  return { number, last: number, actor, text, inside: step.notes, database, log, place, filler: false };
}

const blamed = () => {
  const races = (found().blame || []).slice(0, 1).flatMap((blame) => blame.races);
  return [...new Set(races.flatMap((race) => [race.first, race.second]))].filter(Boolean);
};
const partsAt = () => (found().passing ? found().passing.parts_at : null);

// The diagram

function showOrders() {
  const holder = $("orders");
  holder.replaceChildren();
  parts = [];
  const { failing, passing } = views;
  if (!passing) {
    holder.append(order(failing, failing.rows, fails() ? "The failing ordering" : "The ordering", fails() ? "failing" : ""), el("p", { class: "legend" }, LEGEND));
    return;
  }
  const fork = partsAt();
  const alike = failing.rows.filter((row) => row.last < fork);
  if (alike.length) holder.append(order(failing, alike, "Both orderings begin alike", ""));
  const mover = (step) => (step ? step.actor || "the fault" : "nobody");
  const [mine, yours] = [mover(failing.step(fork)), mover(passing.step(fork))];
  const how = mine === yours ? `${mine} chooses otherwise` : `the failing one goes on with ${mine}, the passing one with ${yours}`;
  holder.append(el("p", { class: "parting" }, `▸ Here, at step ${fork}, the orderings part: ${how}`));
  const last = alike.length ? alike[alike.length - 1].last : 0;
  const pair = el("div", { class: "pair" });
  pair.append(
    order(failing, failing.rows.filter((row) => row.last > last), "✗ It fails", "failing"),
    order(passing, passing.rows.filter((row) => row.last >= fork), "✓ It passes: the nearest ordering that does", "passing"),
  );
  holder.append(pair, el("p", { class: "legend" }, LEGEND));
}

function order(owner, rows, title, name) {
  const { trace } = owner;
  const moving = new Set(Object.values(views).flatMap((one) => one.rows.map((row) => row.actor)));
  for (const text of trace.waiting) moving.add(text.split(" waits for ")[0]);
  let actors = trace.actors.filter((actor) => moving.has(actor.name));
  const processes = [...new Set(actors.map((actor) => actor.process))];
  actors = processes.flatMap((process) => actors.filter((actor) => actor.process === process));
  const shown = [...new Set([trace.initial, ...trace.steps].flatMap((world) => Object.keys(world.shown)))];
  const narrow = window.innerWidth < 700 || (views.passing && name);
  const lane = Math.max(26, Math.min(narrow ? 64 : 92, Math.floor((narrow ? 190 : 300) / Math.max(1, actors.length))));
  const columns = el("colgroup", {}, el("col", { style: "width:2.4rem" }));
  for (const _ of actors) columns.append(el("col", { style: `width:${lane}px` }));
  columns.append(el("col", {}));
  for (const _ of shown) columns.append(el("col", { style: `width:${narrow ? 5.6 : 7.5}rem` }));
  const head = el("thead");
  if (processes.length > 1) {
    const groups = processes.map((process) => {
      const size = actors.filter((actor) => actor.process === process).length;
      return el("th", { class: "process", colspan: size, scope: "colgroup" }, soft(process));
    });
    head.append(el("tr", {}, el("td"), groups, el("td", { colspan: 1 + shown.length })));
  }
  const upright = lane < 44 ? "writing-mode:vertical-rl;margin:auto" : null;
  const lanes = actors.map((actor) => el("th", { class: "lane", scope: "col" }, el("span", { style: upright }, soft(actor.name))));
  const holders = shown.map((what) => el("th", { class: "held", scope: "col" }, soft(what)));
  head.append(el("tr", {}, el("th", { class: "number", scope: "col", "aria-label": "step" }, "#"), lanes,
    el("th", { class: "what", scope: "col" }, "what happens"), holders));
  const body = el("tbody");
  const table = el("table", { class: "steps" }, el("caption", { class: "aside" }, title), columns, head, body);
  const section = el("section", { class: `order ${name}`, "aria-label": title }, el("h2", {}, title), table);
  const part = { owner, rows, actors, shown, section, body, lanes, holders, lines: new Map() };
  let before = rows.length ? owner.world(rows[0].number - 1) : null;
  let mover = "";
  for (const row of rows) {
    const line = rowLine(part, row, before, mover);
    body.append(line);
    part.lines.set(row.last, line);
    before = owner.world(row.last);
    mover = row.actor;
  }
  parts.push(part);
  return section;
}

function rowLine(part, row, before, mover) {
  const { owner, actors, shown } = part;
  const failing = owner.side === "failing";
  const step = owner.step(row.number);
  const failed = failing && fails() && failedRow(owner) === row;
  const fork = partsAt();
  const parting = fork !== null && owner.rowFor(fork) === row;
  const kinds = ["step"];
  if (step.kind === "clock.advance") kinds[0] = "time";
  if (step.kind.startsWith("fault.")) kinds.push("fault");
  if (failed) kinds.push("failed");
  if (parting) kinds.push("parts");
  if (failing && found().failed_at !== null && row.number > found().failed_at) kinds.push("after");
  const known = actors.some((actor) => actor.name === row.actor);
  const who = known ? el("span", { class: row.actor === mover ? "aside" : "dim" }, soft(row.actor), ": ") : null;
  const tags = [];
  if (parting) tags.push(el("span", { class: "tag fork" }, "▸ "));
  if (failed) tags.push(el("span", { class: "tag" }, "✗ "));
  const text = el("button", { type: "button", class: "text", tabindex: "-1", title: row.text }, tags, el("span", { class: "aside" }, `step ${row.number}, `), who, soft(row.text),
    failed ? el("span", { class: "aside" }, ", the failure shows here") : null);
  const what = el("td", { class: "what" }, text);
  for (const line of row.inside) what.append(el("span", { class: "sub", title: line }, line));
  for (const line of row.database) what.append(el("span", { class: "sub", title: line }, line));
  for (const line of row.log) what.append(el("span", { class: "sub", title: line }, `log ${line}`));
  const world = owner.world(row.last);
  const cells = shown.map((name) => {
    const told = held(world, name);
    return el("td", { class: "held" }, same(told, held(before, name)) ? "" : told);
  });
  const line = el("tr", { class: kinds.join(" ") }, el("td", { class: "number" }, String(row.number)), actors.length ? el("td", { colspan: actors.length }) : null, what, cells);
  line.addEventListener("click", () => go(row.last, owner.side));
  return line;
}

function failedRow(owner) {
  const at = found().failed_at;
  return at === null || at === undefined ? null : owner.rows.filter((row) => row.number <= at).pop();
}

function held(world, name) {
  const value = world.shown[name];
  if (value === undefined || NOTHING.includes(value)) return ["–"];
  const until = world.until[name];
  if (until === undefined) return [el("b", {}, soft(value))];
  return world.wall >= until ? [soft(value), el("br"), "has run out"] : [el("b", {}, soft(value)), el("br"), `until ${seconds(until)}`];
}

// Lines over the table: lives, bars, messages. Measured after layout, since rows are as high as their texts.

function draw() {
  for (const part of parts) drawPart(part);
}

function drawPart(part) {
  const { owner, rows, actors, section, body, lanes, holders, lines } = part;
  section.querySelectorAll("svg").forEach((old) => old.remove());
  if (!rows.length) return;
  const frame = section.getBoundingClientRect();
  const paper = shape("svg", { width: frame.width, height: frame.height, "aria-hidden": "true" }, section);
  const middle = (cell) => { const box = cell.getBoundingClientRect(); return box.left + box.width / 2 - frame.left; };
  const xs = Object.fromEntries(actors.map((actor, rank) => [actor.name, middle(lanes[rank])]));
  const top = body.getBoundingClientRect().top - frame.top;
  const end = body.getBoundingClientRect().bottom - frame.top;
  const ys = rows.map((row) => lines.get(row.last).getBoundingClientRect().top - frame.top + 13);
  const where = (number) => {
    const rank = rows.indexOf(owner.rowFor(number));
    return rank >= 0 ? ys[rank] : number < rows[0].number ? top : null;
  };
  const here = owner.side === state.side ? owner.rowAt(state.position) : null;
  rows.forEach((row, rank) => {
    if (owner.step(row.number).kind !== "clock.advance") return;
    shape("line", { class: "clock", x1: Math.min(...Object.values(xs)) - 10, x2: Math.max(...Object.values(xs)) + 10, y1: ys[rank], y2: ys[rank] }, paper);
  });
  for (const actor of actors) drawLife(part, paper, actor.name, xs[actor.name], ys, top, end);
  part.shown.forEach((name, rank) => drawBar(part, paper, name, holders[rank].getBoundingClientRect().left - frame.left + 12, ys, top, end));
  for (const message of owner.trace.messages) {
    const [one, two] = [owner.step(message.first).actor, owner.step(message.second).actor];
    const y1 = where(message.first), y2 = where(message.second);
    if (y1 === null || y2 === null || y2 <= y1 || (y1 === top && y2 === top) || !(one in xs) || !(two in xs)) continue;
    const own = here && [message.first, message.second].some((number) => here.number <= number && number <= here.last);
    drawMessage(paper, message, xs[one], y1, xs[two], y2, own);
  }
  const guilty = owner.side === "failing" ? blamed() : [];
  const failed = owner.side === "failing" && fails() ? failedRow(owner) : null;
  const fork = partsAt();
  rows.forEach((row, rank) => {
    const x = xs[row.actor];
    if (x === undefined) return;
    const kinds = ["dot"];
    if (row === here) kinds.push("here");
    if (row === failed) kinds.push("failed");
    else if (fork !== null && owner.rowFor(fork) === row) kinds.push("parts");
    shape("circle", { class: kinds.join(" "), cx: x, cy: ys[rank], r: row.filler ? 2.5 : 5 }, paper);
    if (guilty.some((number) => owner.rowFor(number) === row)) shape("circle", { class: "ring", cx: x, cy: ys[rank], r: 9 }, paper);
  });
}

function drawLife(part, paper, name, x, ys, top, end) {
  const { owner, rows } = part;
  const { steps, waiting } = owner.trace;
  const own = steps.filter((step) => step.actor === name).map((step) => step.number);
  const stuck = waiting.some((text) => text.startsWith(`${name} waits`));
  const last = stuck ? steps.length + 1 : own.length ? own[own.length - 1] : 0;
  const levels = [[rows[0].number - 1, top], ...rows.map((row, rank) => [row.last, ys[rank]])];
  levels.forEach(([position, y], rank) => {
    if (position >= last) return;
    const next = rank + 1 < levels.length ? levels[rank + 1][1] : end;
    const until = rank < rows.length ? rows[rank].number - 1 : position;
    const throughout = (holds) => { for (let at = position; at <= until; at++) if (!holds(at)) return false; return true; };
    const holds = throughout((at) => (owner.world(at).held[name] || []).length > 0);
    const blocked = throughout((at) => owner.movesAfter(at).some((move) => move.actor === name && !move.possible));
    shape("line", { class: `life${blocked ? " blocked" : holds ? " holding" : ""}`, x1: x, x2: x, y1: y, y2: next }, paper);
  });
}

function drawBar(part, paper, name, x, ys, top, end) {
  const { owner, rows } = part;
  const levels = [[rows[0].number - 1, top], ...rows.map((row, rank) => [row.last, ys[rank]])];
  let bar = null;
  levels.forEach(([position, y], rank) => {
    const world = owner.world(position);
    const value = world.shown[name];
    if (value === undefined || NOTHING.includes(value)) { bar = null; return; }
    const until = world.until[name];
    const next = rank + 1 < levels.length ? levels[rank + 1][1] : end;
    const kind = until === undefined ? "bar plain" : world.wall >= until ? "bar lapsed" : "bar";
    if (bar && bar.value === value && bar.kind === kind) {
      bar.rect.setAttribute("height", next - bar.y);
    } else {
      bar = { value, kind, y, rect: shape("rect", { class: kind, x: x - 4, y, width: 8, height: Math.max(0, next - y) }, paper) };
    }
  });
}

function drawMessage(paper, message, x1, y1, x2, y2, own) {
  const tilt = Math.sign(x2 - x1) * 7;
  const bend = Math.min(60, (y2 - y1) / 2);
  const name = own ? " here" : "";
  const line = shape("path", { class: `message${name}`, d: `M${x1 + tilt},${y1} C${x1 + tilt * 3},${y1 + bend} ${x2 - tilt * 3},${y2 - bend} ${x2 - tilt},${y2}` }, paper);
  shape("title", {}, line).textContent = `${message.kind}: ${message.name}`;
  const tip = x2 - tilt, back = tip - Math.sign(x2 - x1) * 7;
  shape("path", { class: `arrow${name}`, d: `M${tip},${y2} L${back},${y2 - 4} L${back},${y2 + 2} Z` }, paper);
  if (own) shape("text", { class: "word", x: (x1 + x2) / 2, y: (y1 + y2) / 2, "text-anchor": "middle" }, paper).textContent = message.kind;
}

// The world at a step

function showState() {
  const owner = view();
  const panel = $("state");
  const { position } = state;
  const row = owner.rowAt(position);
  const step = position ? owner.step(row ? row.number : position) : null;
  panel.replaceChildren(...(step ? happened(owner, step, row) : [el("h2", {}, "Before the first step")]));
  panel.append(...choices(owner, row ? owner.step(pointOf(owner, row)) : step), ...holders(owner, position), ...databases(owner, position, row), ...logs(owner, position, row));
  panel.scrollTop = 0;
}

function happened(owner, step, row) {
  const name = owner.trace.actors.some((actor) => actor.name === step.actor) ? step.actor : "";
  const title = el("h2", {}, `Step ${step.number}`, name ? ` · ${name}` : "", ` · at ${seconds(step.time)}`);
  const told = [title, el("p", {}, row && !state.every ? row.text : step.text)];
  if (row && row.last > row.number) {
    told.push(el("p", { class: "dim" }, `steps ${row.number} to ${row.last}, told as one: nobody came between what matters here`));
  }
  for (const note of row && !state.every ? row.inside : step.notes) told.push(el("p", { class: "code dim" }, note));
  const place = row ? row.place : step.place;
  if (place) told.push(...source(owner, place, step));
  const own = owner.trace.messages.filter((message) => [message.first, message.second].some((number) => step.number <= number && number <= (row ? row.last : number)));
  if (own.length) {
    const lines = own.map((message) => {
      const incoming = message.second >= step.number && !(message.first >= step.number);
      const other = incoming ? message.first : message.second;
      const words = `${incoming ? "from" : "to"} ${owner.step(other).actor}: ${message.kind}, ${message.name} `;
      return el("li", {}, words, jump(other, `step ${other}`, owner.side));
    });
    told.push(el("h3", {}, "Between actors"), el("ul", {}, lines));
  }
  return told;
}

function source(owner, place, step) {
  const at = place.lastIndexOf(":");
  const [file, line] = [place.slice(0, at), place.slice(at + 1)];
  const lines = Object.entries(owner.trace.sources[file] || {}).filter(([number]) => Math.abs(number - line) <= 2);
  const made = [el("p", { class: "code dim" }, place)];
  if (lines.length) {
    const texts = lines.map(([number, text]) => el("span", { class: number === line ? "named" : null }, `${number.padStart(4)}  ${text}`));
    made.push(el("pre", { class: "source", tabindex: "0", "aria-label": `Source of ${place}` }, texts));
  }
  const calls = step.calls.filter(([other]) => other !== place);
  if (calls.length) {
    const items = calls.map(([other, name]) => el("li", { class: "code" }, `${other} in ${name}`));
    made.push(el("details", {}, el("summary", {}, "called from"), el("ul", {}, items)));
  }
  return made;
}

function pointOf(owner, row) {
  const before = owner.rows[owner.rows.indexOf(row) - 1];
  const numbers = [];
  for (let number = (before ? before.last : 0) + 1; number <= row.last; number++) numbers.push(number);
  if (numbers.includes(partsAt())) return partsAt();
  return numbers.find((number) => owner.step(number).choices > 1) || row.number;
}

function choices(owner, step) {
  const moves = step ? step.moves : owner.movesAfter(0);
  if (!moves.length) return [];
  const other = partsAt() !== null && step && step.number === partsAt() ? views[state.side === "failing" ? "passing" : "failing"] : null;
  const others = other && other.step(step.number) ? other.step(step.number).moves.filter((move) => move.taken) : [];
  const items = moves.map((move) => {
    const elsewhere = others.some((one) => one.actor === move.actor && one.text === move.text && one.alternative === move.alternative) && !move.taken;
    const kind = !move.possible ? "cannot" : move.taken ? "taken" : elsewhere ? "other" : "";
    const sign = !move.possible ? "–" : move.taken && step ? "●" : "○";
    const said = [move.actor && move.actor !== "clock" ? `${move.actor}: ` : "", move.text];
    if (move.why_not) said.push(el("span", { class: "dim" }, `: cannot, ${move.why_not}`));
    if (move.taken && step) said.push(el("span", { class: "aside" }, " (taken)"));
    if (elsewhere) said.push(el("span", {}, ` ▸ the ${other.side} ordering goes here`));
    return el("li", { class: `choice ${kind}` }, el("span", { "aria-hidden": "true" }, sign), el("span", {}, said));
  });
  const possible = moves.filter((move) => move.possible).length;
  const title = !step ? "What can happen first" : possible > 1 ? `What else was possible at step ${step.number} (${possible} choices)` : "Nothing else was possible";
  return [el("h3", {}, title), el("ul", { class: "choices" }, items)];
}

function holders(owner, position) {
  const world = owner.world(position);
  const lines = Object.entries(world.held).filter(([, locks]) => locks.length).map(([name, locks]) => el("li", {}, el("b", {}, name), ` holds ${locks.join(", ")}`));
  for (const [name, value] of Object.entries(world.shown)) {
    const until = world.until[name];
    const told = NOTHING.includes(value) ? "–" : value;
    const left = until === undefined || told === "–" ? "" : world.wall >= until ? `, ran out at ${seconds(until)}` : ` until ${seconds(until)} (${seconds(until - world.wall)} left)`;
    lines.push(el("li", {}, `${name}: `, el("b", {}, told), left));
  }
  if (position === owner.trace.steps.length) for (const text of owner.trace.waiting) lines.push(el("li", { class: "odd" }, text));
  return lines.length ? [el("h3", {}, "Who holds what"), el("ul", {}, lines)] : [];
}

function databases(owner, position, row) {
  const now = owner.tables(position);
  const before = owner.tables(row ? row.number - 1 : position);
  const made = [];
  for (const [database, tables] of Object.entries(now)) {
    const several = Object.keys(now).length > 1 ? `${database} ` : "";
    const quiet = [];
    for (const [name, table] of Object.entries(tables)) {
      const old = (before[database] || {})[name] || { columns: table.columns, rows: [] };
      const rows = difference(old, table);
      const changed = rows.some((one) => one.kind !== "");
      if (!changed && !table.rows.length) { quiet.push(name); continue; }
      made.push(changed ? rowsOf(`${several}${name}`, table, rows) : el("details", {}, el("summary", {}, `${several}${name}, ${plural(table.rows.length, "row")}`), rowsOf(name, table, rows)));
    }
    if (quiet.length) made.push(el("p", { class: "dim" }, `empty: ${quiet.join(", ")}`));
  }
  return made.length ? [el("h3", {}, "Committed rows"), ...made] : [];
}

function difference(old, table) {
  const left = old.rows.filter((row) => !table.rows.some((other) => same(row, other)));
  const rows = table.rows.map((row) => {
    if (old.rows.some((other) => same(row, other))) return { kind: "", cells: row.map((cell) => [cell, false]) };
    const twin = left.findIndex((other) => same(other[0], row[0]));
    if (twin < 0) return { kind: "added", cells: row.map((cell) => [cell, true]) };
    const [was] = left.splice(twin, 1);
    return { kind: "changed", cells: row.map((cell, rank) => [cell, !same(cell, was[rank]), was[rank]]) };
  });
  return [...rows, ...left.map((row) => ({ kind: "removed", cells: row.map((cell) => [cell, true]) }))];
}

function rowsOf(name, table, rows) {
  const signs = { added: "+", removed: "−", changed: "~" };
  const words = { added: "added: ", removed: "removed: ", changed: "changed: " };
  const lines = rows.map((row) => el("tr", { class: row.kind }, row.cells.map(([cell, changed, was], rank) => {
    const marked = row.kind === "changed" && changed;
    const text = cellText(cell);
    const title = marked ? `${cellText(was)} → ${text}` : text;
    const sign = rank === 0 && row.kind ? [el("span", { class: "sign", "aria-hidden": "true" }, signs[row.kind]), el("span", { class: "aside" }, words[row.kind])] : [];
    return el("td", { class: marked ? "changed" : null, title }, sign, marked ? el("span", { class: "aside" }, "now ") : null, text);
  })));
  if (table.left_out) lines.push(el("tr", {}, el("td", { colspan: table.columns.length }, `and ${plural(table.left_out, "row")} that never change`)));
  const head = el("tr", {}, table.columns.map((column) => el("th", { scope: "col" }, column)));
  const made = el("table", {}, el("caption", {}, name), el("thead", {}, head), el("tbody", {}, lines));
  return el("div", { class: "rows", tabindex: "0", role: "region", "aria-label": `Table ${name}` }, made);
}

function cellText(cell) {
  const { epoch } = found();
  if (cell === null) return "–";
  if (typeof cell === "number" && cell >= epoch && cell < epoch + 1e6) return `t+${seconds(cell - epoch)}`;
  return String(cell);
}

function logs(owner, position, row) {
  const lines = owner.trace.steps.filter((step) => step.number <= position).flatMap((step) => step.log.map((text) => [step.number, text]));
  if (!lines.length) return [];
  const items = lines.map(([number, text]) => {
    const here = row && row.number <= number && number <= row.last;
    return el("li", { class: here ? "here" : null }, jump(number, String(number), owner.side, `step ${number}`), el("span", {}, text));
  });
  return [el("h3", {}, "Log so far"), el("ul", { class: "log" }, items)];
}

function jump(number, text, side, label = null) {
  return el("button", { type: "button", class: "link", "aria-label": label, onclick: () => go(number, side) }, text);
}

// The top, the list of cells, the numbers

function words(parameters) {
  return Object.entries(parameters).map(([name, value]) => `${name}=${value ?? "none"}`).join("  ");
}

function showTop() {
  const cell = current(), seen = found();
  $("crumb").replaceChildren("simharness · ", el("b", {}, cell.scenario), ` ${words(cell.parameters)}`);
  const title = $("failure");
  title.className = seen && seen.failure ? "fails" : "";
  const said = seen ? (seen.failure ? `✗ ${seen.failure}` : "This execution does not fail") : data.title || `${cell.verdict}: no counterexample`;
  const place = said.match(/^(.*) at (\S+:\d+)$/);
  title.replaceChildren(el("span", {}, soft(place ? place[1] : said)), place ? el("span", { class: "place" }, ` at ${place[2]}`) : "");
  const cause = el("div", { class: "cause" });
  if (seen) {
    for (const sentence of seen.explanation || []) cause.append(el("p", {}, el("b", {}, "Why: "), sentence, "."));
    const steps = blamed();
    if (steps.length) cause.append(el("p", { class: "dim" }, "Look at ", steps.map((number, rank) => [rank ? " and " : "", jump(number, `step ${number}`, "failing")]), steps.length > 1 ? ", which are ringed." : ", which is ringed."));
    if (seen.passing && seen.passing.trace) {
      cause.append(el("p", { class: "passes" }, `▸ The nearest ordering that passes parts at step ${seen.passing.parts_at}${seen.passing.reversed ? ` and orders ${plural(seen.passing.reversed, "pair")} of conflicting steps otherwise` : ""}.`));
    }
    for (const [heading, lines] of cell.notes || []) cause.append(el("h3", {}, heading), ...lines.map((line) => el("p", {}, line)));
    cause.append(repeat(cell, seen));
  }
  $("cause").replaceChildren(cause);
  document.title = data.title || (seen && seen.failure ? `${cell.scenario}: ${seen.failure}` : cell.scenario);
}

function repeat(cell, seen) {
  const text = el("code", {}, cell.command || seen.token);
  const copy = el("button", { type: "button" }, "copy");
  copy.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text.textContent);
      copy.textContent = "copied";
    } catch {
      getSelection().selectAllChildren(text);
    }
  });
  return el("div", { class: "token" }, el("span", { class: "dim" }, "again:"), text, copy);
}

function showCells() {
  const list = $("cells");
  list.hidden = data.cells.length < 2;
  if (list.hidden) return;
  const head = ["scenario", "parameters", "verdict", "orderings", "seconds", "failure"].map((name) => el("th", { scope: "col" }, name));
  const lines = data.cells.map((cell, rank) => {
    const seen = cell.counterexample;
    const name = seen ? el("button", { type: "button", class: "link", onclick: () => choose(rank) }, cell.scenario) : cell.scenario;
    const odd = cell.as_expected === false;
    const verdict = cell.error ? "error" : `${cell.verdict || ""}${odd ? ` (expected ${cell.expected})` : ""}`;
    const said = cell.error || (seen ? seen.failure || "does not fail" : "");
    return el("tr", { "aria-current": rank === state.cell ? "true" : null }, el("td", {}, name), el("td", {}, words(cell.parameters)), el("td", { class: odd || cell.error ? "odd" : null }, verdict),
      el("td", {}, cell.executions === undefined ? "" : cell.executions.toLocaleString("en")), el("td", {}, cell.seconds === undefined ? "" : cell.seconds.toFixed(1)), el("td", {}, said));
  });
  const number = data.cells.filter((cell) => cell.counterexample).length;
  const open = list.querySelector("details") ? list.querySelector("details").open : true;
  list.replaceChildren(el("details", { open }, el("summary", {}, `${plural(number, "counterexample")} in ${plural(data.cells.length, "cell")}`),
    el("div", { class: "list", tabindex: "0", role: "region", "aria-label": "List of cells" }, el("table", { "aria-label": "Cells" }, el("thead", {}, el("tr", {}, head)), el("tbody", {}, lines)))));
}

function showNumbers() {
  const cell = current(), seen = found();
  const pairs = [];
  const add = (name, value) => { if (value !== undefined && value !== null && value !== "") pairs.push(el("dt", {}, name), el("dd", {}, value)); };
  if (cell.verdict) {
    add("verdict", `${cell.verdict}${cell.as_expected ? ", as expected" : `, expected: ${cell.expected}`}`);
    add(cell.strategy === "dpor" ? "orderings run" : "executions run", cell.executions.toLocaleString("en"));
    if (cell.deadlocks) add("deadlocks", cell.deadlocks.toLocaleString("en"));
    add("time", `${cell.seconds.toFixed(2)} s`);
    if (cell.branching) add("branching", cell.branching.points ? `${plural(cell.branching.points, "point")} with ${cell.branching.mean.toFixed(1)} ways each` : "none: one way through");
    if (cell.never_reached) add("scheduling points never reached", cell.never_reached.length ? el("ul", {}, cell.never_reached.map((text) => el("li", { class: "code" }, text))) : "none in the functions that ran");
    add("bounds", cell.bounds);
  }
  if (seen) {
    const choosing = seen.steps.filter((step) => step.choices > 1).length;
    add("this execution", `${plural(seen.steps.length, "step")}, ${choosing} of them with a choice`);
    add("shortness", seen.shortness);
    add("repeated", seen.confirmed);
    add("token", el("code", {}, seen.token));
  }
  const text = cell.timeline ? el("details", {}, el("summary", {}, "the timeline as text"), el("pre", { tabindex: "0", "aria-label": "Timeline as text" }, cell.timeline)) : null;
  $("numbers").replaceChildren(el("h2", {}, cell.verdict ? "The exploration" : "The execution"), el("dl", {}, pairs), ...(text ? [text] : []));
}

// Moving

function announce() {
  const owner = view();
  const { position } = state;
  const row = owner.rowAt(position);
  const total = owner.trace.steps.length;
  const mine = $("status");
  const side = views.passing ? `${state.side} ordering, ` : "";
  if (!position || !row) {
    mine.replaceChildren(el("b", {}, "Before the first step"), ` of ${total}`);
    return `${side}before the first step`;
  }
  const step = owner.step(row.number);
  const who = owner.trace.actors.some((actor) => actor.name === row.actor) ? `${row.actor}: ` : "";
  const tail = [];
  if (row.database.length) tail.push(plural(row.database.length, "row") + " changed");
  if (owner.side === "failing" && fails() && failedRow(owner) === row) tail.push("the failure shows here");
  if (partsAt() !== null && owner.rowFor(partsAt()) === row) tail.push("the orderings part here");
  mine.replaceChildren(el("b", {}, `Step ${row.number} of ${total}`), ` · ${side}${seconds(step.time)} · ${who}${row.text}${tail.length ? ` · ${tail.join(" · ")}` : ""}`);
  return `${side}step ${row.number} of ${total}, ${who}${row.text}`;
}

function show(scroll) {
  const owner = view();
  const index = owner.index();
  state.position = owner.positions[index];
  const slider = $("slider");
  slider.max = owner.positions.length - 1;
  slider.value = index;
  slider.setAttribute("aria-valuetext", announce());
  $("back").disabled = index === 0;
  $("forward").disabled = index === owner.positions.length - 1;
  for (const part of parts) {
    for (const [position, line] of part.lines) {
      const here = part.owner === owner && position === state.position;
      if (here) line.setAttribute("aria-current", "step");
      else line.removeAttribute("aria-current");
      line.querySelector(".text").tabIndex = here ? 0 : -1;
      if (here && scroll) line.scrollIntoView({ block: "nearest" });
    }
  }
  for (const input of document.querySelectorAll("[name=side]")) input.checked = input.value === state.side;
  showState();
  draw();
  try {
    history.replaceState(null, "", `#${state.cell + 1}/${state.side}/${state.position}`);
  } catch { /* a page that may not have an address of its own still works */ }
}

function goal(number) {
  const row = number ? view().rowFor(number) : null;
  return row ? row.last : number;
}

function go(position, side = state.side) {
  if (!views[side]) return;
  state.side = side;
  state.position = goal(position);
  show(true);
}

function move(by) {
  const owner = view();
  const index = Math.max(0, Math.min(owner.positions.length - 1, owner.index() + by));
  go(owner.positions[index]);
}

const toFailure = () => { if (found().failed_at !== null) go(found().failed_at, "failing"); };
const toFork = () => { if (partsAt() !== null) go(partsAt()); };
const otherSide = () => go(state.position, state.side === "failing" ? "passing" : "failing");

function build() {
  const seen = found();
  const passing = seen.passing && seen.passing.trace;
  views = { failing: new View(seen, "failing") };
  if (passing) views.passing = new View(passing, "passing");
  $("sides").hidden = !passing;
  $("to-fork").hidden = !passing;
  $("to-failure").hidden = !seen.failure;
  showOrders();
}

function choose(rank, side = "failing", position = null) {
  state.cell = rank;
  showTop();
  showCells();
  const seen = found();
  $("main").hidden = !seen;
  if (!seen) return;
  build();
  showNumbers();
  state.side = views[side] ? side : "failing";
  state.position = position ?? goal(partsAt() ?? blamed()[0] ?? seen.failed_at ?? 0);
  show(false);
}

const DOWN = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1, PageDown: 5, PageUp: -5, Home: -1e9, End: 1e9 };
const NAMED = { f: toFailure, p: toFork, o: otherSide };

function key(event) {
  if (event.ctrlKey || event.altKey || event.metaKey || $("main").hidden) return;
  const target = event.target;
  if (target.type === "radio" || (target.closest && target.closest(".rows, .list, pre, summary"))) return;
  if (event.key in DOWN) move(DOWN[event.key]);
  else if (event.key in NAMED && !event.shiftKey) NAMED[event.key]();
  else return;
  event.preventDefault();
  if (target.classList && target.classList.contains("text")) {
    const line = document.querySelector("tr[aria-current=step] .text");
    if (line) line.focus({ preventScroll: true });
  }
}

function start() {
  document.addEventListener("keydown", key);
  $("slider").addEventListener("input", () => go(view().positions[Number($("slider").value)]));
  $("back").addEventListener("click", () => move(-1));
  $("forward").addEventListener("click", () => move(1));
  $("to-failure").addEventListener("click", toFailure);
  $("to-fork").addEventListener("click", toFork);
  $("every").addEventListener("change", () => { state.every = $("every").checked; build(); show(true); });
  for (const input of document.querySelectorAll("[name=side]")) input.addEventListener("change", () => go(state.position, input.value));
  let width = window.innerWidth;
  new ResizeObserver(() => {
    if ((width < 700) !== (window.innerWidth < 700) && !$("main").hidden) { build(); show(false); }
    width = window.innerWidth;
    draw();
  }).observe($("orders"));
  window.addEventListener("beforeprint", draw);
  window.addEventListener("afterprint", draw);
  const [cell, side, position] = location.hash.slice(1).split("/");
  const first = data.cells.findIndex((one) => one.counterexample);
  const rank = data.cells[Number(cell) - 1] && data.cells[Number(cell) - 1].counterexample ? Number(cell) - 1 : Math.max(0, first);
  if (data.cells.length) choose(rank, side, position ? Number(position) : null);
}

start();
