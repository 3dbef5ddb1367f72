"""Where an exploration stands, as JSON, and how another process goes on from there.

The state is that of the owner's tree: the main part, which is the search itself, and the parts that were explored ahead of it, with the
counts of what the search has passed. So a checkpoint, what one of several machines has explored, and several of these together are the same
thing: of each part the state that is furthest holds, and the search takes over what fits, in its own order (`parts.py`).

What was explored with fewer facts than another state knows is out of date, and left out.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from simharness.engine.actors import SHIFT
from simharness.engine.facts import Fact, Mark
from simharness.errors import Nondeterminism
from simharness.exploring.parallel.border import Border, Table
from simharness.exploring.parallel.log import together
from simharness.exploring.parallel.part import Part, Path
from simharness.exploring.parallel.plain import from_json, integer, number, to_json
from simharness.exploring.parallel.written import Json, nested, of_part, of_tally, part_of, tally_of
from simharness.exploring.rounds import Rounds
from simharness.places import Place
from simharness.search.auto import Auto
from simharness.simulation.execution import Execution
from simharness.simulation.repeating import WHAT_TO_DO

_monotonic = time.monotonic
TRIES = 5
"""How often a first execution may show what this process does not know yet about its memory."""


def state_of(rounds: Rounds) -> Json:
    """Return the state of an exploration, between two executions of its search."""
    simulation, search = rounds.simulation, rounds.search
    assert search is not None
    kernel = simulation.kernel
    learned, strategy, branching = kernel.learned, rounds.strategy, rounds.branching
    function = simulation.scenario.function
    return {
        **with_failure(rounds),
        "facts": sorted([fact.word, *(getattr(fact, name) for name in fact.fields)] for fact in learned.all()),
        "checked": number(learned.checked),
        "checked_names": kernel.names.of(learned.checked),
        "late": learned.late,
        "runtimes": sorted(learned.runtimes),
        "unseen": sorted(learned.unseen),
        "runs": rounds.tally.runs,
        "rounds": rounds.number,
        "tally": of_tally(rounds.tally),
        "at_end": [simulation.checked, simulation.checks],
        "branching": None if branching is None else [branching.points, branching.branches, list(branching.open)],
        "last": None if rounds.execution is None else list(rounds.execution.keys),
        "announced": rounds.announced,
        "first": None if rounds.repeats.first is None else rounds.repeats.first.token,
        "kept": to_json({name: getattr(function, name) for name in simulation.scenario.keeps}),
        "samples": _of_samples(strategy) if isinstance(strategy, Auto) else None,
        "watched": rounds.watcher.state(rounds),
        "parts": list(map(of_part, rounds.parts())),
    }


def with_failure(rounds: Rounds) -> Json:
    """Return the first failure as a part of a state, and the names in it."""
    table, failing = Table.of(rounds.simulation.kernel), rounds.tally.first_failure
    return {
        "names": list(table.names),
        "fault_movers": list(map(list, table.faults)),
        "failing": None if failing is None else list(failing.keys),
    }


class Saved:
    """States to go on from: one, or those of several parts of an exploration."""

    def __init__(self, states: Sequence[Json]) -> None:
        self.states = states
        self.tries = 0

    def restore(self, rounds: Rounds, mark: Mark) -> bool:
        """Let a round that has not begun go on from there; return False if it has to start over before.

        The first execution is run again: what a process knows of its memory shows in it, and verdicts rest on it.

        Raises:
            Nondeterminism: it is another one than before.
        """
        kernel = rounds.simulation.kernel
        self._prefer_failures()
        borders = [Border(kernel, Table(state["names"], [(kind, about) for kind, about in state["fault_movers"]])) for state in self.states]
        self._know(rounds, borders)
        mark.renew()
        rounds.run_first()
        if not mark.holds and self.tries < TRIES:
            self.tries += 1
            return False
        base = self._furthest(rounds, mark)
        if base is None:
            return True
        self._take(rounds, self.states[base], borders[base])
        for n in self._fitting():
            self._join(rounds, self.states[n], borders[n])
        rounds.place(self._parts(borders))
        return True

    def _know(self, rounds: Rounds, borders: Sequence[Border]) -> None:
        learned = rounds.simulation.kernel.learned
        for state, border in zip(self.states, borders, strict=True):
            learned.know(Fact.known[word](*fields) for word, *fields in state["facts"])
            learned.check_reads(border.mask(integer(state["checked"])))
            learned.footprints_are_late(learned.late or state["late"])
            for runtime in state["runtimes"]:
                learned.uses(runtime)
            for module in state["unseen"]:
                learned.leaves_out(module)

    def _prefer_failures(self) -> None:
        """Leave all but one state that has found a failure with fewer facts than others: with more, its choices mean something else."""
        fitting = self._fitting()
        failing = [n for n, state in enumerate(self.states) if state["failing"] is not None]
        if failing and not set(failing) & set(fitting):
            self.states = [self.states[failing[0]]]

    def _fitting(self) -> list[int]:
        """Return which states rest on all that is known."""
        rest_on = [_known(state) for state in self.states]
        known = set().union(*rest_on)
        return [n for n, state in enumerate(self.states) if rest_on[n] == known and state["runs"]]

    def _furthest(self, rounds: Rounds, mark: Mark) -> int | None:
        fitting = self._fitting()
        if not fitting or not mark.holds:
            return None
        first = rounds.repeats.first
        for n in fitting:
            if first is not None and self.states[n]["first"] not in (None, first.token):
                raise Nondeterminism(f"not deterministic: the first execution is another one than before the checkpoint; {WHAT_TO_DO}")
        return max(fitting, key=lambda n: (self.states[n]["parts"][0]["done"], self.states[n]["runs"]))

    def _take(self, rounds: Rounds, state: Json, border: Border) -> None:
        simulation = rounds.simulation
        rounds.tally = tally_of(state["tally"], border)
        rounds.number = max(rounds.number, state["rounds"])
        simulation.checked, simulation.checks = state["at_end"]
        if rounds.branching is not None and state["branching"] is not None:
            rounds.branching.points, rounds.branching.branches, rounds.branching.open = state["branching"]
        rounds.execution = None if state["last"] is None else Execution("", None, border.keys(state["last"]), frozenset())
        rounds.announced = state["announced"]
        rounds.repeats.skip(rounds.tally.runs)
        if isinstance(rounds.strategy, Auto) and state["samples"] is not None:
            _take_samples(rounds.strategy, state["samples"], border)
        rounds.watcher.restore(state["watched"], border)
        if rounds.execution is not None:
            rounds.come_to(rounds.execution)

    def _join(self, rounds: Rounds, state: Json, border: Border) -> None:
        """Take over what is no count: a failure, and what a scenario keeps of its executions."""
        function = rounds.simulation.scenario.function
        kept = from_json(state["kept"])
        vars(function).update({name: together(getattr(function, name), value) for name, value in kept.items()})
        if state["failing"] is not None and rounds.tally.first_failure is None:
            execution = rounds.again(Execution("", None, border.keys(state["failing"]), frozenset()))
            if execution.failure is None:
                raise Nondeterminism(f"not deterministic: a failing schedule did not fail when it was repeated; {WHAT_TO_DO}")
            rounds.tally.first_failure = execution

    def _parts(self, borders: Sequence[Border]) -> list[Part]:
        """Return the parts of all states; the first is the main one."""
        furthest: dict[Path, tuple[Part, int]] = {}
        for n in self._fitting():
            for data in self.states[n]["parts"]:
                part = part_of(data, borders[n])
                other = furthest.get(part.path)
                runs = part.log.runs if part.path else self.states[n]["runs"]
                if other is None or (part.done, runs) > (other[0].done, other[1]):
                    furthest[part.path] = part, runs
        main, _ = furthest.pop(())
        return nested([part for part, _ in furthest.values()], main)


def _known(state: Json) -> set[str]:
    """Return what was known, beyond what each execution shows."""
    return {*map(str, state["facts"]), *(f"read by a check: {name}" for name in state["checked_names"]), f"late: {state['late']}"}


def _of_samples(strategy: Auto) -> Json:
    profile = strategy.profile
    places = strategy.samplers[1].places
    return {
        "searched": strategy.searched,
        "drawn": strategy.drawn,
        "longest": strategy.longest,
        "silent": strategy.silent,
        "steps_on": [[number(bit), list(map(list, most.items()))] for bit, most in profile.steps_on.items()],
        "read": [[index, number(mask)] for index, mask in profile.read.items()],
        "written": [[index, number(mask)] for index, mask in profile.written.items()],
        "places": [[number(bit), index, *place] for (bit, index), place in places.items()],
        "random": [list(one.numbers.getstate()) for one in strategy.samplers],
    }


def _take_samples(strategy: Auto, data: Json, border: Border) -> None:
    def index_of(index: int) -> int:
        return border.key(index << SHIFT) >> SHIFT

    for name in ("searched", "drawn", "longest", "silent"):
        setattr(strategy, name, data[name])
    profile = strategy.profile
    profile.steps_on = {border.mask(integer(bit)): {index_of(index): steps for index, steps in most} for bit, most in data["steps_on"]}
    profile.read = {index_of(index): border.mask(integer(mask)) for index, mask in data["read"]}
    profile.written = {index_of(index): border.mask(integer(mask)) for index, mask in data["written"]}
    for one, numbers in zip(strategy.samplers, data["random"], strict=True):
        one.numbers.setstate(tuple(numbers))
    strategy.samplers[1].places.clear()
    for bit, index, file, line, function in data["places"]:
        strategy.samplers[1].places[border.mask(integer(bit)), index_of(index)] = Place(file, line, function)
