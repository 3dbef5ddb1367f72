"""`threading.Barrier`: its methods, replaced in place on the class.

The state is (generation, arrived, broken, spoiled): how often the barrier has let its parties through, how many have arrived
since, whether it is broken, and the generations that a reset turned away. Arriving is a step; so is passing, for all except the
last to arrive. Passing steps do not conflict with one another.
"""

from __future__ import annotations

import threading
from threading import Barrier, BrokenBarrierError
from typing import Any, cast

from greenlet import GreenletExit

from simharness.engine.kernel import Kernel, current
from simharness.engine.kinds import Family, Kind, Role
from simharness.engine.operations import Operation, State
from simharness.runtimes.patching import Patches
from simharness.runtimes.primitives import View, Views, replace, step_until
from simharness.runtimes.threads.mutexes import mutex_of

_genuine_init = Barrier.__init__
_genuine_wait = Barrier.wait
_genuine_reset = Barrier.reset
_genuine_abort = Barrier.abort
_genuine_n_waiting = cast(property, vars(Barrier)["n_waiting"])
_genuine_broken = cast(property, vars(Barrier)["broken"])

BARRIER = Family("barrier", in_memory=True)
ARRIVE = Kind(BARRIER, "arrive", blocked="{name} is still being left", calls=("wait",))
PASS = Kind(BARRIER, "pass", blocked="others have not reached {name}")
RELEASE = Kind(BARRIER, "release", Role.CLOSES)
LOOK = Kind(BARRIER, "look")
RESET = Kind(BARRIER, "reset")
ABORT = Kind(BARRIER, "abort")


class _View(View):
    """A barrier in one execution."""

    family = BARRIER

    def __init__(self, kernel: Kernel, owner: Any, name: str, label: str) -> None:
        super().__init__(kernel, owner, name, label)
        self.mutex = mutex_of(kernel, name, label)
        parties = self.parties = int(owner._parties)
        resource = self.resource = kernel.resource(name, (0, 0, False, frozenset()), label)
        self.arrive = Operation(ARRIVE, resource, writes=resource.bit, enabled=lambda s: s[1] < parties or s[2])
        self.write = Operation(RELEASE, resource, writes=resource.bit)
        self.look = Operation(LOOK, resource, reads=resource.bit)


_views = Views(_View)


def _init(self: Barrier, parties: int, action: Any = None, timeout: float | None = None) -> None:
    _genuine_init(self, parties, action, timeout)
    kernel = current()
    if kernel is not None:
        _views.born(kernel, self)


def _wait(self: Barrier, timeout: float | None = None) -> int:
    kernel = current()
    if kernel is None:
        return _genuine_wait(self, timeout)
    view = _views.of(kernel, self)
    resource = view.resource
    with view.mutex:
        kernel.step(view.arrive)
        generation, arrived, broken, spoiled = resource.state
        if broken:
            raise BrokenBarrierError
        index = int(arrived)
        kernel.put(resource, (generation, arrived + 1, broken, spoiled))
        if index + 1 == view.parties:
            _let_through(kernel, view, self._action)  # type: ignore[attr-defined]  # not in the stubs
            return index
    _pass(kernel, view, generation, self._timeout if timeout is None else timeout)  # type: ignore[attr-defined]  # not in the stubs
    with view.mutex:
        return index


def _let_through(kernel: Kernel, view: _View, action: Any) -> None:
    """The last to arrive calls the action and opens the barrier: in the step of its arrival unless the action makes steps."""
    arrival = kernel.record.n
    resource = view.resource
    if action:
        try:
            action()
        except GreenletExit:
            raise
        except BaseException:
            if kernel.record.n != arrival:
                kernel.step(view.write)
            _break(kernel, view)
            raise
    if kernel.record.n != arrival:
        kernel.step(view.write)
    generation, _, broken, spoiled = resource.state
    kernel.put(resource, (generation + 1, 0, broken, spoiled))
    if broken:
        raise BrokenBarrierError


def _pass(kernel: Kernel, view: _View, generation: int, timeout: float | None) -> None:
    """Wait until the others have arrived."""
    resource = view.resource

    def passed(state: State) -> bool:
        return bool(state[0] > generation or state[2])

    if timeout is None:
        kernel.step(Operation(PASS, resource, reads=resource.bit, enabled=passed))
    else:
        operation = Operation(
            PASS,
            resource,
            enabled=passed,
            writes_when=lambda state: not passed(state),
            detail=f"{resource.name} for {timeout:g} s",
        )
        step_until(kernel, operation, timeout)
    current_generation, _, broken, spoiled = resource.state
    if broken or generation in spoiled:
        raise BrokenBarrierError
    if current_generation <= generation:
        _break(kernel, view)
        raise BrokenBarrierError


def _break(kernel: Kernel, view: _View) -> None:
    generation, arrived, _, spoiled = view.resource.state
    kernel.put(view.resource, (generation, arrived, True, spoiled))


def _reset(self: Barrier) -> None:
    kernel = current()
    if kernel is None:
        _genuine_reset(self)
        return
    view = _views.of(kernel, self)
    with view.mutex:
        kernel.step(Operation(RESET, view.resource, writes=view.resource.bit))
        generation, arrived, broken, spoiled = view.resource.state
        if arrived or broken:
            kernel.put(view.resource, (generation + 1, 0, False, spoiled | {generation}))


def _abort(self: Barrier) -> None:
    kernel = current()
    if kernel is None:
        _genuine_abort(self)
        return
    view = _views.of(kernel, self)
    with view.mutex:
        kernel.step(Operation(ABORT, view.resource, writes=view.resource.bit))
        _break(kernel, view)


def _n_waiting(self: Barrier) -> int:
    kernel = current()
    if kernel is None:
        return int(_genuine_n_waiting.__get__(self))
    view = _views.of(kernel, self)
    kernel.step(view.look)
    _, arrived, broken, _ = view.resource.state
    return 0 if broken else int(arrived)


def _broken(self: Barrier) -> bool:
    kernel = current()
    if kernel is None:
        return bool(_genuine_broken.__get__(self))
    view = _views.of(kernel, self)
    kernel.step(view.look)
    return bool(view.resource.state[2])


def install(patches: Patches) -> None:
    """Plan the replacements."""
    methods: dict[str, Any] = {"__init__": _init, "wait": _wait, "reset": _reset, "abort": _abort}
    methods |= {"n_waiting": property(_n_waiting), "broken": property(_broken)}
    replace(patches, threading.Barrier, methods)
