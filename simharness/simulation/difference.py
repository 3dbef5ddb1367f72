"""Two runs of one schedule that differ: where they part, in a sentence and side by side."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import NamedTuple

from simharness.errors import Nondeterminism

BEFORE, AFTER = 3, 1
"""Entries that are shown before and after the one that differs."""
UNEQUAL = "≠"
LONGEST, IN_A_SENTENCE = 400, 120
"""Characters of a text that are shown, side by side and in the one sentence."""


class Entry(NamedTuple):
    """One step of the account of a run, or its beginning or end: a title and labelled texts."""

    title: str
    parts: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Difference:
    """Where two runs of one schedule part.

    Attributes:
        before, after: what they did.
        position: of the first entry in which they differ.
        titles: what to call the two runs.
    """

    before: Sequence[Entry]
    after: Sequence[Entry]
    position: int
    titles: tuple[str, str]


def nondeterminism(message: str, difference: Difference | None) -> Nondeterminism:
    """Return the error for two runs of one schedule that differ; a note shows them side by side."""
    error = Nondeterminism(message, difference)
    if difference is not None:
        error.add_note(side_by_side(difference))
    return error


def first_difference(difference: Difference, again: str) -> str:
    """Say in one sentence where two runs part; `again` says what the second one was."""
    position = difference.position
    one, two = (_entry(run, position) for run in (difference.before, difference.after))
    if one is None or two is None or (one.title != two.title):
        counts = [sum(entry.title.startswith("step") for entry in run) for run in (difference.before, difference.after)]
        if counts[0] != counts[1]:
            return f"the run had {counts[0]} steps and, {again}, {counts[1]}"
    label, left, right = _first_part(one, two)
    if one is not None and one.title == "at the end":
        return f"the same steps came to {label} «{left}» and, {again}, «{right}»"
    title = one.title if one is not None else "the beginning"
    what = "" if label == "step" else f" ({dict(one.parts).get('step', '')}: {label})" if one is not None else ""
    return f"{title}{what} was «{left}» and, {again}, «{right}»"


def side_by_side(difference: Difference, width: int = 100) -> str:
    """Return the steps around the first difference in two columns; what differs is marked."""
    room = (max(60, width) - 3) // 2
    lines = [f"{_cell(difference.titles[0], room)}   {difference.titles[1]}", f"{'─' * room}   {'─' * room}"]
    start = max(0, difference.position - BEFORE)
    if start:
        lines.append(f"{_cell(f'… {start} equal', room)}   …")
    for position in range(start, difference.position + AFTER + 1):
        one, two = (_entry(run, position) for run in (difference.before, difference.after))
        if one is not None or two is not None:
            lines += _entries(one, two, room, brief=position != difference.position)
    return "\n".join(line.rstrip() for line in lines)


def _entries(one: Entry | None, two: Entry | None, room: int, brief: bool) -> Iterator[str]:
    """Yield the lines of two entries; of one beside the first difference only what was done."""
    left, right = ([] if entry is None else list(entry.parts) for entry in (one, two))
    titles = [entry.title if entry is not None else "(nothing)" for entry in (one, two)]
    if brief:
        texts = [f"{title}: {parts[0][1]}" if parts else title for title, parts in zip(titles, (left, right), strict=True)]
        short = [textwrap.shorten(text, room - 2, placeholder="…") for text in texts]
        yield from _pair(short[0], short[1], room)
        return
    yield from _pair(f"{titles[0]}:", f"{titles[1]}:", room)
    labels = list(dict.fromkeys(label for label, _ in left + right))
    for label in labels:
        for mine, yours in zip_longest(*([text for known, text in parts if known == label] for parts in (left, right))):
            left_text, right_text = (f"  {label}: {'–' if text is None else text}" for text in (mine, yours))
            yield from _pair(left_text, right_text, room)


def _pair(left: str, right: str, room: int) -> Iterator[str]:
    """Yield two texts side by side, wrapped; a mark stands between them where they differ."""
    columns = [
        textwrap.wrap(_excerpt(text, other), room, subsequent_indent="    ") or [""] for text, other in ((left, right), (right, left))
    ]
    for number, (one, two) in enumerate(zip_longest(*columns, fillvalue="")):
        mark = UNEQUAL if left != right and not number else " "
        yield f"{_cell(one, room)} {mark} {two}"


def _excerpt(text: str, other: str, longest: int = LONGEST) -> str:
    """Return a long text from a little before the place where it differs from the other."""
    if len(text) <= longest:
        return text
    same = next((n for n, (one, two) in enumerate(zip(text, other, strict=False)) if one != two), min(len(text), len(other)))
    start = max(0, same - longest // 4)
    label = text[: text.find(":", 0, start) + 1] + " …" if start else ""
    return f"{label}{text[start : start + longest]}{'…' if start + longest < len(text) else ''}"


def _cell(text: str, room: int) -> str:
    return text.ljust(room)


def _entry(run: Sequence[Entry], position: int) -> Entry | None:
    return run[position] if position < len(run) else None


def _first_part(one: Entry | None, two: Entry | None) -> tuple[str, str, str]:
    """Return label and texts of the first part in which two entries differ."""
    parts = [list(entry.parts) if entry is not None else [] for entry in (one, two)]
    for mine, yours in zip_longest(*parts):
        if mine != yours:
            label = (mine or yours or ("",))[0]
            left, right = (part[1] if part is not None and part[0] == label else "nothing" for part in (mine, yours))
            return label, _excerpt(left, right, IN_A_SENTENCE), _excerpt(right, left, IN_A_SENTENCE)
    return "title", one.title if one is not None else "nothing", two.title if two is not None else "nothing"
