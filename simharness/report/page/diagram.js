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
  const fork = divergesAt();
  const alike = failing.rows.filter((row) => row.last < fork);
  if (alike.length) holder.append(order(failing, alike, "Both orderings begin with these steps", ""));
  const mover = (step) => (step ? step.actor || "the fault" : "no actor");
  const [mine, yours] = [mover(failing.step(fork)), mover(passing.step(fork))];
  const how = mine === yours ? `${mine} makes another choice` : `the failing one continues with ${mine}, the passing one with ${yours}`;
  holder.append(el("p", { class: "parting" }, `▸ Here, at step ${fork}, the orderings diverge: ${how}`));
  const last = alike.length ? alike[alike.length - 1].last : 0;
  const pair = el("div", { class: "pair" });
  pair.append(
    order(failing, failing.rows.filter((row) => row.last > last), fails() ? "✗ It fails" : "This ordering", "failing"),
    order(passing, passing.rows.filter((row) => row.last >= fork), fails() ? "✓ It passes: the nearest ordering that does" : "The other ordering", "passing"),
  );
  holder.append(pair, el("p", { class: "legend" }, LEGEND));
}

function order(owner, rows, title, name) {
  const { trace } = owner;
  const moving = new Set(Object.values(views).flatMap((each) => each.rows.map((row) => row.actor)));
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
  const fork = divergesAt();
  const parting = fork !== null && owner.rowFor(fork) === row;
  const kinds = ["step"];
  if (step.kind === "clock.advance") kinds[0] = "time";
  if (step.kind.startsWith("fault.")) kinds.push("fault");
  if (failed) kinds.push("failed");
  if (parting) kinds.push("parts");
  if (failing && shownExecution().failed_at !== null && row.number > shownExecution().failed_at) kinds.push("after");
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
    const value = held(world, name);
    return el("td", { class: "held" }, same(value, held(before, name)) ? "" : value);
  });
  const line = el("tr", { class: kinds.join(" ") }, el("td", { class: "number" }, String(row.number)), actors.length ? el("td", { colspan: actors.length }) : null, what, cells);
  line.addEventListener("click", () => go(row.last, owner.side));
  return line;
}

function failedRow(owner) {
  const at = shownExecution().failed_at;
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
    const [sender, receiver] = [owner.step(message.first).actor, owner.step(message.second).actor];
    const y1 = where(message.first), y2 = where(message.second);
    if (y1 === null || y2 === null || y2 <= y1 || (y1 === top && y2 === top) || !(sender in xs) || !(receiver in xs)) continue;
    const own = here && [message.first, message.second].some((number) => here.number <= number && number <= here.last);
    drawMessage(paper, message, xs[sender], y1, xs[receiver], y2, own);
  }
  const guilty = owner.side === "failing" ? blamed() : [];
  const failed = owner.side === "failing" && fails() ? failedRow(owner) : null;
  const fork = divergesAt();
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
    shape("line", { class: `life${blocked ? " blocked" : ""}${holds ? " holding" : ""}`, x1: x, x2: x, y1: y, y2: next }, paper);
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
