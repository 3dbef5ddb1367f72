"""Two runs of one schedule that differ: where they diverge, in a sentence and side by side."""

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
"""Characters of a text that are shown, side by side and in the sentence."""


class Entry(NamedTuple):
    """One step of a run's account, or its beginning or end: a title and labelled texts."""

    title: str
    parts: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Difference:
    """Where two runs of one schedule diverge.

    Attributes:
        before, after: what they did.
        position: of the first entry that differs.
        titles: names of the two runs.
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
    """Return in one sentence where two runs diverge; `again` describes the second one."""
    position = difference.position
    left, right = (_entry(run, position) for run in (difference.before, difference.after))
    if left is None or right is None or left.title != right.title:
        counts = [sum(entry.title.startswith("step") for entry in run) for run in (difference.before, difference.after)]
        if counts[0] != counts[1]:
            return f"the run had {counts[0]} steps and, {again}, {counts[1]}"
    label, text, other_text = _first_part(left, right)
    if left is not None and left.title == "at the end":
        return f"the same steps ended with {label} «{text}» and, {again}, «{other_text}»"
    title = left.title if left is not None else "the beginning"
    part = "" if label == "step" else f" ({dict(left.parts).get('step', '')}: {label})" if left is not None else ""
    return f"{title}{part} was «{text}» and, {again}, «{other_text}»"


def side_by_side(difference: Difference, width: int = 100) -> str:
    """Return the steps around the first difference in two columns; what differs is marked."""
    room = (max(60, width) - 3) // 2
    lines = [f"{_cell(difference.titles[0], room)}   {difference.titles[1]}", f"{'─' * room}   {'─' * room}"]
    start = max(0, difference.position - BEFORE)
    if start:
        lines.append(f"{_cell(f'… {start} equal', room)}   …")
    for position in range(start, difference.position + AFTER + 1):
        left, right = (_entry(run, position) for run in (difference.before, difference.after))
        if left is not None or right is not None:
            lines += _entries(left, right, room, brief=position != difference.position)
    return "\n".join(line.rstrip() for line in lines)


def _entries(left_entry: Entry | None, right_entry: Entry | None, room: int, brief: bool) -> Iterator[str]:
    """Yield the lines of two entries; `brief`: only what was done."""
    left, right = ([] if entry is None else list(entry.parts) for entry in (left_entry, right_entry))
    titles = [entry.title if entry is not None else "(nothing)" for entry in (left_entry, right_entry)]
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
    """Yield two texts side by side, wrapped, with a mark between them if they differ."""
    columns = [
        textwrap.wrap(_excerpt(text, other), room, subsequent_indent="    ") or [""] for text, other in ((left, right), (right, left))
    ]
    for number, (line, other_line) in enumerate(zip_longest(*columns, fillvalue="")):
        mark = UNEQUAL if left != right and not number else " "
        yield f"{_cell(line, room)} {mark} {other_line}"


def _excerpt(text: str, other: str, longest: int = LONGEST) -> str:
    """Return the text; of a long one, the part around the place where it first differs from the other."""
    if len(text) <= longest:
        return text
    same = next((n for n, (mine, its) in enumerate(zip(text, other, strict=False)) if mine != its), min(len(text), len(other)))
    start = max(0, same - longest // 4)
    label = text[: text.find(":", 0, start) + 1] + " …" if start else ""
    return f"{label}{text[start : start + longest]}{'…' if start + longest < len(text) else ''}"


def _cell(text: str, room: int) -> str:
    return text.ljust(room)


def _entry(run: Sequence[Entry], position: int) -> Entry | None:
    return run[position] if position < len(run) else None


def _first_part(before: Entry | None, after: Entry | None) -> tuple[str, str, str]:
    """Return the label and the two texts of the first part in which two entries differ."""
    parts = [list(entry.parts) if entry is not None else [] for entry in (before, after)]
    for mine, yours in zip_longest(*parts):
        if mine != yours:
            label = (mine or yours or ("",))[0]
            left, right = (part[1] if part is not None and part[0] == label else "nothing" for part in (mine, yours))
            return label, _excerpt(left, right, IN_A_SENTENCE), _excerpt(right, left, IN_A_SENTENCE)
    return "title", before.title if before is not None else "nothing", after.title if after is not None else "nothing"
