"""An execution that the user makes step by step. Every look runs it again from the start: going back runs less of it.

Between two looks the standard library is not patched, so that a terminal's event loop can run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from simharness.authoring.scenario import Scenario, fixed_case
from simharness.engine.kernel import Kernel
from simharness.engine.kinds import Role
from simharness.errors import Misuse, Nondeterminism, SimharnessError, TokenError
from simharness.runtimes import control
from simharness.search import tokens
from simharness.search.random_walk import RandomWalk
from simharness.settings import Settings
from simharness.simulation.execution import Execution, describe
from simharness.simulation.simulation import Simulation
from simharness.step.interactive import Beginning, Interactive
from simharness.trace.data import Trace
from simharness.trace.moves import Move
from simharness.trace.recorder import Recorder
from simharness.trace.tables import Tables

PRACTICE = 12
"""Executions in a row that teach nothing new, after which the set of scheduling points is taken as known."""
MOST_PRACTICE = 100

ENDS = {
    "complete": "every actor has ended",
    "deadlock": "deadlock: no actor can move",
    "blocked": "left out: an assumption does not hold",
    "cut": "cut: it made too many steps",
}


@dataclass(frozen=True)
class Point:
    """The point that the execution has reached.

    Attributes:
        trace: what has happened so far.
        moves: what is possible now, then the operations of actors that cannot move.
        position: how many steps have been made.
        total: how many steps are known, including those ahead that were chosen before.
        ahead: the move that going forward makes, or None.
        end: how the execution has ended, in words; empty while it continues.
        token: of the steps so far.
        notice: what the user should know about the last request; empty if nothing.
    """

    trace: Trace
    moves: tuple[Move, ...]
    position: int
    total: int
    ahead: Move | None
    end: str
    token: str
    notice: str = ""

    @property
    def possible(self) -> tuple[Move, ...]:
        """The moves that can be picked, in the order of their numbers, from 1."""
        return tuple(move for move in self.moves if move.possible)

    @property
    def blocked(self) -> tuple[Move, ...]:
        """The operations of actors that cannot move."""
        return tuple(move for move in self.moves if not move.possible)

    @property
    def time(self) -> int:
        """The clock, in nanoseconds since the start."""
        last = self.trace.steps[-1] if self.trace.steps else None
        if last is None:
            return 0
        return int(last.detail) if last.kind.role is Role.MOVES_CLOCK else last.time

    @property
    def tables(self) -> Tables:
        """The committed rows."""
        now: Tables = dict(self.trace.tables)
        for step in self.trace.steps:
            for database, tables in step.tables.items():
                now[database] = {**now.get(database, {}), **tables}
        return now


class Stepper:
    """Steps through one case of a scenario.

    Args:
        token: of an execution, or of its beginning, to follow; None: there is nothing ahead.

    Raises:
        TokenError: the token belongs to another scenario, or does not fit.
    """

    def __init__(self, scenario: Scenario, parameters: Mapping[str, Any], token: str | None, settings: Settings) -> None:
        parsed = None if token is None else scenario.read_token(token)
        case = fixed_case(scenario, parameters if parsed is None else parsed.case)
        self.scenario = scenario
        self._simulation = Simulation(scenario, case, settings)
        self._strategy = Interactive()
        self._notice = ""
        with self._simulation as simulation:
            if parsed is None:
                self._practise()
            else:
                self._strategy.keys = _keys_of(simulation, parsed)
        self.point = self._look()
        self._known: tuple[int, ...] = tuple(self._strategy.keys)

    def pick(self, number: int) -> Point:
        """Make the `number`th of the possible moves, from 1.

        Raises:
            Misuse: there is no move of this number.
        """
        possible = self.point.possible
        if not 1 <= number <= len(possible):
            reason = self.point.end or f"there are {len(possible)} moves"
            raise Misuse(f"there is no move {number}: {reason}")
        self._strategy.pick(possible[number - 1].key)
        return self._again()

    def pick_actor(self, name: str) -> Point:
        """Make the move of the actor (or the clock) of this name, or of the only name that begins with it.

        Raises:
            Misuse: there is no such actor, it cannot move, or several of its moves are possible.
        """
        names = list(dict.fromkeys(move.actor for move in self.point.moves if move.actor))
        meant = [name] if name in names else [longer for longer in names if longer.startswith(name)]
        if len(meant) != 1:
            raise Misuse(f"{name!r} {'names no actor' if not meant else 'could be several actors'}: there are {', '.join(names) or 'none'}")
        numbers = [number for number, move in enumerate(self.point.possible, 1) if move.actor == meant[0]]
        if not numbers:
            why = next(move.why_not for move in self.point.moves if move.actor == meant[0])
            raise Misuse(f"{meant[0]} cannot move: {why}")
        if len(numbers) > 1:
            raise Misuse(f"{meant[0]} has several moves: pick one of {', '.join(map(str, numbers))}")
        return self.pick(numbers[0])

    def go(self, position: int) -> Point:
        """Go back, or forward along what was chosen, to the point after this number of steps."""
        self._strategy.position = max(0, min(position, len(self._strategy.keys)))
        return self._again()

    def back(self) -> Point:
        """Undo the last step."""
        return self.go(self.point.position - 1)

    def forward(self) -> Point:
        """Make the step that was chosen before; where nothing is ahead, continue with the last actor."""
        if self.point.position < len(self._strategy.keys) or self.point.end:
            return self.go(self.point.position + 1)
        self._strategy.pick(_continuing(self.point))
        return self._again()

    def to_failure(self) -> Point:
        """Go to the step after which the failure shows, along what was chosen."""
        start = self.point.position
        point = self.go(len(self._strategy.keys))
        if point.trace.failed_at is not None:
            return self.go(point.trace.failed_at)
        self._notice = "the steps chosen so far do not fail"
        return self.go(start)

    def whole(self) -> tuple[str, str | None]:
        """Return the token of a whole execution that begins with the steps so far, and its failure; it switches only where it must."""
        with self._simulation as simulation:
            kernel = simulation.kernel
            execution = simulation.execute(self._strategy.begin(), lambda enabled: _last_continues(kernel, enabled))
            failure = describe(execution.failure)
            token = tokens.write(self.scenario.name, simulation.parameters, kernel)
            return token, None if failure is None else kernel.canonical(failure)

    # Looking

    def _again(self) -> Point:
        """Look; on an error, stay at the point before."""
        try:
            self.point = self._look()
        except SimharnessError:
            self._strategy.keys, self._strategy.position = list(self._known), self.point.position
            raise
        self._known = tuple(self._strategy.keys)
        return self.point

    def _look(self) -> Point:
        """Run the beginning; if a fact about what is a scheduling point was learned and it no longer fits, run as much as fits."""
        strategy, notice = self._strategy, self._notice
        self._notice = ""
        while True:
            facts = self._simulation.kernel.learned.for_tokens()
            try:
                with self._simulation as simulation:
                    point = self._run(simulation, notice)
                if simulation.kernel.learned.for_tokens() == facts:
                    return point
            except (TokenError, Nondeterminism) as error:
                if not strategy.position:
                    raise
                strategy.position -= 1
                del strategy.keys[strategy.position :]
                notice = f"went back to step {strategy.position}: {error}"
            else:
                notice = "the set of scheduling points has changed: the steps so far were run again"

    def _run(self, simulation: Simulation, notice: str) -> Point:
        strategy, kernel = self._strategy, simulation.kernel
        with Recorder(kernel, control.snapshot) as recorder:
            execution = simulation.execute(strategy.begin(), strategy.choose, recorder=recorder)
        token = tokens.write(self.scenario.name, simulation.parameters, kernel)
        failure, failed_at = _failure(kernel, execution)
        trace = recorder.trace(self.scenario.name, simulation.parameters, failure, failed_at)
        over = execution.status != "abandoned"
        moves = () if over and execution.status != "deadlock" else trace.moves
        ahead = strategy.keys[strategy.position :]
        return Point(
            trace=trace if over else replace(trace, waiting=()),
            moves=moves,
            position=strategy.position,
            total=len(strategy.keys),
            ahead=next((move for move in moves if move.possible and [move.key] == ahead[:1]), None),
            end=ENDS[execution.status] if over else "",
            token=token,
            notice=notice,
        )

    def _practise(self) -> None:
        """Learn what is a scheduling point from random executions, so that it does not change while the user steps."""
        simulation = self._simulation
        learned = simulation.kernel.learned
        walk, quiet = RandomWalk(simulation.kernel, simulation.settings.seed), 0
        for _ in range(MOST_PRACTICE):
            facts = learned.for_tokens()
            simulation.execute(walk.begin() or (), walk.choose)
            quiet = quiet + 1 if learned.for_tokens() == facts else 0
            if quiet == PRACTICE:
                return


def _keys_of(simulation: Simulation, token: tokens.Token) -> list[int]:
    kernel = simulation.kernel
    follow = Beginning(kernel, token)
    simulation.execute((), follow.choose)
    follow.finish()
    return list(kernel.record.keys)


def _failure(kernel: Kernel, execution: Execution) -> tuple[str | None, int | None]:
    """Return what has failed so far, in words, and after which step; also in an execution that is not over."""
    failure = kernel.failure if execution.status == "abandoned" else execution.failure
    said = describe(failure)
    return (None, None) if said is None or failure is None else (kernel.canonical(said), failure.step + 1)


def _continuing(point: Point) -> int:
    """Return the choice that continues with the last actor; where it cannot move, the first that is not a fault."""
    possible = [move for move in point.possible if not move.fault]
    last = point.trace.steps[-1].actor if point.trace.steps else ""
    move = next((move for move in possible if move.actor == last), None) or (possible or point.possible)[0]
    return move.key


def _last_continues(kernel: Kernel, enabled: list[int]) -> int:
    if kernel.faults is not None:
        enabled = enabled[: kernel.movers.peaceful] or enabled
    last = kernel.record.keys[-1] if kernel.record.keys else -1
    return last if last in enabled and last != kernel.movers.clock_key else enabled[0]
