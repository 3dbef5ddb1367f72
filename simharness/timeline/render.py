"""A trace as a timeline: a column for each actor, time downwards, what the world looked like at the right.

Promises: no line is wider than asked for, except what cannot be cut (the failure is wrapped); the text is the same with and
without colour; the same trace gives the same text.
"""

from __future__ import annotations

import linecache
import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise

from simharness.engine.kinds import Role
from simharness.timeline.folding import Row, rows
from simharness.timeline.shown import shown
from simharness.timeline.stuck import said, waits
from simharness.timeline.why import explain, row_of
from simharness.timeline.words import advance, cut, cut_name, one_line, seconds, strike, where
from simharness.trace.data import Step, Trace
from simharness.visible import visible

ALIVE, HOLDING, LAPSED, FAILED, DIVERGES, NOTHING = "│", "┃", "╎", "✗", "▸", "–"
ENOUGH_BELOW = 60
_NO_VALUE = ("", "None", "-", NOTHING)
_CODES = {"bold": "1", "dim": "2", "italic": "3", "red": "31", "green": "32", "yellow": "33", "blue": "34", "magenta": "35", "cyan": "36"}
"""The codes of the words of a style (ECMA-48, SGR)."""
_CHANGE = {"+": "green", "-": "red", "~": "yellow"}
_ACTOR_STYLES = ("cyan", "magenta", "blue", "yellow", "green")


@dataclass
class OutputLine:
    """One line of output: pieces of text, each with the column where it starts and its style."""

    pieces: list[tuple[int, str, str]] = field(default_factory=list)

    def put(self, at: int, text: str, style: str = "") -> None:
        """Place text; later pieces hide earlier ones where they overlap."""
        if text:
            self.pieces.append((at, text, style))

    def cells(self) -> list[tuple[str, str]]:
        """Return the line as (character, style) pairs."""
        cells: list[tuple[str, str]] = []
        for at, text, style in self.pieces:
            cells.extend((" ", "") for _ in range(at + len(text) - len(cells)))
            cells[at : at + len(text)] = [(character, style) for character in text]
        while cells and cells[-1][0] == " ":
            cells.pop()
        return cells


def render(trace: Trace, width: int = 100, colour: bool = False, full: bool = False, source: bool = False) -> str:
    """Return the trace as text.

    Args:
        width: of the longest line.
        colour: decorate with ANSI colours.
        full: show every step; otherwise only those that explain.
        source: show below each step the line of source that makes it.
    """
    return Timeline(trace, width, full, source).text(colour)


class Timeline:
    """Lays a trace out in columns."""

    def __init__(self, trace: Trace, width: int, full: bool, source: bool = False) -> None:
        self.trace = trace = shown(trace)
        self.page = self.width = max(40, width)
        self.rows, self.after = rows(trace, full)
        self.source = source
        self.lines: list[OutputLine] = []
        self.holding = any(locks for row in self.rows for locks in row.step.held.values())
        self._ends = _last_steps(trace)
        self._begun: set[str] = set()
        self._lay_out()

    def text(self, colour: bool) -> str:
        """Return the finished text."""
        self.lines = []
        self._title()
        self._header()
        self._body()
        self._ending()
        if not colour:
            return "\n".join("".join(character for character, _ in line.cells()) for line in self.lines)
        return _coloured(self.lines)

    # Layout

    def _lay_out(self) -> None:
        trace = self.trace
        moving = {row.step.actor for row in self.rows} | {stuck.actor for stuck in trace.waiting}
        several = len(set(trace.actors.values())) > 1
        self.labels = {name: f"{name} [{process}]" if several else name for name, process in trace.actors.items() if name in moving}
        self.styles = {name: _ACTOR_STYLES[rank % len(_ACTOR_STYLES)] for rank, name in enumerate(self.labels)}
        places = [where(row.step.place, self.width) for row in self.rows]
        places += [where(stuck.place, self.width) for stuck in trace.waiting]
        self.place_width = min(max(map(len, places), default=0), max(12, self.width // 4))
        self.margin = len(str(self.rows[-1].number if self.rows else 0)) + 3
        wide = {name: self._shown_width(name) for name in _shown_names(trace)}
        fixed = self.margin + self.place_width + 2 * len(wide) + sum(wide.values()) + 2
        widths = self._shared_out({name: self._wanted(name) for name in self.labels}, max(20, self.width - fixed))
        self.columns = {}
        at = self.margin
        for name in self.labels:
            self.columns[name] = at
            at += widths[name]
        self.right = at
        self.shown = {}
        for name, width in wide.items():
            self.shown[name] = at + 1
            at += width + 2
        below = [len(one_line(text)) for row in self.rows for text in (*row.inside, *row.database, *row.log)]
        self.width = min(self.page, max(at + self.place_width + 1, max(below, default=0) + self.margin + 8, 40))

    def _shown_width(self, name: str) -> int:
        later = [_shown_values(row.step)[name] for row in self.rows if name in row.step.shown]
        values = [*later, one_line(self.trace.initial.get(name, ""))]
        timed = any(name in row.step.until for row in self.rows)
        return min(max(map(len, [name, *values])), max(8, self.width // (5 if timed else 7)))

    def _wanted(self, name: str) -> int:
        """Return the width that an actor's column needs: lifeline, blank, text, two blanks."""
        texts = [len(row.text) for row in self.rows if row.step.actor == name]
        texts += [len(text) for stuck in self.trace.waiting if stuck.actor == name for text in waits(stuck)]
        return max([len(self.labels[name]) + 2, *(length + 4 for length in texts)])

    @staticmethod
    def _shared_out(wanted: dict[str, int], room: int) -> dict[str, int]:
        """Give each column what it needs if there is room; else serve the last first, since texts of the others may run over into it."""
        if sum(wanted.values()) <= room or not wanted:
            return wanted
        last = list(wanted)[-1]
        least = sum(min(14, width) for name, width in wanted.items() if name != last)
        given = {last: min(wanted[last], max(room - least, room // len(wanted)))}
        left = room - given[last]
        others = sorted((name for name in wanted if name != last), key=lambda name: wanted[name])
        for rank, name in enumerate(others):
            given[name] = max(3, min(wanted[name], left // (len(others) - rank)))
            left -= given[name]
        return given

    def _shown_room(self, name: str) -> int:
        following = [at for at in self.shown.values() if at > self.shown[name]]
        return min([*following, self.width - self.place_width]) - self.shown[name] - 2

    # Parts

    def _line(self) -> OutputLine:
        self.lines.append(OutputLine())
        return self.lines[-1]

    def _title(self) -> None:
        trace = self.trace
        case = "  ".join(f"{name}={value}" for name, value in trace.parameters.items())
        movers = [step.actor for step in trace.steps[: trace.failed_at] if step.actor in self.columns]
        shown = sum(1 for before, after in pairwise(movers) if before != after)
        switches = trace.switches
        steps = f"{len(trace.steps)} {'step' if len(trace.steps) == 1 else 'steps'}"
        title = f"{trace.scenario}  {case}".rstrip()
        size = f"{steps}, {switches} context {'switch' if switches == 1 else 'switches'}"
        if shown != switches:
            size = f"{steps}, {switches} switches, {shown} shown"
        line = self._line()
        title = cut(title, self.page - len(size) - 2)
        line.put(0, title, "bold")
        line.put(len(title) + 2, size, "dim")
        self._line()

    def _header(self) -> None:
        if not self.labels:
            return
        names, below = self._line(), self._line()
        borders = [*self.columns.values(), self.right]
        for rank, (name, label) in enumerate(self.labels.items()):
            room = borders[rank + 1] - borders[rank] - 1
            names.put(borders[rank], cut_name(label, room), f"bold {self.styles[name]}")
            below.put(borders[rank], "─" * min(len(label), room), self.styles[name])
        for name, at in self.shown.items():
            label = cut(name, self._shown_room(name))
            names.put(at, label, "bold")
            below.put(at, "─" * len(label))

    def _body(self) -> None:
        trace = self.trace
        values = {name: one_line(value) for name, value in trace.initial.items()}
        if any(value not in _NO_VALUE for value in values.values()):
            line = self._line()
            line.put(self.margin, "(at the start)", "dim")
            self._values(line, values, {})
        failed, diverging = self._failed_row(), self._diverging_row()
        mover = ""
        for row in self.rows:
            step = row.step
            if step.kind.role in (Role.MOVES_CLOCK, Role.STRIKES):
                self._rule(step)
                for change in row.database:
                    self._line().put(self.margin + 2, cut(one_line(change), self.width - self.margin - 2), _CHANGE.get(change[:1], ""))
                if row is diverging:
                    self.lines[-1].put(0, DIVERGES, "bold green")
                mover = ""
                continue
            if mover and mover != step.actor:
                self._lifelines(self._line(), row, values)
            self._begun.add(step.actor)
            mover = step.actor
            marked = len(self.lines)
            self._row(row, values, failed=row is failed)
            if row is diverging:
                self.lines[marked].put(int(row is failed), DIVERGES, "bold green")
            values = _shown_values(step) or values

    def _failed_row(self) -> Row | None:
        trace = self.trace
        if not trace.failed_at or trace.waiting:
            return None
        before = [row for row in self.rows if row.number <= trace.failed_at and row.step.actor in self.columns]
        return before[-1] if before else None

    def _diverging_row(self) -> Row | None:
        why = self.trace.why
        return None if why is None or why.passing is None else row_of(self.trace, self.rows, why.passing.parts_at)

    def _row(self, row: Row, values: Mapping[str, str], failed: bool) -> None:
        step = row.step
        line = self._line()
        at = self.columns[step.actor]
        self._lifelines(line, row, values)
        number = str(row.number).rjust(self.margin - 3)
        line.put(0, FAILED if failed else " ", "bold red")
        line.put(2, number, "dim")
        style = "dim" if row.filler else ("bold red" if failed else "")
        line.put(at + 2, cut(row.text, self.right - at - 3), style)
        self._values(line, _shown_values(step), values)
        place = where(step.place, self.place_width)
        line.put(self.width - len(place), place, "dim")
        if self.source and step.place is not None:
            self._below(row, visible(linecache.getline(step.place.file, step.place.line).strip()), "dim")
        for statement in row.inside:
            self._below(row, statement, "")
        for change in row.database:
            self._below(row, one_line(change), _CHANGE.get(change[:1], ""))
        for text in row.log:
            self._below(row, f"log {one_line(text)}", "dim italic")

    def _below(self, row: Row, text: str, style: str) -> None:
        """Place a line below a step, in its actor's column; further left where too little of it would fit."""
        line = self._line()
        at = min(self.columns[row.step.actor] + 4, max(self.margin + 2, self.width - min(len(text), ENOUGH_BELOW)))
        self._lifelines(line, row, _shown_values(row.step))
        text = cut(text, self.width - at)
        line.put(at - 2, f"  {text} ", style)

    def _lifelines(self, line: OutputLine, row: Row, values: Mapping[str, str]) -> None:
        step = row.step
        for name, at in self.columns.items():
            if name in self._begun and self._ends.get(name, 0) >= row.number:
                holds = bool(step.held.get(name))
                line.put(at, HOLDING if holds else ALIVE, self.styles[name] if holds else "dim")
        for name, at in self.shown.items():
            if values.get(name, "") not in _NO_VALUE:
                bar = HOLDING if name in step.until else ALIVE
                line.put(at, LAPSED if _lapsed(step, name) else bar, "dim")

    def _values(self, line: OutputLine, now: Mapping[str, str], before: Mapping[str, str]) -> None:
        for name, at in self.shown.items():
            value = now.get(name, "")
            if value != before.get(name, ""):
                text = NOTHING if value in _NO_VALUE else one_line(value)
                line.put(at, cut(text, self._shown_room(name)), "bold")

    def _rule(self, step: Step) -> None:
        if step.kind.role is Role.STRIKES:
            text = f"── {strike(step)} "
            self._line().put(0, text + "─" * (self.width - len(text)), "bold red")
            return
        start, end = advance(step)
        text = f"── clock +{seconds(end - start)} (now {seconds(end)}) "
        self._line().put(0, text + "─" * (self.width - len(text)), "blue")

    def _ending(self) -> None:
        trace = self.trace
        if trace.waiting:
            self._stuck()
        elif trace.failed_at == 0:
            self._line().put(self.margin, "(in the initial state)", "dim")
        if trace.failure:
            self._line()
            sentence = f"{FAILED} {said(self.trace, self.columns)}"
            for text in textwrap.wrap(sentence, self.page, subsequent_indent="  ", break_on_hyphens=False):
                self._line().put(0, text, "bold red")
            self._explanation()
        if self.after:
            self._line().put(0, cut(f"  not shown: {_count(self.after)} after the failure", self.page), "dim")
        if self.holding:
            self._line().put(0, f"{HOLDING} holds a lock", "dim")
        if any("t+" in change for row in self.rows for change in row.database):
            self._line().put(0, "t+1s: a time in the database, one second after the start", "dim")

    def _explanation(self) -> None:
        """Say what decides the failure, and where the nearest passing execution diverges; its token stays in one piece."""
        for sentence in explain(self.trace, self.rows):
            for text in textwrap.wrap(sentence, self.page - 2, subsequent_indent="  ", break_on_hyphens=False):
                self._line().put(2, text)
        passing = self.trace.why.passing if self.trace.why is not None else None
        if passing is not None:
            failing = self.trace.steps[passing.parts_at - 1]
            mover, replaced = ("the clock" if actor == "clock" else actor for actor in (passing.actor, failing.actor))
            replaced = "the fault" if failing.kind.role is Role.STRIKES else replaced
            how = f"{mover} makes another choice" if mover == replaced else f"{mover} moves instead of {replaced}"
            text = f"{DIVERGES} a passing ordering diverges here, at step {passing.parts_at}: {how}; replay: {passing.token}"
            for line in textwrap.wrap(text, self.page, subsequent_indent="  ", break_on_hyphens=False, break_long_words=False):
                self._line().put(0, line, "green")

    def _stuck(self) -> None:
        """Say below the steps, in each stuck actor's column, what it waits for."""
        if self.rows:
            self._line()
        for stuck in self.trace.waiting:
            place = where(stuck.place, self.place_width)
            for text in waits(stuck):
                line = self._line()
                for name, at in self.columns.items():
                    if self._ends.get(name, 0) > len(self.trace.steps):
                        line.put(at, HOLDING if self._holds(name) else ALIVE, "dim")
                at = self.columns[stuck.actor] + 2
                line.put(at, cut(text, self.right - at - 1), "bold red")
                line.put(0, "" if text.startswith(" ") else FAILED, "bold red")
                line.put(self.width - len(place), place, "dim")
                place = ""

    def _holds(self, actor: str) -> bool:
        return bool(self.trace.steps) and bool(self.trace.steps[-1].held.get(actor))


def _shown_values(step: Step) -> dict[str, str]:
    """Return the values of `world.show` after a step; one that is held for a time with the end of that time."""
    values = {}
    for name, value in step.shown.items():
        until = step.until.get(name)
        values[name] = one_line(value)
        if until is not None and value not in _NO_VALUE:
            values[name] = "has run out" if _lapsed(step, name) else f"{one_line(value)} to {seconds(until)}"
    return values


def _lapsed(step: Step, name: str) -> bool:
    return name in step.until and step.wall >= step.until[name]


def _last_steps(trace: Trace) -> dict[str, int]:
    ends = {step.actor: step.number for step in trace.steps}
    for stuck in trace.waiting:
        ends[stuck.actor] = len(trace.steps) + 1
    return ends


def _shown_names(trace: Trace) -> list[str]:
    names: Iterable[str] = (name for values in (trace.initial, *(step.shown for step in trace.steps)) for name in values)
    return list(dict.fromkeys(names))


def _count(steps: Sequence[Step]) -> str:
    made = Counter(step.actor for step in steps)
    return ", ".join(f"{number} {'step' if number == 1 else 'steps'} of {actor}" for actor, number in made.items())


def _coloured(lines: Sequence[OutputLine]) -> str:
    return "\n".join(
        "".join(
            _styled("".join(character for character, _ in group), style) for style, group in groupby(line.cells(), key=lambda cell: cell[1])
        )
        for line in lines
    )


def _styled(text: str, style: str) -> str:
    return f"\x1b[{';'.join(_CODES[word] for word in style.split())}m{text}\x1b[0m" if style else text
