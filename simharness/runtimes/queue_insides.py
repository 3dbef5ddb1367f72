"""The attributes of `queue.Queue` objects that only its own code should use: whose use opens a queue, and what it touches.

While the patches last, the class has a descriptor for each of them; the values stay in the queue's `__dict__`. Code that is not the
queue's own opens the queue when it reads or assigns one (`simharness.runtimes.threads.opened_queues`). In an opened queue the mutex and the
conditions are those under control; the container of the items and the count of unfinished tasks are locations, which the queue's own code
touches, too. Code that is not instrumented may use the container longer than the step in which it reads it: where it does not hold the
mutex, the verdict names the container.
"""

from __future__ import annotations

import queue
import sys
from collections.abc import Mapping
from types import FrameType
from typing import Any

from simharness.engine.kernel import Kernel, current
from simharness.engine.phases import INSPECTING, SETUP
from simharness.instrument.marks import announces
from simharness.places import asker
from simharness.runtimes.memory import opaque, shared
from simharness.runtimes.memory.accesses import ALL, BULK
from simharness.runtimes.memory.kinds import LIST
from simharness.runtimes.memory.shared import Memory
from simharness.runtimes.patching import Patches
from simharness.runtimes.threads import opened_queues, queue_hooks, queues
from simharness.runtimes.threads.opened_queues import CONDITIONS, OpenedQueue

_ITEMS, _TASKS = "queue", "unfinished_tasks"
_OURS = tuple(vars(module) for module in (queues, queue_hooks, opened_queues))


class _Inside:
    """One of the attributes."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, owner: Any, cls: type) -> Any:
        if owner is None:
            raise AttributeError(f"type object {cls.__name__!r} has no attribute {self._name!r}")
        kernel = current()
        if kernel is not None:
            part = self._read(kernel, owner, sys._getframe(1))
            if part is not None:
                return part
        try:
            return owner.__dict__[self._name]
        except KeyError:
            raise AttributeError(f"{type(owner).__name__!r} object has no attribute {self._name!r}") from None

    def __set__(self, owner: Any, value: Any) -> None:
        kernel = current()
        if kernel is not None:
            self._write(kernel, owner, sys._getframe(1))
        owner.__dict__[self._name] = value

    def __delete__(self, owner: Any) -> None:
        if self._name not in owner.__dict__:
            raise AttributeError(self._name)
        self.__set__(owner, None)
        del owner.__dict__[self._name]

    def _read(self, kernel: Kernel, owner: Any, frame: FrameType) -> Any:
        """Open the queue, or announce the access; return the value, if the queue is opened, or what stands in for it."""
        name = self._name
        view = _view(kernel, owner, frame)
        if view is None:
            return None
        if view.insides is None:
            _open(kernel, view, name)
            return None
        if frame.f_globals is vars(queue):
            view.insides.changed(kernel)
        part = view.insides.parts.get(name)
        if part is None and name in (_ITEMS, _TASKS):
            memory = shared.of(kernel)
            _know(memory, owner, view.name, view.label)
            memory.attribute(owner, name, False)
            part = owner.__dict__.get(name)  # as it is now: another actor may assign the attribute before the container's turn
            if name == _ITEMS and part is not None:
                _touch_items(memory, part, view, frame)
        return part

    def _write(self, kernel: Kernel, owner: Any, frame: FrameType) -> None:
        view = _view(kernel, owner, frame)
        if view is None:
            return
        if view.insides is None:
            _open(kernel, view, self._name)
            return
        view.insides.parts.pop(self._name, None)
        memory = shared.of(kernel)
        _know(memory, owner, view.name, view.label)
        memory.attribute(owner, self._name, True)


def _view(kernel: Kernel, owner: Any, frame: FrameType) -> queues._View | None:
    """Return the view of a queue; None while the queue is being made, and for the harness."""
    if _TASKS not in owner.__dict__ or any(frame.f_globals is space for space in _OURS):
        return None
    return queues.view_of(kernel, owner)


def _open(kernel: Kernel, view: queues._View, name: str) -> None:
    """The queue is used from outside, unless one of its hooks runs, which has the mutex, or a final check looks."""
    if kernel.dying or (kernel.phase >= INSPECTING and not kernel.checking):
        return
    if name not in (_ITEMS, _TASKS) or kernel.actor not in view.inside or kernel.phase == INSPECTING:
        kernel.learned.learn(OpenedQueue(view.name))


def _know(memory: Memory, thing: Any, name: str, label: str) -> None:
    """Name a queue or its container, if nothing has named it yet."""
    if id(thing) not in memory.objects and memory.kernel.phase <= SETUP:
        memory.register(thing, name, label)


def _touch_items(memory: Memory, items: Any, view: queues._View, frame: FrameType) -> None:
    """The container of an opened queue is used next: announce that, unless instrumented code does, which announces it itself."""
    rules = memory.rules(type(items))
    _know(memory, items, f"items of {view.name}", f"{view.label}.{_ITEMS}")
    own = frame.f_globals is vars(queue)
    user: FrameType | None = frame if own else asker(frame)
    if not own and user is not None and announces(user.f_globals):
        return
    kernel, insides = memory.kernel, view.insides
    looks = own and frame.f_code.co_name == "_qsize"
    if rules.kind >= LIST:
        point = memory.access([(items, ALL if looks else BULK, None)])
    else:
        point = rules.opaque and memory.access(opaque.parts(items, not looks))
    if own and not looks and point and view.hooked and insides is not None:
        insides.changes(kernel, memory.writes)  # the items may compare themselves in steps, while the heap is half changed
    if not own and insides is not None and not insides.is_held(kernel) and kernel.phase <= SETUP:
        kernel.learned.leaves_out(f"{type(view.owner).__name__}.{_ITEMS}")


def install(patches: Patches) -> None:
    """Plan the descriptors."""
    attributes: Mapping[str, Any] = {name: _Inside(name) for name in (_ITEMS, _TASKS, "mutex", *CONDITIONS)}
    for name, attribute in attributes.items():
        patches.attribute(queue.Queue, name, attribute)
