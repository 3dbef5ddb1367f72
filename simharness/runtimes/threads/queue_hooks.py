"""The hooks of `queue.Queue` subclasses, `_put`, `_get` and `_qsize`: code of the user's that may take steps.

The genuine queue holds its mutex while a hook runs. So other operations on the queue wait until the hook has returned, and each of its
steps writes the queue. A priority queue's hooks compare the items, which may run code of the user's, too.
"""

from __future__ import annotations

import queue
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from simharness.engine.actors import Actor
from simharness.engine.kernel import Kernel
from simharness.engine.operations import Resource, State
from simharness.engine.phases import RUNNING

T = TypeVar("T")
HOOKS = ("_put", "_get", "_qsize")
_OWN = frozenset(vars(kind)[name] for kind in (queue.Queue, queue.LifoQueue) for name in HOOKS)


class Hooked(Protocol):
    """A queue in one execution, whose state is (length, whether shut down, whether a hook is running); `inside`: for which actor."""

    owner: Any
    inside: set[Actor | None]
    hooked: bool
    takes_last: bool
    resource: Resource
    tasks: Resource


def may_take_steps(owner: Any) -> bool:
    """Whether a hook of a queue may take steps."""
    return not _OWN.issuperset(getattr(getattr(owner, name), "__func__", None) for name in HOOKS)


def takes_last(owner: Any) -> bool:
    """Whether a queue without hooks of its own gives the youngest item first."""
    return type(owner)._get is queue.LifoQueue._get


def is_free(state: State) -> bool:
    """Whether no hook is running."""
    return not state[2]


def add(kernel: Kernel, view: Hooked, item: Any) -> None:
    """Put an item into a queue that has room for it, as part of the last step or in steps of its hook's own."""
    names = view.owner.__dict__
    if view.hooked:
        change(kernel, view, lambda: _add(view.owner, item))
        return
    names["queue"].append(item)
    names["unfinished_tasks"] += 1
    kernel.put(view.resource, (len(names["queue"]), view.resource.state[1], False))
    kernel.put(view.tasks, names["unfinished_tasks"])


def _add(owner: Any, item: Any) -> None:
    owner._put(item)
    owner.__dict__["unfinished_tasks"] += 1


def take(kernel: Kernel, view: Hooked) -> Any:
    """Take an item out of a queue that has one, as part of the last step or in steps of its hook's own."""
    if view.hooked:
        return change(kernel, view, view.owner._get)
    items = view.owner.__dict__["queue"]
    item = items.pop() if view.takes_last else items.popleft()
    kernel.put(view.resource, (len(items), view.resource.state[1], False))
    return item


def change(kernel: Kernel, view: Hooked, hook: Callable[[], T]) -> T:
    """Call a hook that changes the queue, as part of the last step or in steps of its own; then the queue's new state holds."""
    actor = kernel.actor
    view.inside.add(actor)
    try:
        if view.hooked and actor is not None and kernel.phase == RUNNING:
            return _in_steps(kernel, view, hook, actor)
        value = hook()
        _settle(kernel, view)
        return value
    finally:
        view.inside.discard(actor)


def _in_steps(kernel: Kernel, view: Hooked, hook: Callable[[], T], actor: Actor) -> T:
    resource = view.resource
    length, closed, _ = resource.state
    mark = actor.mark
    kernel.put(resource, (length, closed, True))
    actor.mark |= resource.bit | view.tasks.bit
    try:
        value = hook()
        _settle(kernel, view)
    except Exception:
        _settle(kernel, view)
        raise
    finally:
        actor.mark = mark
    return value


def _settle(kernel: Kernel, view: Hooked) -> None:
    owner = view.owner
    kernel.put(view.resource, (owner._qsize(), bool(getattr(owner, "is_shutdown", False)), False))
    if view.tasks.state != owner.__dict__["unfinished_tasks"]:
        kernel.put(view.tasks, owner.__dict__["unfinished_tasks"])
