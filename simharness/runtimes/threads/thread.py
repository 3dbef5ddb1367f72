"""`threading.Thread` and `Timer`: inside a simulation a thread is an actor.

Starting one is a step; the new actor runs to its first scheduling point at once. A child of the root actor has the name
of its thread; that of another actor's child starts with the parent's name, since whether a name is free must not depend on
other actors. Joining reads the end of the actor. Daemon flag and process are inherited.
"""

from __future__ import annotations

import _thread
import functools
import threading
import zlib
from collections.abc import Callable
from threading import Thread, Timer
from typing import Any, cast

from greenlet import GreenletExit

from simharness.engine.actors import ROOT, Actor
from simharness.engine.clock import nanoseconds
from simharness.engine.facts import Daemons
from simharness.engine.kernel import Kernel, current
from simharness.engine.kinds import Kind, Role, Sends
from simharness.engine.lifetimes import MADE, START, STARTED, births
from simharness.engine.lifetimes import THREAD as THREADS
from simharness.engine.operations import Operation
from simharness.errors import SimharnessError, Stuck
from simharness.runtimes.patching import Patches
from simharness.runtimes.primitives import VIEW, replace, step_until
from simharness.runtimes.threads import identity, locals, thread_attributes
from simharness.runtimes.threads.identity import THREAD
from simharness.runtimes.threads.thread_attributes import access, is_alive, is_foreign, is_made, need_init
from simharness.runtimes.threads.thread_views import (
    DAEMON,
    LIFETIME,
    NAME,
    TARGET,
    TIMER,
    View,
    _genuine_init,
    is_watching,
    plain,
    view_of,
)

JOIN = Kind(THREADS, "join", Role.ABOUT_ACTORS, enabled_by=Sends.END, blocked="{actor} has not ended", calls=("join()",))

_genuine_start = Thread.start
_genuine_run = Thread.run
_genuine_join = Thread.join
_genuine_is_alive = Thread.is_alive
_genuine_timer_run = Timer.run
_genuine_start_new_thread = _thread.start_new_thread
_genuine_start_new = _thread.start_new
_genuine_hook = threading.__excepthook__
HASH = "_simharness_hash"
AGAIN = "threads can only be started once"
TOO_EARLY = "cannot join thread before it is started"
_OF_RUN = frozenset({"_target", "_args", "_kwargs"})
IGNORES = "ignores what a thread raises"
"""In a kernel's context: a function of a thread's name and the exception that ends it; whether that is not a failure."""


def _init(  # the genuine signature
    self: Thread,
    group: None = None,
    target: Any = None,
    name: Any = None,
    args: Any = (),
    kwargs: Any = None,
    *,
    daemon: bool | None = None,
) -> None:
    kernel = current()
    if kernel is None:
        _genuine_init(self, group, target, name, args, kwargs, daemon=daemon)
        return
    if not name:
        name = _default_name(kernel, target)
    if daemon is None:
        daemon = kernel.actor is not None and kernel.actor.daemon
    _genuine_init(self, group, target, name, args, kwargs, daemon=daemon)
    unique = kernel.new_name(f"thread {name}")
    self.__dict__[VIEW] = View(kernel, str(name), unique)
    self.__dict__[HASH] = zlib.crc32(unique.encode(errors="surrogatepass"))


def _default_name(kernel: Kernel, target: Any) -> str:
    """Return a name as CPython would, but counted per maker and not for the whole program."""
    maker = identity.current_actor(kernel)
    numbers = kernel.context.setdefault("thread numbers", {})
    number = numbers[maker] = numbers.get(maker, 0) + 1
    function = getattr(target, "__name__", None)
    name = f"Thread-{number}" + (f" ({function})" if function else "")
    return name if maker is None else f"{maker.name}/{name}"


def _actor_name(kernel: Kernel, name: str) -> str:
    """Return a name for the actor of a thread of this name that is unique in this execution and depends on no actor except its parent."""
    parent = kernel.actor
    if parent is not None and parent.name != ROOT and not name.startswith(f"{parent.name}/"):
        name = f"{parent.name}/{name}"
    return kernel.labels.free(name)


def _start(self: Thread) -> None:
    kernel = current()
    if kernel is None:
        _genuine_start(self)
        return
    if not is_made(self):
        raise RuntimeError("thread.__init__() not called")
    view = view_of(kernel, self)
    if is_foreign(view, self) or view.begun():
        raise RuntimeError(AGAIN)
    _launch(kernel, self, view, lambda: _work(self))


def _launch(kernel: Kernel, thread: Thread, view: View, work: Callable[[], Any]) -> Actor:
    parent = kernel.actor
    process = parent.process if parent is not None else "main"
    # The name that other actors may be changing would make the actor another one in each order of the two.
    name = view.first_name if view.point(NAME) else str(plain(thread, "_name"))
    actor = kernel.add_actor(_actor_name(kernel, name), work, process=process)
    reads, writes = view.point(DAEMON), actor.bit | births(kernel)
    operation = Operation(START, reads=reads, writes=writes, detail=actor.name)
    if view.life is not None:
        operation = Operation(START, view.life, reads, writes_when=lambda state: state == MADE, also=writes, detail=actor.name)

    def admit() -> None:
        if view.actor is not None:
            view.touch(LIFETIME, step=kernel.record.n - 1)
            raise RuntimeError(AGAIN)
        view.start(actor)
        actor.locals[THREAD] = thread
        if plain(thread, "_daemonic"):
            actor.daemon = True
            kernel.learned.learn(Daemons())
        if view.life is not None:
            kernel.put(view.life, STARTED)

    kernel.start(actor, operation, admit)
    return actor


def _work(thread: Thread) -> None:
    """Do the work of a thread's actor: call `run`, and the user's `threading.excepthook` if that fails."""
    try:
        thread.run()
    except SystemExit:
        return  # as CPython: it ends the thread and nothing else
    except (GreenletExit, SimharnessError, Stuck, KeyboardInterrupt):
        raise
    except BaseException as error:
        hook = threading.excepthook
        if not _is_users_hook(hook):
            kernel = current()
            ignores = kernel.context.get(IGNORES) if kernel is not None else None
            if ignores is None or not ignores(plain(thread, "_name"), error):
                raise
            return
        hook(threading.ExceptHookArgs([type(error), error, error.__traceback__, thread]))


def _is_users_hook(hook: Any) -> bool:
    while isinstance(hook, functools.partial):
        hook = hook.func
    return hook is not _genuine_hook and not str(getattr(hook, "__module__", "")).startswith("_pytest.")


def _run(self: Thread) -> None:
    kernel = current()
    if kernel is None:
        _genuine_run(self)
        return
    if view_of(kernel, self).is_touched(TARGET):
        access(kernel, self, TARGET)
    attributes = vars(self)
    # The genuine method deletes these; a Thread made before the simulation starts once in every execution.
    if not attributes.keys() >= _OF_RUN:  # a subclass keeps them elsewhere
        self._target(*self._args, **self._kwargs)  # type: ignore[attr-defined]  # not in the stubs
    elif attributes["_target"] is not None:
        attributes["_target"](*attributes["_args"], **attributes["_kwargs"])


def _join(self: Thread, timeout: float | None = None) -> None:
    kernel = current()
    if kernel is None:
        _genuine_join(self, timeout)
        return
    if not is_made(self):
        raise RuntimeError("Thread.__init__() not called")
    view = view_of(kernel, self)
    if is_foreign(view, self):
        _genuine_join(self, timeout)
        return
    begun = view.begun()
    if not begun:
        view.touch(LIFETIME)
    if view.life is None and view.actor is None:
        raise RuntimeError(TOO_EARLY)
    if view.actor is not None and view.actor is identity.current_actor(kernel):
        raise RuntimeError("cannot join current thread")
    deadline = kernel.clock.now if timeout is None else kernel.clock.now + nanoseconds(max(0.0, timeout))
    _wait(kernel, view, begun, timeout)
    if view.life is not None and view.life.state == MADE:
        raise RuntimeError(TOO_EARLY)
    actor = view.actor
    assert actor is not None
    if actor.done.state:
        if view.life is not None or timeout is None or not _could_pass(kernel, actor, deadline):
            view.join()
        elif timeout > 0 and is_watching(kernel) and not view.settled():
            view.learn(LIFETIME)  # how long this has waited shows that the thread had not ended
    if kernel.tracing and timeout is not None:
        kernel.note("ended" if actor.done.state else "still alive")


def _could_pass(kernel: Kernel, actor: Actor, deadline: int) -> bool:
    """Whether this deadline can be over between the last step of an actor, which has ended, and its end."""
    last = actor.done.history[-1][0] if actor.done.history else -1
    left = deadline - kernel.record.times[last] if last >= 0 else 0
    return left <= 0 or left < kernel.clock.max_delay or kernel.movers.may_stall


def _wait(kernel: Kernel, view: View, begun: bool, timeout: float | None) -> None:
    """Wait until a thread has ended, or a time is over; where its start may be in a race with this, its not being started ends the wait."""
    # What depends on whether the thread has been started must be the same in each order of this actor's last step and that start.
    actor = view.actor if view.life is None or begun else None
    life = actor.done if view.life is None and actor is not None else view.life
    reads, name = (actor.bit, actor.name) if actor is not None else (0, view.first_name)
    assert life is not None
    ended: Callable[[Any], bool] = bool if view.life is None else lambda state: state != STARTED
    reads |= life.bit
    if timeout is None:
        kernel.step(Operation(JOIN, life, reads, enabled=ended, detail=name))
        return
    detail = f"{name} for {max(0.0, timeout):g} s"
    if timeout <= 0:
        kernel.step(Operation(JOIN, life, reads, detail=detail))
    else:
        step_until(kernel, Operation(JOIN, life, reads, enabled=ended, detail=detail), timeout)


def _is_alive(self: Thread) -> bool:
    kernel = current()
    if kernel is None:
        return _genuine_is_alive(self)
    need_init(self)
    if is_foreign(view_of(kernel, self), self):
        return _genuine_is_alive(self)
    return is_alive(kernel, self)


def _hash(self: Thread) -> int:
    """Order sets of threads by name and not by address, inside a simulation."""
    number = self.__dict__.get(HASH)
    return object.__hash__(self) if number is None else cast(int, number)


def _timer_run(self: Timer) -> None:
    kernel = current()
    if kernel is None:
        _genuine_timer_run(self)
        return
    # The genuine method waits and then looks again; a step that does both sees every outcome.
    if not self.finished.wait(self.interval):
        access(kernel, self, TIMER)
        attributes = vars(self)
        attributes["function"](*attributes["args"], **attributes["kwargs"])
    self.finished.set()


def _start_new_thread(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any] | None = None) -> int:
    kernel = current()
    if kernel is None:
        return _genuine_start_new_thread(function, args, kwargs or {})
    thread = Thread(target=function, args=args, kwargs=kwargs)
    actor = _launch(kernel, thread, view_of(kernel, thread), lambda: _work(thread))
    return identity.ident_of(actor.name)


def install(patches: Patches) -> None:
    """Plan the replacements."""
    methods: dict[str, Any] = {
        "__init__": _init,
        "start": _start,
        "run": _run,
        "join": _join,
        "is_alive": _is_alive,
        "__repr__": thread_attributes._repr,
        "__hash__": _hash,
    }
    replace(patches, threading.Thread, methods)
    replace(patches, threading.Timer, {"run": _timer_run})
    patches.everywhere(_genuine_start_new_thread, _start_new_thread)
    patches.everywhere(_genuine_start_new, _start_new_thread)
    identity.install(patches)
    thread_attributes.install(patches)
    locals.install(patches)
