"""Cancellation as a fault: a client disconnects, and its task is cancelled, whatever it waits for.

The cancellation of a task is the step of a striker (`engine/movers.py`). It can strike whenever the task's loop could make a step: before
the task has started, while it waits, and after it was woken, before it runs. Then the loop calls what cancels the task, as it would if the
end of a connection had been read. Like all steps of a loop it writes the loop's state, which lists the tasks that can be cancelled.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from simharness.engine.actors import Actor
from simharness.engine.kernel import Kernel
from simharness.engine.movers import CANCEL, STRIKES
from simharness.engine.operations import Operation, Resource
from simharness.runtimes.tasks.actors import TaskActor


class Cancellable(Protocol):
    """The state of a loop."""

    @property
    def free(self) -> bool:
        """Whether no step of the loop is under way."""

    @property
    def cancellable(self) -> tuple[str, ...]:
        """The names of the tasks that can be cancelled."""


class Cancellations:
    """The cancellations that can strike the tasks of one loop; `state` is its state."""

    def __init__(self, kernel: Kernel, state: Resource) -> None:
        self._kernel = kernel
        self._state = state
        self._cancels: dict[int, Callable[[], object]] = {}
        self._known: set[str] = set()
        self.wanted = kernel.faults is not None and kernel.faults.limit(CANCEL) > 0
        if self.wanted:
            kernel.movers.when_crashed.append(self._crashed)

    def concerns(self, names: tuple[str, ...], by_default: bool) -> bool:
        """Whether the fault model names a task that has these names; `by_default`: whether it does if it names none."""
        assert self._kernel.faults is not None
        named = self._kernel.faults.limited_to(CANCEL)
        last = [name.rpartition(".")[2] for name in names]
        return not {*names, *last}.isdisjoint(named) if named else by_default

    def offer(self, name: str, host: Actor, cancel: Callable[[], object]) -> str:
        """Have the task of this name, which `host` runs, among those that can be cancelled, by calling `cancel`; return the name."""
        kernel = self._kernel
        if name not in self._known:
            self._known.add(name)
            striker = TaskActor(kernel, f"cancellation of {name}", host)
            striker.born = kernel.record.n - 1
            striker.mark |= self._state.bit

            def possible(state: Any) -> bool:
                return state.free and name in state.cancellable

            writes = self._state.bit | kernel.movers.fault_bit
            striker.pending = Operation(STRIKES[CANCEL], self._state, writes=writes, enabled=possible, detail=name)
            kernel.movers.add_striker(CANCEL, name, striker)
            self._cancels[striker.index] = cancel
        return name

    def struck(self, loop: Callable[[], Actor]) -> Callable[[], object] | None:
        """Return what cancels a task if the last step is that fault; what it does is done by the actor of the loop's callbacks."""
        kernel = self._kernel
        assert kernel.actor is not None
        cancel = self._cancels.get(kernel.actor.index)
        if cancel is not None:
            kernel.loop.struck(CANCEL, loop())
        return cancel

    def _crashed(self, process: str) -> None:
        for striker in self._kernel.cast.strikers.values():
            if striker.process == process:
                striker.finished = True
