"""Handlers: functions that run at any point of an actor, inside whatever it holds: what a signal's handler, a finaliser or a callback of
the garbage collector does.

Before each operation of such an actor, and after its last, there is a choice: nothing, or a handler runs first. The choice conflicts only
with the actor's own steps, so orderings are multiplied only where the handler's steps conflict with others. This is every place at which it
can run: code between two operations is atomic, and an actor that waits for a lock cannot be told from one that is about to ask for it, so
a handler that runs while the actor waits is one that ran before it asked.

That there are handlers is learned, as primitives whose mutex is not reentrant (events, semaphores, barriers, queues) are one step each
without handlers, and with them take their mutex in a step of its own: a handler that uses the same one waits for it forever.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from simharness.engine.actors import Actor
from simharness.engine.facts import Fact
from simharness.engine.kinds import ALONE, Kind, Role
from simharness.engine.operations import Operation
from simharness.engine.phases import RUNNING

if TYPE_CHECKING:
    from simharness.engine.kernel import Kernel  # the kernel makes these; a circle of types only

HANDLER = "handler"
"""The fault that lets handlers strike that are declared for faults."""
POINT = Kind(ALONE, "handler", Role.OFFERS, done="{result}", next="{choice}", noun="{result}")


@dataclass(frozen=True)
class Handled(Fact, word="handled"):
    """A handler can strike an actor; so many times in one execution, if that is not left to the fault model."""

    handler: str
    actor: str
    times: str

    def in_words(self) -> str:
        """Return the bound that it is."""
        return f"handler {self.handler} at most {self.times} time{'' if self.times == '1' else 's'} at any point of {self.actor}"


class _Handler:
    """A handler in one execution; `left`: how often it can still strike without being a fault."""

    __slots__ = ("function", "left", "name")

    def __init__(self, name: str, function: Callable[[], Any], times: int) -> None:
        self.name = name
        self.function = function
        self.left = times


def handle(kernel: Kernel, actor: Actor, name: str, function: Callable[[], Any], times: int) -> None:
    """Let a function strike an actor, in the execution that is being set up; `times` is 0 if only the fault model allows it."""
    if kernel.handlers is None:
        kernel.handlers = Handlers(kernel)
        kernel.turn = kernel.handlers.turn
    kernel.handlers.add(actor, name, function, times)


class Handlers:
    """The handlers of one execution; `raised` is what one of them has raised last."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._others = kernel.turn
        self._free: dict[str, list[_Handler]] = {}
        self._faults: dict[str, list[_Handler]] = {}
        self.raised: BaseException | None = None

    def add(self, actor: Actor, name: str, function: Callable[[], Any], times: int) -> None:
        """Let a function strike an actor."""
        kernel = self._kernel
        kernel.learned.learn(Handled(name, actor.name, str(times)))
        kernel.movers.seen.by_all = True  # a handler comes between the code that sets a deadline and the wait for it
        handler = _Handler(name, function, times)
        if times:
            self._free.setdefault(actor.name, []).append(handler)
        elif kernel.faults is not None and kernel.faults.limit(HANDLER) and kernel.faults.concerns(HANDLER, name):
            self._faults.setdefault(actor.name, []).append(handler)
        work = actor.work

        def work_and_end() -> Any:
            result = work()
            if kernel.phase == RUNNING and not kernel.dying:
                actor.calls = ()
                self._offer(actor)
            return result

        actor.work = work_and_end

    def strike(self, actor: Actor) -> bool:
        """Whether there is a handler for this actor."""
        return actor.name in self._free or actor.name in self._faults

    def turn(self, actor: Actor) -> int:
        """Let handlers strike; then make a round of the loop (`Loop.turn`)."""
        if not self.strike(actor):
            return self._others(actor)
        operation, deadline, calls = actor.pending, actor.deadline, actor.calls
        self._offer(actor)
        actor.pending, actor.deadline, actor.calls = operation, deadline, calls
        return self._kernel.loop.turn(actor)

    def _offer(self, actor: Actor) -> None:
        while self._strikes(actor, [handler for handler in self._free.get(actor.name, ()) if handler.left], False):
            pass
        while self._strikes(actor, self._faults.get(actor.name, ()), True):
            pass

    def _strikes(self, actor: Actor, handlers: list[_Handler] | tuple[()], faults: bool) -> bool:
        """Make the choice, and do what was chosen; return whether a handler ran."""
        if not handlers:
            return False
        kernel, names = self._kernel, ", ".join(handler.name for handler in handlers)
        kinds = (HANDLER,) * len(handlers) if faults else ()
        actor.pending, actor.deadline = Operation(POINT, options=1 if faults else 1 + len(handlers), faults=kinds, detail=names), None
        taken = kernel.loop.turn(actor)
        if not taken:
            return False
        handler = handlers[taken - 1]
        handler.left -= not faults
        kernel.note(f"handler {handler.name} runs")
        try:
            handler.function()
        except BaseException as error:
            self.raised = error
            raise
        return True
