"""`queue.Queue` and the like: every operation is one step.

The items stay where the genuine class keeps them, so subclasses that override `_init`, `_put`, `_get` or `_qsize` work.
The state is (length, whether shut down, whether a hook is running: `queue_hooks.py`). The count of unfinished tasks is a resource of its
own, so that `task_done` does not conflict with `get`. The contents of a queue made before the simulation are restored after every
execution. Its mutex and its conditions are used only if the code under test uses its insides (`opened_queues.py`).
"""

from __future__ import annotations

import _queue
import dataclasses
import queue
import sys
from collections import deque
from queue import Empty, Full, Queue
from typing import Any, Generic, TypeVar

from simharness.engine.actors import Actor
from simharness.engine.handlers import Handled
from simharness.engine.kernel import Kernel, current, outside
from simharness.engine.kinds import Family, Kind, Role
from simharness.engine.operations import Operation, Resource, State
from simharness.engine.phases import INSPECTING
from simharness.runtimes.patching import Patches
from simharness.runtimes.primitives import BINDINGS, VIEW, View, Views, made_here, replace, step_until
from simharness.runtimes.threads import executors, queue_contents
from simharness.runtimes.threads.opened_queues import Insides, OpenedQueue
from simharness.runtimes.threads.queue_hooks import add, change, is_free, may_take_steps, take, takes_last
from simharness.trace.moves import put_in, taken_out

QUEUE = Family("queue", in_memory=True)
PUT = Kind(QUEUE, "put", blocked="{name} is full", calls=("put",))
PUT_NOWAIT = Kind(QUEUE, "put_nowait", calls=("put_nowait",))
GET = Kind(QUEUE, "get", blocked="{name} is empty", calls=("get()",))
SERVE = dataclasses.replace(GET, role=Role.SERVES)
"""An idle worker of an executor takes an item."""
GET_NOWAIT = Kind(QUEUE, "get_nowait", calls=("get_nowait",))
LOOK = Kind(QUEUE, "look")
TASK_DONE = Kind(QUEUE, "task_done", calls=("task_done",))
JOIN = Kind(QUEUE, "join", blocked="{name} are {state}", calls=("join()",))
SHUTDOWN = Kind(QUEUE, "shutdown")

T = TypeVar("T")
ShutDown: type[Exception] = getattr(queue, "ShutDown", Full)

_genuine_init = Queue.__init__
_genuine_put = Queue.put
_genuine_get = Queue.get
_genuine_task_done = Queue.task_done
_genuine_join = Queue.join
_genuine_qsize = Queue.qsize
_genuine_empty = Queue.empty
_genuine_full = Queue.full
_genuine_shutdown: Any = getattr(Queue, "shutdown", None)
_genuine_simple = _queue.SimpleQueue


class _View(View):
    """A queue in one execution.

    `inside`: the actor for which one of its hooks runs, or None in set-up. `insides`: those of an opened queue.
    """

    family = QUEUE

    def __init__(self, kernel: Kernel, owner: Any, name: str, label: str) -> None:
        super().__init__(kernel, owner, name, label)
        if queue_contents.is_held(owner) and kernel.phase < INSPECTING:
            kernel.learned.learn(OpenedQueue(name))
        closed = bool(getattr(owner, "is_shutdown", False))
        self.inside: set[Actor | None] = set()
        self.hooked = may_take_steps(owner)
        self.takes_last = takes_last(owner)
        opened = name in kernel.learned.of(OpenedQueue) or kernel.learned.of(Handled)
        self.insides = Insides(kernel, owner, name, label) if opened else None
        with outside():
            length = owner._qsize()
        resource = self.resource = kernel.resource(name, (length, closed, False), label)
        tasks = self.tasks = kernel.resource(f"tasks of {name}", owner.__dict__["unfinished_tasks"], f"unfinished tasks of {label}")
        bits = resource.bit | tasks.bit
        self.free = is_free if self.hooked else None
        self.also = tasks.bit if self.hooked else 0
        self.put_always = Operation(PUT, resource, writes=bits, enabled=self.free)
        self.get = Operation(GET, resource, writes=resource.bit | self.also, enabled=_can_get)
        self.try_get = Operation(GET_NOWAIT, resource, enabled=self.free, writes_when=_has_items, also=self.also)
        self.look = Operation(LOOK, resource, reads=resource.bit, enabled=self.free)
        self.task_done = Operation(TASK_DONE, resource if self.hooked else tasks, writes=tasks.bit, enabled=self.free)
        self.join = Operation(JOIN, tasks, reads=tasks.bit, enabled=_is_zero)
        self.shutdown = Operation(SHUTDOWN, resource, writes=bits, enabled=self.free)

    def put_limited(self, maxsize: int, block: bool, timeout: float | None) -> Operation:
        """Return the step of a put into a queue that can be full."""

        def has_room(state: State) -> bool:
            return bool((state[0] < maxsize or state[1]) and not state[2])

        resource, tasks = self.resource, self.tasks
        if not block or timeout == 0:
            return Operation(PUT_NOWAIT, resource, enabled=self.free, writes_when=has_room, also=tasks.bit)
        if timeout is None:
            return Operation(PUT, resource, writes=resource.bit | tasks.bit, enabled=has_room)
        detail = f"{resource.name} for {timeout:g} s"
        return Operation(PUT, resource, enabled=has_room, writes_when=has_room, detail=detail, also=tasks.bit)


def _can_get(state: State) -> bool:
    return bool((state[0] or state[1]) and not state[2])


def _has_items(state: State) -> bool:
    return bool(state[0] and not state[2])


def _is_zero(state: State) -> bool:
    return not state


class _QueueViews(Views[_View]):
    """The views of queues; a queue made before the simulation begins each execution with its contents of then."""

    def of(self, kernel: Kernel, owner: Any) -> _View:
        if VIEW not in owner.__dict__:
            queue_contents.keep(owner)
        return super().of(kernel, owner)


_views = _QueueViews(_View)
view_of = _views.of


def _init(self: Queue[Any], maxsize: int = 0) -> None:
    _genuine_init(self, maxsize)
    kernel = current()
    if kernel is not None:
        _views.born(kernel, self)


def _put(self: Queue[T], item: T, block: bool = True, timeout: float | None = None) -> None:
    kernel = current()
    if kernel is None:
        _genuine_put(self, item, block, timeout)
        return
    view = _views.of(kernel, self)
    resource = view.resource
    if view.insides is not None:
        view.insides.put(kernel, resource, item, self, block, timeout)
        return
    limited = self.maxsize > 0
    if not limited:
        kernel.step(view.put_always)
    else:
        if block and timeout is not None and timeout < 0:
            raise ValueError("'timeout' must be a non-negative number")
        operation = view.put_limited(self.maxsize, block, timeout)
        if operation.enabled is None or timeout is None:
            kernel.step(operation)
        else:
            step_until(kernel, operation, timeout)
            if resource.state[2]:
                kernel.step(view.put_limited(self.maxsize, False, None))
    length, closed, _ = resource.state
    if closed:
        raise ShutDown
    if limited and length >= self.maxsize:
        if kernel.tracing:
            kernel.note("full")
        raise Full
    if kernel.tracing:
        put_in(kernel, resource, item)

    add(kernel, view, item)


def _get(self: Queue[T], block: bool = True, timeout: float | None = None) -> T:
    kernel = current()
    if kernel is None:
        return _genuine_get(self, block, timeout)
    view = _views.of(kernel, self)
    resource = view.resource
    if view.insides is not None:
        taken: T = view.insides.get(kernel, resource, self, block, timeout)
        return taken
    if not block or timeout == 0:
        kernel.step(view.try_get)
    elif timeout is None:
        kernel.step(view.get)
    elif timeout < 0:
        raise ValueError("'timeout' must be a non-negative number")
    else:
        detail = f"{resource.name} for {timeout:g} s"
        step_until(kernel, Operation(GET, resource, enabled=_can_get, writes_when=_has_items, detail=detail, also=view.also), timeout)
        if resource.state[2]:
            kernel.step(view.try_get)
    length, closed, _ = resource.state
    if not length:
        if closed:
            raise ShutDown
        if kernel.tracing:
            kernel.note("empty")
        raise Empty
    item: T = take(kernel, view)
    if kernel.tracing:
        taken_out(kernel, resource, item)
    return item


def _task_done(self: Queue[Any]) -> None:
    kernel = current()
    if kernel is None:
        _genuine_task_done(self)
        return
    view = _views.of(kernel, self)
    if view.insides is not None:
        view.insides.call(kernel, _genuine_task_done, self)
        return
    kernel.step(view.task_done)
    names = self.__dict__
    if names["unfinished_tasks"] <= 0:
        raise ValueError("task_done() called too many times")
    names["unfinished_tasks"] -= 1
    kernel.put(view.tasks, names["unfinished_tasks"])


def _join(self: Queue[Any]) -> None:
    kernel = current()
    if kernel is None:
        _genuine_join(self)
        return
    view = _views.of(kernel, self)
    if view.insides is not None:
        view.insides.call(kernel, _genuine_join, self)
        return
    kernel.step(view.join)


def _length(kernel: Kernel, owner: Queue[Any]) -> int:
    view = _views.of(kernel, owner)
    if view.insides is not None and kernel.phase == INSPECTING:  # a check looks while an actor holds the mutex, too
        return owner._qsize()
    if view.insides is not None:
        return int(view.insides.call(kernel, _genuine_qsize, owner))
    kernel.step(view.look)
    return int(view.resource.state[0])


def _qsize(self: Queue[Any]) -> int:
    kernel = current()
    return _genuine_qsize(self) if kernel is None else _length(kernel, self)


def _empty(self: Queue[Any]) -> bool:
    kernel = current()
    return _genuine_empty(self) if kernel is None else not _length(kernel, self)


def _full(self: Queue[Any]) -> bool:
    kernel = current()
    if kernel is None:
        return _genuine_full(self)
    if self.maxsize <= 0 and _views.of(kernel, self).insides is None:
        return False
    length = _length(kernel, self)
    return 0 < self.maxsize <= length


def _shutdown(self: Any, immediate: bool = False) -> None:
    kernel = current()
    if kernel is None:
        _genuine_shutdown(self, immediate)
        return
    view = _views.of(kernel, self)
    if view.insides is not None:
        view.insides.call(kernel, _genuine_shutdown, self, immediate)
        return
    kernel.step(view.shutdown)
    self.is_shutdown = True

    def clear() -> None:
        while immediate and self._qsize():
            self._get()
            self.unfinished_tasks = max(0, self.unfinished_tasks - 1)

    change(kernel, view, clear)


class SimpleQueue(Generic[T]):
    """Stands in for `queue.SimpleQueue`, which is written in C. The state is the length."""

    def __init__(self) -> None:
        self._items: deque[T] = deque()
        self._execution: dict[str, Resource] | None = None
        self._genuine: Any = _genuine_simple()
        kernel = current()
        if kernel is not None:
            self._attach(kernel, *made_here(kernel, QUEUE.name))

    def _attach(self, kernel: Kernel, name: str, label: str) -> None:
        self._execution = kernel.resources
        self._items = deque()
        resource = self._resource = kernel.resource(name, 0, label)
        self._put = Operation(PUT, resource, writes=resource.bit)
        self._get = Operation(GET, resource, writes=resource.bit, enabled=bool)
        self._serve = Operation(SERVE, resource, writes=resource.bit, enabled=bool)
        self._try_get = Operation(GET_NOWAIT, resource, writes_when=bool)
        self._look = Operation(LOOK, resource, reads=resource.bit)

    def _attached(self, kernel: Kernel) -> Resource:
        if self._execution is not kernel.resources:
            name = BINDINGS.name(kernel, self, QUEUE.name)
            self._attach(kernel, name, name)
        return self._resource

    def put(self, item: T, block: bool = True, timeout: float | None = None) -> None:
        """Add an item; never waits."""
        kernel = current()
        if kernel is None:
            self._genuine.put(item, block, timeout)
            return
        if self._execution is not None and self._execution is not kernel.resources and executors.calls(sys._getframe(1)):
            return  # the executor of an execution that is over is collected, and wants to wake its threads
        resource = self._attached(kernel)
        kernel.step(self._put)
        self._items.append(item)
        if kernel.tracing:
            put_in(kernel, resource, item)
        kernel.put(resource, len(self._items))

    def get(self, block: bool = True, timeout: float | None = None) -> T:
        """Remove and return the oldest item, waiting for one if need be."""
        kernel = current()
        if kernel is None:
            item: T = self._genuine.get(block, timeout)
            return item
        resource = self._attached(kernel)
        if block and timeout is not None and timeout < 0:
            raise ValueError("'timeout' must be a non-negative number")
        if not block or timeout == 0:
            kernel.step(self._try_get)
        elif timeout is None:
            kernel.step(self._serve if executors.calls(sys._getframe(1)) else self._get)
        else:
            detail = f"{resource.name} for {timeout:g} s"
            step_until(kernel, Operation(GET, resource, enabled=bool, writes_when=bool, detail=detail), timeout)
        if not resource.state:
            raise Empty
        item = self._items.popleft()
        if kernel.tracing:
            taken_out(kernel, resource, item)
        kernel.put(resource, len(self._items))
        return item

    def put_nowait(self, item: T) -> None:
        """Add an item."""
        self.put(item)

    def get_nowait(self) -> T:
        """Remove and return the oldest item; raise Empty if there is none."""
        return self.get(False)

    def qsize(self) -> int:
        """Return the number of items."""
        kernel = current()
        if kernel is None:
            return int(self._genuine.qsize())
        resource = self._attached(kernel)
        kernel.step(self._look)
        return int(resource.state)

    def empty(self) -> bool:
        """Whether there is no item."""
        return not self.qsize()


def install(patches: Patches) -> None:
    """Plan the replacements."""
    methods = {
        "__init__": _init,
        "put": _put,
        "get": _get,
        "task_done": _task_done,
        "join": _join,
        "qsize": _qsize,
        "empty": _empty,
        "full": _full,
    }
    if _genuine_shutdown is not None:
        methods["shutdown"] = _shutdown
    replace(patches, queue.Queue, methods)
    patches.everywhere(_genuine_simple, SimpleQueue)
    patches.afterwards(queue_contents.forget)
    executors.install(patches)
