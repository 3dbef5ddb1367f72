"""The course of a search: which level is searched how, and until when.

The levels come in order, those with the fewest faults first. Most incidents are explained, or shown to be impossible, by a search of a few
hundred executions. Where that is not enough, executions are drawn that follow the log (`guided.py`), at this level and in turn at those
with more faults: what they find is an explanation. Only then the level is searched to its end, with faults first without preemptions.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from simharness.authoring.scenario import Scenario
from simharness.engine.faults import Faults
from simharness.incident.database import Wanted
from simharness.incident.findings import Found, Level
from simharness.incident.matching import Search, levels
from simharness.incident.timeline import Incident
from simharness.settings import Settings

_monotonic = time.monotonic

PROBE = 200
"""Executions without one that fits, after which draws follow."""
DRAWS = (100, 250, 500)
"""How many executions are drawn at each level in turn; at the first level only so many as in the first turn, if there are others."""
QUICK = "only schedules without preemptions were searched"
DRAWN = "found by drawing executions that follow the log"
FEWER = f"{DRAWN}; fewer faults, or fewer missing lines, were not searched to the end"
MOST_FOR_QUICK = 60.0
"""Seconds for searching schedules without preemptions when no limit is given."""


@dataclass
class Course:
    """Searches one case; `searched` has what was found, and what decides the case last."""

    scenario: Scenario
    case: Mapping[str, Any]
    incident: Incident
    wanted: Wanted | None
    settings: Settings
    began: float = field(default_factory=_monotonic)
    searched: list[Found] = field(default_factory=list)

    def run(self, faults: Faults | None, missing: int) -> Found:
        """Search the levels until one of them decides the case; return what was found there."""
        todo = levels(faults, missing)
        for index, level in enumerate(todo):
            if level.faults is None:
                probe = self._search(level, self.left(), probe=PROBE)
                if probe.fits or not probe.gave_up or self.over:
                    if probe.fits or probe.gave_up or index + 1 == len(todo):
                        return probe
                    continue
            drawn = self._draw(todo[index:])
            if drawn is not None:
                return drawn
            if level.faults is not None:
                quick = self._search(level, _quick(self.left()))
                if quick.harmful:
                    quick.gave_up = quick.gave_up or QUICK
                    return quick
            full = self._search(level, self.left())
            if full.fits or full.gave_up:
                return full
        return self.searched[-1]

    @property
    def executions(self) -> int:
        """How many executions there were."""
        return sum(found.executions for found in self.searched)

    @property
    def over(self) -> bool:
        """Whether a limit is reached."""
        most, seconds = self.settings.max_executions, self.settings.max_seconds
        return (most is not None and self.executions >= most) or (seconds is not None and _monotonic() - self.began >= seconds)

    def left(self) -> Settings:
        """Return the settings with what is left of their limits."""
        most, seconds = self.settings.max_executions, self.settings.max_seconds
        if most is not None:
            most = max(1, most - self.executions)
        if seconds is not None:
            seconds = max(0.0, seconds - (_monotonic() - self.began))
        return replace(self.settings, max_executions=most, max_seconds=seconds)

    def _draw(self, todo: Sequence[Level]) -> Found | None:
        """Draw executions of these levels in turn; return what was found if one of them is harmful."""
        for number, draws in enumerate(DRAWS):
            for level in todo[1:] if number and len(todo) > 1 else todo:
                settings = self.left()
                if self.over:
                    return None
                most = min(draws, settings.max_executions or draws)
                seed = settings.seed + number
                found = self._search(level, replace(settings, max_executions=most, seed=seed), guided=True)
                if found.harmful:
                    found.gave_up = DRAWN if level is todo[0] else FEWER
                    return found
        return None

    def _search(self, level: Level, settings: Settings, guided: bool = False, probe: int | None = None) -> Found:
        search = Search(self.scenario, self.case, settings, self.incident, level, self.wanted)
        found = search.find(guided=guided, probe=probe)
        self.searched.append(found)
        return found


def _quick(settings: Settings) -> Settings:
    """Return settings for searching first where an explanation is likely: only faults interrupt an actor."""
    seconds = MOST_FOR_QUICK if settings.max_seconds is None else settings.max_seconds / 2
    return replace(settings, preemptions=0, max_seconds=seconds)
