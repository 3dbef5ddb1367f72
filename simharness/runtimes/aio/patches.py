"""asyncio: what is replaced, and what is refused by name."""

from __future__ import annotations

import asyncio
import sys
from asyncio import base_events, coroutines, events, tasks
from collections.abc import Callable
from typing import Any, NamedTuple

from simharness.engine.kernel import Kernel, current
from simharness.runtimes.aio import anyio, footprints, hidden
from simharness.runtimes.aio.loop import SimLoop
from simharness.runtimes.aio.order import LOOPS
from simharness.runtimes.aio.switching import RUNNING
from simharness.runtimes.patching import Patches
from simharness.runtimes.refused import refuse

_OWN_LOOP = "only asyncio's own loop is simulated: use asyncio.new_event_loop"
_OLD_LOOP = "the loop was made before the execution: make it in the scenario or test (pytest: a loop scope of 'function')"
POLICY = "asyncio policy"


class _Genuine(NamedTuple):
    """What is replaced; a tuple, because in a closure's cell it would be replaced too."""

    selector_init: Callable[..., None]
    base_init: Callable[..., None]
    run_forever: Callable[..., None]
    run_until_complete: Callable[..., Any]
    all_tasks: Callable[..., Any]


class PerThread:
    """Stands in for the thread-local state of a policy: in a simulation each actor that runs loops has its own."""

    _DEFAULTS = (("_loop", None), ("_set_called", False))

    def __init__(self, genuine: Any = None) -> None:
        object.__setattr__(self, "genuine", genuine)

    def _space(self) -> Any:
        kernel = current()
        if kernel is None:
            return None
        host = 0 if kernel.actor is None else kernel.actor.host.index
        return kernel.context.setdefault((POLICY, id(self), host), dict(self._DEFAULTS))

    def __getattr__(self, name: str) -> Any:
        space = self._space()
        if space is not None and name in space:
            return space[name]
        if self.genuine is None:
            return dict(self._DEFAULTS)[name]
        return getattr(self.genuine, name)

    def __setattr__(self, name: str, value: Any) -> None:
        space = self._space()
        if space is not None:
            space[name] = value
        elif self.genuine is not None:
            setattr(self.genuine, name, value)


def has_loops(kernel: Kernel) -> bool:
    """Whether the execution under way has made a loop."""
    return LOOPS in kernel.context


def end_execution(kernel: Kernel) -> None:
    """Release the loops of an execution; what is left of their tasks says nothing."""
    for loop in kernel.context.get(LOOPS, ()):
        loop.abandon()
    running = kernel.context.pop(RUNNING, None)
    if running is not None:
        running.end()


def install(patches: Patches) -> None:
    """Plan the replacements."""
    base, selector = base_events.BaseEventLoop, asyncio.SelectorEventLoop
    genuine = _Genuine(selector.__init__, base.__init__, base.run_forever, base.run_until_complete, tasks.all_tasks)

    def selector_init(self: Any, *arguments: Any, **options: Any) -> None:
        kernel = current()
        if kernel is None or isinstance(self, SimLoop):
            genuine.selector_init(self, *arguments, **options)
        elif type(self) is selector:
            _become(self)
        else:
            _inert(self)
            refuse(kernel, type(self).__name__, _OWN_LOOP, sys._getframe(1))

    def base_init(self: Any) -> None:
        kernel = current()
        if kernel is not None and not isinstance(self, SimLoop):
            _inert(self)
            refuse(kernel, type(self).__name__, _OWN_LOOP, sys._getframe(1))
        genuine.base_init(self)

    def run_forever(self: Any) -> None:
        _refuse_old(self, "loop.run_forever")
        genuine.run_forever(self)

    def run_until_complete(self: Any, future: Any) -> Any:
        _refuse_old(self, "loop.run_until_complete")
        return genuine.run_until_complete(self, future)

    def all_tasks(loop: Any = None) -> Any:
        footprints.in_step_misfit()
        found = genuine.all_tasks(events.get_running_loop() if loop is None else loop)
        return found if current() is None else {*sorted(found, key=hash)}  # a set's order depends on that of insertion

    patches.attribute(selector, "__init__", selector_init)
    patches.attribute(base, "__init__", base_init)
    patches.attribute(base, "run_forever", run_forever)
    patches.attribute(base, "run_until_complete", run_until_complete)
    debugs = getattr(coroutines, "_is_debug_mode")()  # noqa: B009 not in the stubs; asked here, as a look into the environment is a step
    patches.attribute(coroutines, "_is_debug_mode", lambda: debugs)
    patches.everywhere(genuine.all_tasks, all_tasks)
    _install_policy(patches)
    hidden.install(patches, has_loops)
    anyio.install(patches)
    footprints.install(patches)


def _become(loop: Any) -> None:
    """Make a simulated loop of a genuine one that is being made."""
    loop.__class__ = SimLoop
    loop.__init__()


def _inert(loop: Any) -> None:
    loop._closed = True  # for its finaliser


def _refuse_old(loop: Any, called: str) -> None:
    kernel = current()
    if kernel is not None and (not isinstance(loop, SimLoop) or loop.kernel is not kernel or loop not in kernel.context.get(LOOPS, ())):
        refuse(kernel, called, _OLD_LOOP, sys._getframe(2))


def _install_policy(patches: Patches) -> None:
    get = getattr(events, "_get_event_loop_policy", None) or events.get_event_loop_policy
    policy = get()
    local = getattr(policy, "_local", None)
    if local is not None:
        patches.attribute(policy, "_local", PerThread(local))
    kind = getattr(events, "BaseDefaultEventLoopPolicy", None) or getattr(events, "_BaseDefaultEventLoopPolicy", None)
    if kind is not None:
        patches.attribute(kind, "_Local", PerThread)
