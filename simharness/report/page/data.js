"use strict";
// As simharness/visible.py does: nothing that cannot be seen, or that reorders text, reaches the page as it is.
const UNSEEN = /(?! )[\p{C}\p{Z}\u115f\u1160\u2800\u3164\uffa0\u{e0100}-\u{e01ef}]/gu;
function visible(text) {
  return text.replace(UNSEEN, (character) => {
    const code = character.codePointAt(0).toString(16);
    const short = { "\n": "\\n", "\r": "\\r", "\t": "\\t" }[character];
    return short || (code.length < 3 ? `\\x${code.padStart(2, "0")}` : code.length < 5 ? `\\u${code.padStart(4, "0")}` : `\\U${code.padStart(8, "0")}`);
  });
}

// The state is what is shown: a case, one of its orderings, a position in it (how many steps have been made), and whether every step has a row.
const data = JSON.parse(document.getElementById("data").textContent, (name, value) => {
  if (typeof value === "string") return name === "timeline" ? value.split("\n").map(visible).join("\n") : visible(value);
  if (value === null || typeof value !== "object" || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([member, content]) => [visible(member), content]));
});
const $ = (id) => document.getElementById(id);
const state = { case: 0, side: "failing", position: 0, every: false };
let views = {};
let parts = [];
const NOTHING = ["", "None", "-", "–"];
const LEGEND = "A dot is a step. Its line is thick while the actor holds a lock and dotted while it cannot move. An arrow leads from a step to the step that it made possible.";
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
const same = (left, right) => JSON.stringify(left) === JSON.stringify(right);
const current = () => data.cases[state.case];
const shownExecution = () => current().counterexample;
const view = () => views[state.side];
const fails = () => Boolean(shownExecution().failure);

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
    return position ? this.step(position) : { ...this.trace.initial, held: {}, wall: 0 };
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
  const races = (shownExecution().blame || []).slice(0, 1).flatMap((blame) => blame.races);
  return [...new Set(races.flatMap((race) => [race.first, race.second]))].filter(Boolean);
};
const divergesAt = () => (shownExecution().passing ? shownExecution().passing.parts_at : null);
