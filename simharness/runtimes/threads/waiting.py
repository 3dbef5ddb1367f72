"""`concurrent.futures.wait` and `as_completed` for the futures of modelled pools.

As in CPython, `wait` looks at all futures at once first. When something wakes it, or its time is over, it looks at them one by one, and
what completes meanwhile counts if it has not been looked at: a later future can be done and an earlier one not. Nobody can tell where
all are done. `as_completed` yields what it finds done at first in the order of a set, and the others in the order in which they complete.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, _base
from typing import Any

from simharness.engine.clock import nanoseconds
from simharness.engine.clock_steps import sees_time
from simharness.engine.kernel import Kernel, current
from simharness.engine.kinds import Kind, Role
from simharness.engine.operations import Every, Operation, State
from simharness.runtimes.primitives import step_until
from simharness.runtimes.threads.futures import COMPLETE, FAILED, FUTURE, Task, completions, task_of
from simharness.runtimes.workers import leave

WAIT = Kind(FUTURE, "wait", Role.AWAITS, blocked="the futures are not done", calls=("wait",))
LOOK_AT_ALL = Kind(FUTURE, "look_at_all", Role.AWAITS, done="look at {detail}")
NEXT = Kind(FUTURE, "as_completed", Role.AWAITS, blocked="no further future is done", calls=("as_completed",))

_genuine_wait = _base.wait
_genuine_as_completed = _base.as_completed
_Done = _base.DoneAndNotDoneFutures


def _tasks_of(futures: set[Any]) -> dict[Any, Task] | None:
    """Return the tasks of futures, if all are those of modelled pools; where only some are, all become genuine."""
    tasks = {future: task for future in futures if isinstance(future, Future) and (task := task_of(future)) is not None}
    if not tasks:
        return None
    if len(tasks) < len(futures):
        task = next(iter(tasks.values()))
        leave(task.kernel, task.pool)
    return tasks


def _states(kernel: Kernel, tasks: Iterable[Task]) -> Every:
    return Every("the futures", [task.outcome for task in tasks])


def _named(tasks: Iterable[Task]) -> str:
    names = sorted(task.name for task in tasks)
    return ", ".join(names) if len(names) <= 2 else f"{len(names)} futures"


def _all_done(states: State) -> bool:
    return COMPLETE.issuperset(states)


def _one_done(states: State) -> bool:
    return not COMPLETE.isdisjoint(states)


def _one_failed(states: State) -> bool:
    return FAILED in states or _all_done(states)


_ENOUGH = {_base.ALL_COMPLETED: _all_done, _base.FIRST_COMPLETED: _one_done, _base.FIRST_EXCEPTION: _one_failed}


def wait(fs: Iterable[Any], timeout: float | None = None, return_when: str = _base.ALL_COMPLETED) -> Any:
    """Wait as the genuine function does."""
    kernel = current()
    futures = set(fs)
    tasks = _tasks_of(futures) if kernel is not None and return_when in _ENOUGH else None
    if kernel is None or tasks is None:
        return _genuine_wait(futures, timeout, return_when)
    states, enough = _states(kernel, tasks.values()), _ENOUGH[return_when]
    detail = _named(tasks.values())
    if return_when != _base.ALL_COMPLETED or (timeout is not None and timeout <= 0):
        kernel.step(Operation(LOOK_AT_ALL, reads=states.bit, detail=detail))
        if enough(states.state):
            return _split(futures, {future for future, task in tasks.items() if task.outcome.state in COMPLETE})
    if timeout is None:
        kernel.step(Operation(WAIT, states, states.bit, enabled=enough, detail=detail))
    elif timeout > 0:
        step_until(kernel, Operation(WAIT, states, states.bit, enabled=enough, detail=f"{detail} for {timeout:g} s"), timeout)
    done = {future for future, task in tasks.items() if task.outcome.state in COMPLETE}
    for future in futures:
        task = tasks[future]
        if future in done:
            continue
        kernel.step(Operation(LOOK_AT_ALL, reads=task.outcome.bit, detail=task.name))
        if task.outcome.state in COMPLETE:
            done.add(future)
    return _split(futures, done)


def _split(futures: set[Any], done: set[Any]) -> Any:
    return _Done(done, futures - done)


def as_completed(fs: Iterable[Any], timeout: float | None = None) -> Iterator[Any]:
    """Yield as the genuine function does."""
    kernel = current()
    futures = set(fs)
    tasks = _tasks_of(futures) if kernel is not None else None
    if kernel is None or tasks is None:
        yield from _genuine_as_completed(futures, timeout)
        return
    if timeout is not None:
        sees_time(kernel)
    end = None if timeout is None else kernel.clock.now + nanoseconds(max(0.0, timeout))
    total, order = len(futures), completions(kernel)
    reads, watched = 0, 0
    for task in tasks.values():
        reads |= task.outcome.bit
        watched |= task.watched.bit
    kernel.step(Operation(LOOK_AT_ALL, reads=reads, writes=watched, detail=_named(tasks.values())))
    finished = {future for future in futures if tasks[future].outcome.state in COMPLETE}
    pending = {tasks[future].name: future for future in futures if future not in finished}
    for future in pending.values():
        kernel.put(tasks[future].watched, True)
    batch = list(finished)
    del futures, finished
    while True:
        while batch:
            tasks.pop(batch[-1])
            yield batch.pop()
        if not pending:
            return
        if end is not None:
            sees_time(kernel)
        if end is not None and kernel.clock.now > end:
            raise TimeoutError(f"{len(pending)} (of {total}) futures unfinished")
        _await(kernel, pending.keys(), end)
        if end is not None:
            sees_time(kernel)
        names = [name for name in order.state if name in pending]
        if not names and end is not None and kernel.clock.now >= end:
            raise TimeoutError(f"{len(pending)} (of {total}) futures unfinished")
        batch = [pending.pop(name) for name in reversed(names)]


def _await(kernel: Kernel, names: Iterable[str], end: int | None) -> None:
    """Wait until one of these futures is done, or the time is over."""
    order, wanted = completions(kernel), frozenset(names)
    detail = next(iter(wanted)) if len(wanted) == 1 else f"one of {len(wanted)} futures"
    operation = Operation(NEXT, order, order.bit, enabled=lambda done: not wanted.isdisjoint(done), detail=detail)
    kernel.step(operation, end)
