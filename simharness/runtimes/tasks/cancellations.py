"""Cancellation as a fault: a client disconnects, and its task is cancelled, whatever it waits for.

The cancellation of a task is the step of a striker (`engine/movers.py`). It can strike whenever the task's loop could make a step: before
the task has started, while it waits, and after it was woken, before it runs. The loop's next step is then to cancel the task, as if the end
of a connection had been read; no other step of the loop comes in between. Like all steps of a loop both write the loop's state, which lists
the tasks that can be cancelled.
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
    """The cancellations that can strike the tasks of one loop; `state` is its state.

    Attributes:
        wanted: whether the fault model has any.
        under_way: the name of the task that the fault has struck and that the loop is about to cancel, and what does that.
    """

    def __init__(self, kernel: Kernel, state: Resource) -> None:
        self._kernel = kernel
        self._state = state
        self._cancels: dict[int, tuple[str, Callable[[], object]]] = {}
        self._known: set[str] = set()
        self.under_way: tuple[str, Callable[[], object]] | None = None
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
            self._cancels[striker.index] = name, cancel
        return name

    def strikes(self) -> bool:
        """Whether the last step is such a fault; then the loop's next step is to cancel the task."""
        kernel = self._kernel
        assert kernel.actor is not None
        struck = self._cancels.get(kernel.actor.index)
        if struck is not None:
            kernel.movers.has_struck(CANCEL)
            self.under_way = struck
        return struck is not None

    def take(self) -> Callable[[], object] | None:
        """Return what cancels the task, if that is the step that the loop has begun."""
        under_way, self.under_way = self.under_way, None
        return None if under_way is None else under_way[1]

    def _crashed(self, process: str) -> None:
        for striker in self._kernel.cast.strikers.values():
            if striker.process == process:
                striker.finished = True
