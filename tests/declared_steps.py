"""Random programs of declared steps, sleeps, events and clock readings, and all their outcomes, computed by a model that knows no kernel.

An outcome says of each step who had written what it touches, so two executions have the same one only if their steps conflict in the same
order. Instructions: ("step", reads, writes), ("sleep", seconds), ("time",), ("timed", event, seconds), ("wait" | "set" | "clear", event).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from random import Random
from typing import Any

from simharness import World
from simharness.engine.clock import nanoseconds
from simharness.engine.facts import Mark, until_settled
from simharness.engine.kernel import Kernel
from simharness.runtimes import control
from simharness.search.dpor import Dpor
from tests.random_programs import TooMany

Actors = tuple[tuple[tuple[Any, ...], ...], ...]
Writers = dict[str, tuple[tuple[int, int], ...]]
Seen = tuple[tuple[str, tuple[tuple[int, int], ...]], ...]
TWO_ADVANCES: Actors = (
    (("step", "", "ab"), ("step", "", "a")),
    (("step", "", "a"), ("set", 0)),
    (("timed", 0, 1.0),),
    (("sleep", 2.0), ("step", "", "b"), ("sleep", 1.0)),
    (("sleep", 2.0), ("time",)),
)
"""With a bound of 2.5 s, the event is set late, the second advance must be free, and the last reading late again."""


def drawn(seed: int) -> tuple[Actors, float]:
    """Draw a program of three to six actors, and a bound just below, at or above the sum of some of its delays."""
    rng = Random(seed)
    count = rng.choice([3, 4, 4, 5, 5, 6])
    delays = rng.choice([(1.0,), (1.0, 2.0), (1.0, 2.0, 3.0), (0.5, 1.0, 1.5)])
    resources = "abc"[: rng.choice([1, 2, 2, 3])]
    reading, waiting = rng.choice([0, 0.1, 0.25, 0.4]), rng.choice([0, 0.15, 0.3])
    actors = []
    for _ in range(count):
        own = [
            _instruction(rng, resources, delays, reading, waiting)
            for _ in range(rng.choice({3: (1, 2, 3, 4), 4: (1, 2, 2, 3)}.get(count, (1, 1, 2))))
        ]
        actors.append((*([("sleep", rng.choice(delays))] if rng.random() < 0.5 else []), *own))
    return tuple(actors), _bound(rng, actors)


def changed(seed: int) -> tuple[Actors, float]:
    """Draw a program that differs a little from `TWO_ADVANCES`."""
    rng = Random(seed)
    actors = [list(own) for own in TWO_ADVANCES]
    for _ in range(rng.choice([0, 1, 1, 2, 2, 3])):
        own, kind = rng.choice(actors), rng.random()
        new = _instruction(rng, "ab", (0.5, 1.0, 1.0, 2.0, 3.0), 0.1, 0.4)
        if kind < 0.4 and len(own) < 4:
            own.insert(rng.randint(0, len(own)), new)
        else:
            own[rng.randrange(len(own))] = new
    rng.shuffle(actors)
    return tuple(map(tuple, actors)), rng.choice([1.5, 2.0, 2.25, 2.5, 2.5, 3.0, 3.5, 4.0])


def _instruction(rng: Random, resources: str, delays: tuple[float, ...], reading: float, waiting: float) -> tuple[Any, ...]:
    if rng.random() < reading:
        return ("time",)
    if rng.random() < waiting:
        event = rng.randrange(2)
        return rng.choice(
            [("timed", event, rng.choice(delays)), ("timed", 0, rng.choice(delays)), ("set", 0), ("set", event), ("clear", 0), ("wait", 0)]
        )
    if rng.random() < 0.12:
        return ("sleep", rng.choice(delays))
    touched = rng.sample(resources, rng.choice([1, 1, 1, 2]) if len(resources) > 1 else 1)
    reads = "".join(name for name in touched if rng.random() < 0.35)
    return ("step", reads, "".join(name for name in touched if name not in reads))


def _bound(rng: Random, actors: list[tuple[tuple[Any, ...], ...]]) -> float:
    delays = [own[-1] for block in actors for own in block if own[0] in ("sleep", "timed")] or [1.0]
    return float(sum(rng.sample(delays, min(len(delays), rng.choice([1, 2, 2, 3]))))) + rng.choice([0.0, 0.5, 0.25, -0.25, 0.001])


def reduced(actors: Actors, max_delay: float, limit: int) -> tuple[set[Hashable], int]:
    """Return the outcomes that the reduction finds, and how many of its executions were redundant; needs `runtimes_in_place`."""
    kernel = Kernel(max_delay=nanoseconds(max_delay))
    try:
        return until_settled(kernel.learned, lambda mark: _round(actors, kernel, limit, mark))
    finally:
        control.forget(kernel)
        kernel.close()


def _round(actors: Actors, kernel: Kernel, limit: int, mark: Mark) -> tuple[set[Hashable], int]:
    search, outcomes, redundant, executions = Dpor(kernel), set[Hashable](), 0, 0
    logs: list[list[Hashable]] = []
    while (plan := search.begin()) is not None and mark.holds:
        logs[:] = [[] for _ in actors]
        try:
            kernel.run(lambda: _set_up(actors, World(kernel), logs), plan, search.choose, search.expected())
            if kernel.failure is not None:
                raise kernel.failure.error
            redundant += kernel.abandoned
            if not kernel.abandoned:
                outcomes.add(tuple(map(tuple, logs)))
        finally:
            control.end_execution(kernel)
        search.end()
        executions += 1
        if executions > limit:
            raise TooMany
    return outcomes, redundant


def _set_up(actors: Actors, world: World, logs: list[list[Hashable]]) -> None:
    writers: Writers = {}
    events = [threading.Event() for _ in range(2)]

    def step(me: int, position: int, reads: str, writes: str) -> Seen:
        world.step(f"step {me}.{position}", reads=reads, writes=writes)
        return _touch(writers, me, position, reads + writes, writes)

    def run(me: int) -> None:
        calls: dict[str, Callable[..., Any]] = {
            "sleep": world.clock.sleep,
            "time": world.clock.elapsed_ns,
            "timed": lambda event, seconds: events[event].wait(seconds),
            "wait": lambda event: events[event].wait(),
            "set": lambda event: events[event].set(),
            "clear": lambda event: events[event].clear(),
        }
        for position, (name, *arguments) in enumerate(actors[me]):
            result = step(me, position, *arguments) if name == "step" else calls[name](*arguments)
            logs[me].append(0 if result is None else result)

    for me in range(len(actors)):
        world.actor(f"a{me}", run, me)


def _touch(writers: Writers, me: int, position: int, touched: str, writes: str) -> Seen:
    seen = tuple((name, writers.get(name, ())) for name in sorted(set(touched)))
    for name in writes:
        writers[name] = (*writers.get(name, ()), (me, position))
    return seen


# The model

Own = tuple[int, int | None, tuple[Hashable, ...]]
"""How many instructions an actor has done, the deadline of the next, and the results."""
State = tuple[tuple[Own, ...], tuple[tuple[str, tuple[tuple[int, int], ...]], ...], tuple[bool, ...], int, int]
"""The actors, who wrote what, the events, the time, and the lateness."""


def expected(actors: Actors, max_delay: float, most: int) -> set[Hashable]:
    """Return the outcomes of all executions, by a search over the states of a model."""
    bound = nanoseconds(max_delay)
    start: State = tuple((0, _deadline(own, 0, 0), ()) for own in actors), (), (False, False), 0, 0
    seen, left, outcomes = {start}, [start], set[Hashable]()
    while left:
        state = left.pop()
        own, writers, events, now, lateness = state
        following: list[State] = []
        blocked: list[int] = []
        for me, (done, deadline, _) in enumerate(own):
            if done == len(actors[me]):
                continue
            name, *arguments = actors[me][done]
            possible = events[arguments[0]] if name in ("timed", "wait") else name != "sleep"
            if possible or (deadline is not None and deadline <= now):
                following.append(_after(actors, state, me))
            elif deadline is not None:
                blocked.append(deadline)
        instant = min(blocked, default=None)
        if instant is not None and not following:
            following.append((own, writers, events, instant, lateness))
        elif instant is not None and lateness + instant - now < bound:
            following.append((own, writers, events, instant, lateness + instant - now))
        if not following:
            outcomes.add(tuple(results for _, _, results in own))
        new = set(following) - seen
        seen |= new
        left.extend(new)
        if len(seen) > most:
            raise TooMany
    return outcomes


def _after(actors: Actors, state: State, me: int) -> State:
    own, written, events, now, lateness = state
    done, _, results = own[me]
    name, *arguments = actors[me][done]
    writers = dict(written)
    result: Hashable = 0
    if name == "step":
        result = _touch(writers, me, done, arguments[0] + arguments[1], arguments[1])
    elif name == "time":
        result = now
    elif name in ("timed", "wait"):
        result = events[arguments[0]]
    elif name in ("set", "clear"):
        events = tuple(name == "set" if event == arguments[0] else value for event, value in enumerate(events))
    after = (done + 1, _deadline(actors[me], done + 1, now), (*results, result))
    return (*own[:me], after, *own[me + 1 :]), tuple(sorted(writers.items())), events, now, lateness


def _deadline(own: tuple[tuple[Any, ...], ...], position: int, now: int) -> int | None:
    timed = position < len(own) and own[position][0] in ("sleep", "timed")
    return now + nanoseconds(own[position][-1]) if timed else None
