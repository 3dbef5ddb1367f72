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
  const content = [title, el("p", {}, row && !state.every ? row.text : step.text)];
  if (row && row.last > row.number) {
    content.push(el("p", { class: "dim" }, `steps ${row.number} to ${row.last} in one row: no other actor interrupted them`));
  }
  for (const note of row && !state.every ? row.inside : step.notes) content.push(el("p", { class: "code dim" }, note));
  const place = row ? row.place : step.place;
  if (place) content.push(...source(owner, place, step));
  const own = owner.trace.messages.filter((message) => [message.first, message.second].some((number) => step.number <= number && number <= (row ? row.last : number)));
  if (own.length) {
    const lines = own.map((message) => {
      const incoming = message.second >= step.number && !(message.first >= step.number);
      const other = incoming ? message.first : message.second;
      const words = `${incoming ? "from" : "to"} ${owner.step(other).actor}: ${message.kind}, ${message.name} `;
      return el("li", {}, words, jump(other, `step ${other}`, owner.side));
    });
    content.push(el("h3", {}, "Between actors"), el("ul", {}, lines));
  }
  return content;
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
  if (numbers.includes(divergesAt())) return divergesAt();
  return numbers.find((number) => owner.step(number).choices > 1) || row.number;
}

function choices(owner, step) {
  const moves = step ? step.moves : owner.movesAfter(0);
  if (!moves.length) return [];
  const other = divergesAt() !== null && step && step.number === divergesAt() ? views[state.side === "failing" ? "passing" : "failing"] : null;
  const others = other && other.step(step.number) ? other.step(step.number).moves.filter((move) => move.taken) : [];
  const items = moves.map((move) => {
    const elsewhere = others.some((taken) => taken.actor === move.actor && taken.text === move.text && taken.alternative === move.alternative) && !move.taken;
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
    const text = NOTHING.includes(value) ? "–" : value;
    const left = until === undefined || text === "–" ? "" : world.wall >= until ? `, ran out at ${seconds(until)}` : ` until ${seconds(until)} (${seconds(until - world.wall)} left)`;
    lines.push(el("li", {}, `${name}: `, el("b", {}, text), left));
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
      const changed = rows.some((each) => each.kind !== "");
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
  const { epoch } = shownExecution();
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
