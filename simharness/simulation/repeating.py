"""Runs schedules twice: if the two runs differ, the schedule does not decide what happens, and no result can be trusted.

The first execution, every failing one that is reported, and the 100th, 1,000th, 10,000th, … execution are repeated at once; the first one
is repeated again after the 30th, with those samples, and when exploring is over, to find what changes slowly. The two accounts
(`transcript.py`) must be equal. While an execution is repeated, memory is laid out differently, so that keys and orders made of addresses
differ.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from simharness.engine.facts import Mark
from simharness.engine.kernel import Kernel
from simharness.engine.plan import Chooser
from simharness.errors import Nondeterminism, SimharnessError
from simharness.runtimes.defaults import asked
from simharness.search import tokens
from simharness.search.strategy import Expected
from simharness.simulation.difference import Difference, first_difference, nondeterminism
from simharness.simulation.execution import Execution
from simharness.simulation.forks import apart, continued, possible
from simharness.simulation.simulation import Simulation
from simharness.simulation.transcript import Account, Watch, Witness, account_of, following, mark_wording
from simharness.trace.recorder import Recorder

FEW = 3
"""Explorations with fewer executions do not repeat the first one at their end: it has just been repeated."""
EARLY, SPARSE = 30, 100
MOST_NAMED = 2
"""How many classes a sentence names."""
BALLAST = 20
"""How many objects of each kind and size are kept while an execution is repeated."""
WHAT_TO_DO = (
    "look for state that outlives an execution (a counter, a cache, a lazy import), for randomness or clocks that no runtime controls, "
    "and for keys or orders made of addresses or sets"
)


def differ(
    before: Account,
    after: Account,
    again: str = "repeated with the same choices",
    titles: tuple[str, str] = ("first run", "repeated"),
    where: str = "",
    cause: str = "",
) -> Nondeterminism | None:
    """Return the error that says where two accounts of one schedule diverge; None if they are equal.

    Args:
        again: describes the second run.
        titles: names of the two runs, for showing them side by side.
        where: the user's line at which the differing step was made, if known.
        cause: why they diverge and what to do, if that is known.
    """
    position = before.first_difference(after)
    if position is None:
        return None
    difference = Difference(before.entries, after.entries, position, titles)
    place = f" (at {where})" if where else ""
    return nondeterminism(f"not deterministic: {first_difference(difference, again)}{place}; {cause or WHAT_TO_DO}", difference)


def witness(simulation: Simulation, keys: Sequence[int], strict: bool = True) -> tuple[Execution, Account]:
    """Run the schedule `keys`; return the execution and its account.

    Args:
        strict: raise if the schedule cannot be followed; otherwise take the first possible choice there.

    Raises:
        Nondeterminism: it cannot be followed.
    """
    kernel = simulation.kernel
    return watched(simulation, (), following(kernel, keys, strictly(kernel) if strict else _first_possible))


def strictly(kernel: Kernel) -> Callable[[int, list[int]], int]:
    """Return the function for `following` that raises Nondeterminism if the schedule cannot be followed."""

    def refuse(wanted: int, enabled: list[int]) -> int:
        change = f"{kernel.mover(wanted)} cannot move, though it did before" if wanted >= 0 else "it continues, though it ended here before"
        raise Nondeterminism(f"step {kernel.record.n + 1} of a repeated execution: {change}; {WHAT_TO_DO}")

    return refuse


def watched(
    simulation: Simulation, plan: Sequence[int], choose: Chooser, expected: Expected = ((), ()), start: int = 0
) -> tuple[Execution, Account]:
    """Run one execution under a watch; return it and its account, with the possible choices at each step from `start` on."""
    kernel = simulation.kernel
    with Watch(kernel, choose) as watch:
        execution = simulation.execute(plan, watch.choose, expected, watch=watch)
    mark_wording(kernel, None if execution.failure is None else execution.failure.error)
    return execution, account_of(kernel, execution, watch, start)


def same_again(simulation: Simulation, keys: Sequence[int], before: Account, start: int = 0) -> None:
    """Run a schedule again.

    Raises:
        Nondeterminism: its account differs from `before`.
    """
    ballast = _ballast()
    _, after = watched(simulation, (), following(simulation.kernel, keys, _first_possible), start=start)
    del ballast
    _compare(simulation, keys, before, after)


class Repeats:
    """Chooses the executions of one round of exploring that are run twice, and compares the runs."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self._account: Account | None = None
        self._watched = False
        self._next = 1
        self._start = 0
        self._early = False
        self._first: Sequence[int] = ()
        self._first_start = 0
        self._case: Mapping[str, Any] = {}
        self._learned: Mark | None = None
        self.first: Witness | None = None

    def execute(self, number: int, plan: Sequence[int], choose: Chooser, expected: Expected) -> Execution:
        """Run the round's `number`th execution (0: it has no number), under a watch if it is to be repeated."""
        self._account, self._watched = None, False
        self._early = self.first is not None and number in (EARLY, self._next)
        if number != self._next:
            return self._simulation.execute(plan, choose, expected)
        self._next = max(SPARSE, 10 * number)
        self._start = len(plan)
        execution, self._account = watched(self._simulation, plan, choose, expected, self._start)
        self._watched = True
        if number == 1 and execution.status not in ("cut", "abandoned"):
            simulation = self._simulation
            token = tokens.write(simulation.scenario.name, simulation.parameters, simulation.kernel)
            self._learned = simulation.kernel.learned.mark()
            self._case, self._first, self.first = simulation.parameters, execution.keys, Witness(token, self._account)
            self._first_start = self._start
        return execution

    def skip(self, runs: int) -> None:
        """The first so many executions have been run, some of them elsewhere, where others were repeated."""
        while self._next <= runs:
            self._next = max(SPARSE, 10 * self._next)

    def due(self, execution: Execution, failing: bool) -> bool:
        """Whether the last execution is to be repeated: it fails or is one of the samples."""
        if self._account is None and failing:
            self._account = account_of(self._simulation.kernel, execution)
        if self._watched and execution.status == "abandoned":
            self._account = None
        return self._account is not None or self._early

    def check(self, execution: Execution) -> None:
        """Repeat the last execution, and at times the first one, too; one of them is due.

        Raises:
            Nondeterminism: it differs from the first time.
        """
        simulation, kernel, keys, before = self._simulation, self._simulation.kernel, execution.keys, self._account
        if before is None:
            pass
        elif self._watched:
            same_again(simulation, keys, before, self._start)
        else:
            ballast = _ballast()
            again = simulation.execute((), following(kernel, keys, _first_possible))
            del ballast
            _compare(simulation, keys, before, account_of(kernel, again))
        if self._early:
            self._repeat_first()

    def finish(self, runs: int) -> None:
        """Repeat the first execution, when exploring is over.

        Raises:
            Nondeterminism: it differs from the first time.
        """
        if self.first is not None and runs >= FEW:
            self._repeat_first()

    def _repeat_first(self) -> None:
        if self.first is None or self._learned is None or not self._learned.holds:
            return  # what was learned since, such as within a bound, may make it a different execution
        simulation, case = self._simulation, self._simulation.parameters
        simulation.parameters = dict(self._case)
        same_again(simulation, self._first, self.first.account, self._first_start)
        simulation.parameters = case


def _compare(simulation: Simulation, keys: Sequence[int], before: Account, after: Account) -> None:
    position = before.first_difference(after)
    if position is None:
        return
    titles = [account.entries[position].title for account in (before, after) if position < len(account.entries)]
    steps = [int(title.removeprefix("step ")) for title in titles if title.startswith("step ")]
    place = _place(simulation, keys, steps[0] - 1) if steps else ""
    error = differ(before, after, where=place, cause=_made_of_addresses(simulation, keys))
    assert error is not None
    raise error


def _made_of_addresses(simulation: Simulation, keys: Sequence[int]) -> str:
    """Name the classes whose default hash or `repr` makes two runs of a schedule differ; "" if it is not those, as far as is seen.

    In a child, since objects that live on would keep other hashes than they had.
    """
    if not possible():
        return ""

    def named() -> bytes:
        def run() -> Account:
            return watched(simulation, (), following(simulation.kernel, keys, _first_possible))[1]

        with continued(simulation), asked() as found:
            run()  # teaches that numbers are asked for
            before = run()
            ballast = _ballast()
            differs = before.first_difference(run()) is not None
            del ballast
        classes = {} if differs else {f"the default {what} of {_full_name(cls)}": place for (what, cls), place in found.items()}
        if not classes:
            return b""
        names = [f"{name}{f', asked for at {place},' if place is not None else ''}" for name, place in list(classes.items())[:MOST_NAMED]]
        verb = "are" if len(names) > 1 else "is"
        modules = ", ".join(repr(module) for module in dict.fromkeys(cls.__module__ for _, cls in found))
        return f"{' and '.join(names)} {verb} made of addresses: name the module, instrument=({modules},), or define it".encode()

    return apart(named)[0].decode()


def _full_name(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _place(simulation: Simulation, keys: Sequence[int], n: int) -> str:
    """Run the schedule once more; return the line at which its step `n` is made, or "" if that is not known."""
    kernel = simulation.kernel
    try:
        with Recorder(kernel, lambda kernel: {}) as recorder:
            simulation.execute((), following(kernel, keys, _first_possible), recorder=recorder)
    except SimharnessError:
        return ""
    calls = kernel.record.calls[n] if n < len(kernel.record.calls) else ()
    return str(calls[0]) if calls else ""


def _first_possible(wanted: int, enabled: list[int]) -> int:
    return enabled[0]


def _ballast() -> list[object]:
    """Return objects of many kinds and sizes, so that objects made from now on get other addresses than before."""
    kinds: list[Callable[[], object]] = [object, list, dict, set, _Empty, partial(float, 1.5)]
    held = [make() for make in kinds for _ in range(BALLAST)]
    return held + [bytes(size) for size in range(16, 513, 16) for _ in range(BALLAST)]


class _Empty:
    """An object with attributes of its own."""
