"""Stepping line by line: choices are read from one stream, one a line, and the results are written to another."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TextIO

from simharness.errors import Misuse
from simharness.step import words
from simharness.step.stepper import Point, Stepper
from simharness.timeline.render import render
from simharness.timeline.words import cut
from simharness.visible import visible

HELP = """\
NUMBER or ACTOR   make this move
f, or nothing     forward along the token; at its end, the last actor continues
b                 back by one step
g NUMBER          to the point after this number of steps
j                 to the failure
w                 the timeline so far
r                 rows of databases
l                 log lines
t                 the token of the steps so far
q                 end
"""
LONGEST_CELL = 24
_NUMBER = re.compile(r"[0-9]{1,9}")


class Lines:
    """Steps as the lines that it reads say.

    Args:
        width: of the lines that are written.
    """

    def __init__(self, stepper: Stepper, source: TextIO, target: TextIO, width: int) -> None:
        self._stepper = stepper
        self._source = source
        self._target = target
        self._width = width

    def run(self) -> None:
        """Step until the lines end, or `q`."""
        self._say(f"{self._stepper.point.trace.scenario}: type ? for help")
        self._show(self._stepper.point)
        while True:
            self._target.write("> ")
            self._target.flush()
            line = self._source.readline()
            if not self._source.isatty():
                self._say(line.strip())
            if not line or line.strip() == "q":
                return
            try:
                self._do(line.strip())
            except Misuse as error:
                self._say(str(error))

    def _do(self, line: str) -> None:
        stepper = self._stepper
        word, _, rest = line.partition(" ")
        printed = {"?": lambda: iter(HELP.splitlines()), "w": self._timeline, "r": self._rows, "l": self._log, "t": self._token}
        before = stepper.point.position
        if line in printed:
            for text in printed[line]():
                self._say(text)
        elif line in ("", "f"):
            self._moved(before, stepper.forward())
        elif line == "b":
            self._moved(before, stepper.back())
        elif line == "j":
            self._moved(before, stepper.to_failure())
        elif word == "g" and _NUMBER.fullmatch(rest.strip()):
            self._moved(before, stepper.go(int(rest)))
        elif _NUMBER.fullmatch(line):
            self._moved(before, stepper.pick(int(line)))
        else:
            self._moved(before, stepper.pick_actor(line))

    def _moved(self, before: int, point: Point) -> None:
        for step in point.trace.steps[before:]:
            self._say(f"{step.number:>4}  {words.step_in_words(step)}")
            for text in words.below(step):
                self._say(f"        {text}")
        self._show(point)

    def _show(self, point: Point) -> None:
        """Say where the execution stands and what can come next."""
        if point.notice:
            self._say(f"({point.notice})")
        self._say(", ".join([words.title(point), *words.held(point)]))
        if point.trace.failure:
            self._say(f"✗ {point.trace.failure}")
        if point.end:
            self._say(point.end)
        for number, move in enumerate(point.possible, 1):
            mark = "▸" if move is point.ahead else " "
            self._say(f"{mark}{number:>3}  {words.move(move, self._width - 6)}")
        for move in point.blocked:
            self._say(f"   –  {words.move(move, 4 * self._width)}")

    def _timeline(self) -> Iterator[str]:
        yield from render(self._stepper.point.trace, self._width, full=True).splitlines()

    def _rows(self) -> Iterator[str]:
        point = self._stepper.point
        changed = words.changed_now(point)
        for database, tables in point.tables.items():
            for name, table in tables.items():
                yield f"{database} {name}{' (changed by this step)' if (database, name) in changed else ''}"
                for row in (table.columns, *table.rows):
                    yield "    " + " | ".join(cut(words.cell(value), LONGEST_CELL) for value in row)

    def _log(self) -> Iterator[str]:
        yield from words.log(self._stepper.point) or ["nothing was logged"]

    def _token(self) -> Iterator[str]:
        yield self._stepper.point.token

    def _say(self, text: str) -> None:
        self._target.write(f"{visible(text)}\n")
