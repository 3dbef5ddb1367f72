"""Queues whose insides other code uses: the mutex, the conditions made with it, the container of the items, the count of unfinished tasks.

The genuine methods of such an *opened* queue run, over a mutex and conditions under control. So code that uses its insides meets what it
would meet on threads: an operation that holds the mutex and is half done, a waiter that nothing has notified. That a queue is opened is
learned, so that the operations of every other queue stay single steps. Using the insides is what opens a queue
(`simharness.runtimes.queue_insides`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from queue import Queue
from typing import Any

from simharness.engine.actors import Actor
from simharness.engine.facts import Fact
from simharness.engine.kernel import Kernel
from simharness.engine.operations import Resource
from simharness.runtimes.primitives import me
from simharness.runtimes.threads import conditions, genuine, queue_contents
from simharness.runtimes.threads.locks import Lock, RLock
from simharness.trace.moves import put_in, taken_out

_genuine_put, _genuine_get = Queue.put, Queue.get
CONDITIONS = ("not_empty", "not_full", "all_tasks_done")


@dataclass(frozen=True)
class OpenedQueue(Fact, word="opened-queue"):
    """Code outside the `queue` module uses the insides of the queue."""

    queue: str


class Insides:
    """What an opened queue uses in one execution.

    Attributes:
        parts: what stands in for the mutex and the conditions, by the names of their attributes.
    """

    def __init__(self, kernel: Kernel, owner: Any, name: str, label: str) -> None:
        self.parts: dict[str, Any] = {}
        mutex = owner.__dict__.get("mutex")
        self._mutex: Lock | RLock | None = None
        self._changing: tuple[Actor, int] | None = None
        if genuine.is_genuine(mutex):
            if queue_contents.was_there(owner):  # then other code may hold the genuine one
                lock = genuine.controlled(mutex)
                assert lock is not None
                lock._attached(kernel)
            else:
                lock = Lock.around(mutex)
                lock._attach(kernel, f"mutex of {name}", f"mutex of {label}")
            self._mutex = self.parts["mutex"] = lock
            for condition in CONDITIONS:
                if getattr(owner.__dict__.get(condition), "_lock", None) is mutex:
                    self.parts[condition] = conditions.with_lock(kernel, lock, f"{condition} of {name}", f"{condition} of {label}")

    def is_held(self, kernel: Kernel) -> bool:
        """Whether the running code holds the mutex."""
        return self._mutex is not None and bool(self._mutex._resource.state == me(kernel))

    def call(self, kernel: Kernel, method: Callable[..., Any], *arguments: Any) -> Any:
        """Call a genuine method of the queue."""
        try:
            return method(*arguments)
        finally:
            self.changed(kernel)

    def put(self, kernel: Kernel, queue: Resource, item: Any, owner: Any, *how: Any) -> None:
        """Put an item into the queue."""
        self.call(kernel, _genuine_put, owner, item, *how)
        if kernel.tracing:
            put_in(kernel, queue, item)

    def get(self, kernel: Kernel, queue: Resource, *arguments: Any) -> Any:
        """Take an item out of the queue."""
        item = self.call(kernel, _genuine_get, *arguments)
        if kernel.tracing:
            taken_out(kernel, queue, item)
        return item

    def changes(self, kernel: Kernel, written: int) -> None:
        """A hook changes the container, perhaps in several steps: until it has returned, all of them write it."""
        actor = kernel.actor
        if actor is not None and self._changing is None:
            self._changing = actor, actor.mark
            actor.mark |= written

    def changed(self, kernel: Kernel) -> None:
        """No hook runs, if the running code is the actor's for which one has begun."""
        if self._changing is not None and self._changing[0] is kernel.actor:
            actor, mark = self._changing
            actor.mark = mark
            self._changing = None
