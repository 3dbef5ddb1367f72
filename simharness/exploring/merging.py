"""Joins what several machines have explored of one case: the union of their parts, in the order of the sequential search.

Nothing is explored here, but for what a verdict needs: a first execution, one that fails. What a search would come to next and no part
has is left, so the verdict is "verified" only when nothing is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from simharness.authoring.loading import load
from simharness.authoring.scenario import Scenario
from simharness.errors import Misuse
from simharness.exploring import checkpoints
from simharness.exploring.explore import Explorer, run_safely
from simharness.exploring.progress import Progress
from simharness.search import tokens
from simharness.settings import Settings
from simharness.verdicts.results import Result
from simharness.visible import shortened


@dataclass
class Joined:
    """A case, and the entries of several files for it."""

    scenario: Scenario
    parameters: Mapping[str, Any]
    entries: list[Mapping[str, Any]] = field(default_factory=list)
    files: list[str] = field(default_factory=list)

    @property
    def settings(self) -> Settings:
        """The settings with which it was explored."""
        written = self.entries[0]["settings"]
        said: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in written.items()}
        return Settings(**said)


def read(paths: Sequence[str]) -> list[Joined]:
    """Return the cases of which files hold parts.

    Raises:
        Misuse: a file is no checkpoint for this code, or two were explored in different ways.
    """
    cases: dict[str, Joined] = {}
    for path in paths:
        for name, entry in checkpoints.read(path)["cases"].items():
            if name not in cases:
                cases[name] = _case(path, entry)
            joined = cases[name]
            for key in ("strategy", "stop_on_first", "settings"):
                if joined.entries and joined.entries[0][key] != entry[key]:
                    raise Misuse(f"{shortened(path)}: {shortened(name)} was explored in another way than in {joined.files[0]} ({key})")
            joined.entries.append(entry)
            joined.files.append(shortened(path))
    if not cases:
        raise Misuse(f"{', '.join(map(shortened, paths))}: no case was explored: give files that `--checkpoint` has written")
    return list(cases.values())


def _case(path: str, entry: Mapping[str, Any]) -> Joined:
    address, wanted = entry["scenario"], entry["parameters"]
    if "::" not in address:
        raise Misuse(f"{shortened(path)}: {shortened(address)} is in no file, so it cannot be joined here: resume it where it was explored")
    [scenario] = load(address)
    for case in scenario.cases(wanted["faults"] if "faults" in wanted and "faults" not in scenario.matrix else None):
        if {name: tokens.text_of(value) for name, value in case.items()} == wanted:
            return Joined(scenario, case)
    raise Misuse(f"{shortened(path)}: {shortened(address)} has no case {', '.join(f'{name}={value}' for name, value in wanted.items())}")


def merged(joined: Joined, settings: Settings, progress: Progress) -> Result:
    """Join the parts of a case, and return what they come to."""
    how = joined.entries[0]

    def run() -> Result:
        return Explorer(joined.scenario, joined.parameters, how["strategy"], how["stop_on_first"], settings, progress, joined.entries).run()

    return run_safely(joined.scenario, joined.parameters, how["strategy"], run, progress)
