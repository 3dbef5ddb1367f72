"""What threads of CPython can come to that start, look at, join and rename each other: every interleaving of a small model.

It shares nothing with the engine. Each operation is atomic, and so are reading the target at the start of a thread, leaving the list of
threads, and the end. Time passes only when nothing else can happen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

MADE, BEGUN, RUNNING, LEFT, OVER = range(5)
AGAIN = "threads can only be started once"
Program = Sequence[tuple[str, int]]


class One(NamedTuple):
    """An actor or a thread: how far it is, what it has seen, until when it waits, its name and whether its target was taken away."""

    status: int
    position: int = 0
    seen: tuple[Any, ...] = ()
    deadline: float | None = None
    name: str = ""
    empty: bool = False


class State(NamedTuple):
    """All of them, actors first, and a counter and the time."""

    ones: tuple[One, ...]
    cell: int = 0
    now: float = 0.0

    def change(self, number: int, **changes: Any) -> State:
        """Return the state after changes of one of them."""
        ones = list(self.ones)
        ones[number] = ones[number]._replace(**changes)
        return self._replace(ones=tuple(ones))


class Model:
    """The behaviours of a program: for the actors `a0`, `a1`, … and the threads `t0`, `t1`, …, so many, what each does."""

    def __init__(self, programs: Mapping[str, Program], threads: int) -> None:
        self.names = sorted(programs)
        self.programs = [programs[name] for name in self.names]
        self.first = len(self.names) - threads
        self.outcomes: set[str] = set()
        self.deadlock = False

    def explore(self) -> None:
        """Find every outcome."""
        initial = State(tuple(One(RUNNING if n < self.first else MADE, name=name) for n, name in enumerate(self.names)))
        waiting, known = [initial], {initial}
        while waiting:
            state = waiting.pop()
            following = [after for number in range(len(state.ones)) for after in self.steps(state, number)]
            if not following:
                deadlines = [one.deadline for one in state.ones if one.deadline is not None]
                if deadlines:
                    following = [state._replace(now=min(deadlines))]
                elif all(one.status in (MADE, OVER) for one in state.ones):
                    self.outcomes.add(self.outcome(state))
                else:
                    self.deadlock = True
            for after in following:
                if after not in known:
                    known.add(after)
                    waiting.append(after)

    def outcome(self, state: State) -> str:
        """Return what each actor and each thread that has run saw."""
        seen = {name: list(one.seen) for name, one in zip(self.names, state.ones, strict=True) if one.status == OVER and not one.empty}
        return repr((sorted(seen.items()), state.cell))

    def steps(self, state: State, number: int) -> Iterator[State]:
        """Yield the states to which one of them can go."""
        me = state.ones[number]
        program = self.programs[number]
        if me.status == BEGUN:
            yield state.change(number, status=RUNNING, position=len(program) if me.empty else 0)
        elif me.status == LEFT:
            yield state.change(number, status=OVER)
        elif me.status == RUNNING and me.position == len(program):
            yield state.change(number, status=LEFT)
        elif me.status == RUNNING:
            what, which = program[me.position]
            it = self.first + which
            waits = what in ("join", "timed join") and state.ones[it].status in (BEGUN, RUNNING, LEFT) and it != number
            if waits or what == "sleep":
                if me.deadline is None and what != "join":
                    yield state.change(number, deadline=state.now + 1.0)
                if me.deadline is None or state.now < me.deadline:
                    return
            state, seen = self.does(state, number, what, it)
            yield state.change(number, position=me.position + 1, deadline=None, seen=(*me.seen, (what, seen)))

    def does(self, state: State, number: int, what: str, it: int) -> tuple[State, Any]:
        """Do an operation; return the state after it and what it returns or raises."""
        that = state.ones[it]
        made, alive = that.status == MADE, that.status in (BEGUN, RUNNING, LEFT)
        if what == "start":
            return (state.change(it, status=BEGUN), None) if made else (state, AGAIN)
        if what in ("join", "timed join", "poll"):
            return state, "cannot join thread before it is started" if made else "cannot join current thread" if it == number else None
        if what == "rename":
            return state.change(it, name=that.name + "'"), None
        if what == "retarget":
            return state.change(it, empty=True) if made or that.status == BEGUN else state, None
        if what == "sleep":
            return state, None
        if what == "add":
            return state._replace(cell=state.cell + 1), state.cell
        return state, self.sees(state, number, what, it, made, alive)

    def sees(self, state: State, number: int, what: str, it: int, made: bool, alive: bool) -> Any:
        """Return what a question is answered."""
        that, me = state.ones[it], state.ones[number]
        if what == "me":
            return me.name, True
        if what == "repr":
            return f"{that.name}, {'initial' if made else 'started' if alive else 'stopped'}"
        listed = [n for n, one in enumerate(state.ones) if one.status in (BEGUN, RUNNING)]
        answers: dict[str, Any] = {
            "is_alive": alive,
            "ident": not made,
            "native_id": not made,
            "_started": not made,
            "_is_stopped": not made and not alive,
            "name": that.name,
            "daemon": False,
            "active_count": 1 + len(listed),
            "enumerate": tuple(n - self.first for n in listed if n >= self.first),
        }
        return answers[what]
