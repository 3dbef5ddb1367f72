// The top, the list of cases, the numbers

function words(parameters) {
  return Object.entries(parameters).map(([name, value]) => `${name}=${value ?? "none"}`).join("  ");
}

function showTop() {
  const entry = current(), seen = shownExecution();
  $("crumb").replaceChildren("simharness · ", el("b", {}, entry.scenario), ` ${words(entry.parameters)}`);
  const title = $("failure");
  title.className = seen && seen.failure ? "fails" : "";
  const said = seen ? (seen.failure ? `✗ ${seen.failure}` : "This execution does not fail") : data.title || `${entry.verdict}: no counterexample`;
  const place = said.match(/^(.*) at (\S+:\d+)$/);
  title.replaceChildren(el("span", {}, soft(place ? place[1] : said)), place ? el("span", { class: "place" }, ` at ${place[2]}`) : "");
  const cause = el("div", { class: "cause" });
  if (seen) {
    for (const sentence of seen.explanation || []) cause.append(el("p", {}, el("b", {}, "Why: "), sentence, "."));
    const steps = blamed();
    if (steps.length) cause.append(el("p", { class: "dim" }, "Look at ", steps.map((number, rank) => [rank ? " and " : "", jump(number, `step ${number}`, "failing")]), steps.length > 1 ? ", which are ringed." : ", which is ringed."));
    if (seen.passing && seen.passing.trace) {
      cause.append(el("p", { class: "passes" }, `▸ The nearest passing ordering diverges at step ${seen.passing.parts_at}${seen.passing.reversed ? ` and orders ${plural(seen.passing.reversed, "pair")} of conflicting steps differently` : ""}.`));
    }
    for (const [heading, lines] of entry.notes || []) cause.append(el("h3", {}, heading), ...lines.map((line) => el("p", {}, line)));
    cause.append(repeat(entry, seen));
  }
  $("cause").replaceChildren(cause);
  document.title = data.title || (seen && seen.failure ? `${entry.scenario}: ${seen.failure}` : entry.scenario);
}

function repeat(entry, seen) {
  const text = el("code", {}, entry.command || seen.token);
  const copy = el("button", { type: "button" }, "copy");
  copy.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text.textContent);
      copy.textContent = "copied";
    } catch {
      getSelection().selectAllChildren(text);
    }
  });
  return el("div", { class: "token" }, el("span", { class: "dim" }, "repeat with:"), text, copy);
}

function showCells() {
  const list = $("cases");
  list.hidden = data.cases.length < 2;
  if (list.hidden) return;
  const head = ["scenario", "parameters", "verdict", "orderings", "seconds", "failure"].map((name) => el("th", { scope: "col" }, name));
  const lines = data.cases.map((entry, rank) => {
    const seen = entry.counterexample;
    const name = el("button", { type: "button", class: "link", onclick: () => choose(rank) }, entry.scenario);
    const odd = entry.as_expected === false;
    const verdict = entry.error ? "error" : `${entry.verdict || ""}${odd ? ` (expected ${entry.expected})` : ""}`;
    const said = entry.error || (seen ? seen.failure || "does not fail" : "");
    return el("tr", { "aria-current": rank === state.case ? "true" : null }, el("td", {}, name), el("td", {}, words(entry.parameters)), el("td", { class: odd || entry.error ? "odd" : null }, verdict),
      el("td", {}, entry.executions === undefined ? "" : entry.executions.toLocaleString("en")), el("td", {}, entry.seconds === undefined ? "" : entry.seconds.toFixed(1)), el("td", {}, said));
  });
  const number = data.cases.filter((entry) => entry.counterexample).length;
  const open = list.querySelector("details") ? list.querySelector("details").open : true;
  list.replaceChildren(el("details", { open }, el("summary", {}, `${plural(number, "counterexample")} in ${plural(data.cases.length, "case")}`),
    el("div", { class: "list", tabindex: "0", role: "region", "aria-label": "List of cases" }, el("table", { "aria-label": "Cases" }, el("thead", {}, el("tr", {}, head)), el("tbody", {}, lines)))));
}

function showNumbers() {
  const entry = current(), seen = shownExecution();
  const pairs = [];
  const add = (name, value) => { if (value !== undefined && value !== null && value !== "") pairs.push(el("dt", {}, name), el("dd", {}, value)); };
  if (entry.verdict) {
    add("verdict", `${entry.verdict}${entry.as_expected ? ", as expected" : `, expected: ${entry.expected}`}`);
    add(["auto", "dpor"].includes(entry.strategy) ? "orderings run" : "executions run", entry.executions.toLocaleString("en"));
    if (entry.sampled) add("samples drawn", entry.sampled.toLocaleString("en"));
    if (entry.deadlocks) add("deadlocks", entry.deadlocks.toLocaleString("en"));
    add("time", `${entry.seconds.toFixed(2)} s`);
    if (entry.branching) add("branching", entry.branching.points ? `${plural(entry.branching.points, "point")}, ${entry.branching.mean.toFixed(1)} branches each on average` : "none");
    if (entry.never_reached) add("scheduling points never reached", entry.never_reached.length ? el("ul", {}, entry.never_reached.map((text) => el("li", { class: "code" }, text))) : "none in the functions that ran");
    add("bounds", entry.bounds);
  }
  if (seen) {
    const choosing = seen.steps.filter((step) => step.choices > 1).length;
    add("this execution", `${plural(seen.steps.length, "step")}, ${choosing} of them with a choice`);
    add("shortness", seen.shortness);
    add("confirmed", seen.confirmed);
    add("token", el("code", {}, seen.token));
  }
  const text = entry.timeline ? el("details", {}, el("summary", {}, "the timeline as text"), el("pre", { tabindex: "0", "aria-label": "Timeline as text" }, entry.timeline)) : null;
  $("numbers").replaceChildren(el("h2", {}, entry.verdict ? "The exploration" : "The execution"), el("dl", {}, pairs), ...(text ? [text] : []));
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
  const actor = owner.trace.actors.some((each) => each.name === row.actor) ? `${row.actor}: ` : "";
  const tail = [];
  if (row.database.length) tail.push(plural(row.database.length, "row") + " changed");
  if (owner.side === "failing" && fails() && failedRow(owner) === row) tail.push("the failure shows here");
  if (divergesAt() !== null && owner.rowFor(divergesAt()) === row) tail.push("the orderings diverge here");
  mine.replaceChildren(el("b", {}, `Step ${row.number} of ${total}`), ` · ${side}${seconds(step.time)} · ${actor}${row.text}${tail.length ? ` · ${tail.join(" · ")}` : ""}`);
  return `${side}step ${row.number} of ${total}, ${actor}${row.text}`;
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
    history.replaceState(null, "", `#${state.case + 1}/${state.side}/${state.position}`);
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

const toFailure = () => { if (shownExecution().failed_at !== null) go(shownExecution().failed_at, "failing"); };
const toFork = () => { if (divergesAt() !== null) go(divergesAt()); };
const otherSide = () => go(state.position, state.side === "failing" ? "passing" : "failing");

function build() {
  const seen = shownExecution();
  const passing = seen.passing && seen.passing.trace;
  views = { failing: new View(seen, "failing") };
  if (passing) views.passing = new View(passing, "passing");
  $("sides").hidden = !passing;
  $("to-fork").hidden = !passing;
  $("to-failure").hidden = !seen.failure;
  showOrders();
}

function choose(rank, side = "failing", position = null) {
  state.case = rank;
  showTop();
  showCells();
  const seen = shownExecution();
  $("main").hidden = !seen;
  showNumbers();
  if (!seen) return;
  build();
  state.side = views[side] ? side : "failing";
  state.position = position ?? goal(divergesAt() ?? blamed()[0] ?? seen.failed_at ?? 0);
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
  const [entry, side, position] = location.hash.slice(1).split("/");
  const first = data.cases.findIndex((entry) => entry.counterexample);
  const rank = data.cases[Number(entry) - 1] ? Number(entry) - 1 : Math.max(0, first);
  if (data.cases.length) choose(rank, side, position ? Number(position) : null);
}

start();
