"""Clocks of different logs that are a time zone apart.

Logs of one incident begin about the same time. If one of them begins whole quarters of an hour earlier or later, its times are likely those
of another zone; the incident is then tried with that clock set right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from simharness.incident.templates import Line
from simharness.incident.times import SECOND

QUARTER = 900 * SECOND


def shifts(lines: Sequence[Line]) -> dict[str, int]:
    """Return by how many nanoseconds logs are ahead of the one with the most lines, in quarters of an hour; only those that are."""
    begins: dict[str, int] = {}
    counts: dict[str, int] = {}
    for line in lines:
        begins[line.source] = min(begins.get(line.source, line.time), line.time)
        counts[line.source] = counts.get(line.source, 0) + 1
    base = begins[max(counts, key=lambda source: (counts[source], source))]
    found = {source: round((begin - base) / QUARTER) * QUARTER for source, begin in begins.items()}
    return {source: shift for source, shift in found.items() if shift}


def shifted(lines: Sequence[Line], by: dict[str, int]) -> list[Line]:
    """Return the lines with the clocks of these logs set back by so much."""
    return [replace(line, time=line.time - by[line.source]) if line.source in by else line for line in lines]


def in_words(by: dict[str, int]) -> str:
    """Say which clocks differ, and how to say so."""
    said = []
    for source, shift in by.items():
        minutes = abs(shift) // SECOND // 60
        name = source.rpartition("/")[2]
        zone = f"{'+' if shift > 0 else '-'}{minutes // 60:02}:{minutes % 60:02}"
        ahead = "ahead of" if shift > 0 else "behind"
        said.append(f"the clock of {name} is {minutes // 60} h {minutes % 60} min {ahead} the others': --zone {name}={zone}")
    return "; ".join(said)
