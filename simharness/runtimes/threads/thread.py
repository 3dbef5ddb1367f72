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
from simharness.engine.kernel import THREAD as THREADS
from simharness.engine.kernel import Kernel, current
from simharness.engine.kinds import Kind, Role, Sends
from simharness.engine.operations import Operation
from simharness.errors import SimharnessError, Stuck
from simharness.runtimes.patching import Patches
from simharness.runtimes.primitives import VIEW, replace, step_until
from simharness.runtimes.threads import identity, locals
from simharness.runtimes.threads.identity import THREAD
from simharness.runtimes.threads.thread_views import _genuine_init, _View, _view, actor_of

JOIN = Kind(THREADS, "join", Role.ABOUT_ACTORS, enabled_by=Sends.END, blocked="{actor} has not ended", calls=("join()",))
IS_ALIVE = Kind(THREADS, "is_alive", Role.ABOUT_ACTORS)

_genuine_start = Thread.start
_genuine_run = Thread.run
_genuine_join = Thread.join
_genuine_is_alive = Thread.is_alive
_genuine_repr = Thread.__repr__
_genuine_ident = cast(property, vars(Thread)["ident"])
_genuine_native_id = cast(property, vars(Thread)["native_id"])
_genuine_daemon = cast(property, vars(Thread)["daemon"])
_genuine_timer_run = Timer.run
_genuine_start_new_thread = _thread.start_new_thread
_genuine_start_new = _thread.start_new
_genuine_hook = threading.__excepthook__
HASH = "_simharness_hash"
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
    self.__dict__[VIEW] = _View(kernel)
    self.__dict__[HASH] = zlib.crc32(kernel.new_name(f"thread {name}").encode())


def _default_name(kernel: Kernel, target: Any) -> str:
    """Return a name as CPython would, but counted per maker and not for the whole program."""
    maker = identity.current_actor(kernel)
    numbers = kernel.context.setdefault("thread numbers", {})
    number = numbers[maker] = numbers.get(maker, 0) + 1
    function = getattr(target, "__name__", None)
    name = f"Thread-{number}" + (f" ({function})" if function else "")
    return name if maker is None else f"{maker.name}/{name}"


def _actor_name(kernel: Kernel, thread: Thread) -> str:
    """Return a name for the actor that is unique in this execution and depends on no actor except its parent."""
    parent = kernel.actor
    name = thread.name
    if parent is not None and parent.name != ROOT and not name.startswith(f"{parent.name}/"):
        name = f"{parent.name}/{name}"
    return kernel.labels.free(name)


def _start(self: Thread) -> None:
    kernel = current()
    if kernel is None:
        _genuine_start(self)
        return
    if not self._initialized:  # type: ignore[attr-defined]  # not in the stubs
        raise RuntimeError("thread.__init__() not called")
    view = _view(kernel, self)
    if view.actor is not None or self._started._flag:  # type: ignore[attr-defined]  # not in the stubs
        raise RuntimeError("threads can only be started once")
    _launch(kernel, self, view, lambda: _work(self))


def _launch(kernel: Kernel, thread: Thread, view: _View, work: Callable[[], Any]) -> Actor:
    parent = kernel.actor
    process = parent.process if parent is not None else "main"
    actor = kernel.add_actor(_actor_name(kernel, thread), work, bool(_genuine_daemon.__get__(thread)), process)
    view.actor = actor
    actor.locals[THREAD] = thread
    kernel.start(actor)
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
            if ignores is None or not ignores(thread.name, error):
                raise
            return
        hook(threading.ExceptHookArgs([type(error), error, error.__traceback__, thread]))


def _is_users_hook(hook: Any) -> bool:
    while isinstance(hook, functools.partial):
        hook = hook.func
    return hook is not _genuine_hook and not str(getattr(hook, "__module__", "")).startswith("_pytest.")


def _run(self: Thread) -> None:
    if current() is None:
        _genuine_run(self)
        return
    # The genuine method deletes these; a Thread made before the simulation starts once in every execution.
    if self._target is not None:  # type: ignore[attr-defined]  # not in the stubs
        self._target(*self._args, **self._kwargs)  # type: ignore[attr-defined]  # not in the stubs


def _join(self: Thread, timeout: float | None = None) -> None:
    kernel = current()
    if kernel is None:
        _genuine_join(self, timeout)
        return
    if not self._initialized:  # type: ignore[attr-defined]  # not in the stubs
        raise RuntimeError("Thread.__init__() not called")
    actor = _view(kernel, self).actor
    if actor is None:
        if not self._started._flag:  # type: ignore[attr-defined]  # not in the stubs
            raise RuntimeError("cannot join thread before it is started")
        _genuine_join(self, timeout)
        return
    if identity.current_actor(kernel) is actor:
        raise RuntimeError("cannot join current thread")
    if timeout is None:
        kernel.step(Operation(JOIN, actor.done, reads=actor.bit, enabled=bool, detail=actor.name))
        return
    detail = f"{actor.name} for {max(0.0, timeout):g} s"
    if timeout <= 0:
        kernel.step(Operation(JOIN, actor.done, reads=actor.bit, detail=detail))
    else:
        step_until(kernel, Operation(JOIN, actor.done, reads=actor.bit, enabled=bool, detail=detail), timeout)
    if kernel.tracing:
        kernel.note("ended" if actor.done.state else "still alive")


def _is_alive(self: Thread) -> bool:
    kernel = current()
    if kernel is None:
        return _genuine_is_alive(self)
    assert self._initialized, "Thread.__init__() not called"  # type: ignore[attr-defined]  # not in the stubs
    actor = _view(kernel, self).actor
    if actor is None:
        return _genuine_is_alive(self) if self._started._flag else False  # type: ignore[attr-defined]  # not in the stubs
    if actor.index not in kernel.cast.actors:
        return True
    kernel.step(Operation(IS_ALIVE, actor.done, reads=actor.bit, detail=actor.name))
    return not actor.done.state


def _ident(self: Thread) -> int | None:
    actor = actor_of(self)
    return identity.ident_of(actor.name) if actor is not None else cast("int | None", _genuine_ident.__get__(self))


def _native_id(self: Thread) -> int | None:
    actor = actor_of(self)
    return identity.ident_of(actor.name) if actor is not None else cast("int | None", _genuine_native_id.__get__(self))


def _set_daemon(self: Thread, daemonic: bool) -> None:
    if current() is None:
        _genuine_daemon.__set__(self, daemonic)
        return
    if not self._initialized:  # type: ignore[attr-defined]  # not in the stubs
        raise RuntimeError("Thread.__init__() not called")
    if actor_of(self) is not None or self._started._flag:  # type: ignore[attr-defined]  # not in the stubs
        raise RuntimeError("cannot set daemon status of active thread")
    self._daemonic = daemonic  # type: ignore[attr-defined]  # not in the stubs


def _repr(self: Thread) -> str:
    if current() is None:
        return _genuine_repr(self)
    actor = actor_of(self)
    status = "initial" if actor is None else "stopped" if actor.done.state else "started"
    daemon = " daemon" if _genuine_daemon.__get__(self) else ""
    ident = f" {identity.ident_of(actor.name)}" if actor is not None else ""
    return f"<{type(self).__name__}({self.name}, {status}{daemon}{ident})>"


def _hash(self: Thread) -> int:
    """Order sets of threads by name and not by address, inside a simulation."""
    number = self.__dict__.get(HASH)
    return object.__hash__(self) if number is None else cast(int, number)


def _timer_run(self: Timer) -> None:
    if current() is None:
        _genuine_timer_run(self)
        return
    # The genuine method waits and then looks again; a step that does both sees every outcome.
    if not self.finished.wait(self.interval):
        self.function(*self.args, **self.kwargs)
    self.finished.set()


def _start_new_thread(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any] | None = None) -> int:
    kernel = current()
    if kernel is None:
        return _genuine_start_new_thread(function, args, kwargs or {})
    thread = Thread(target=function, args=args, kwargs=kwargs)
    actor = _launch(kernel, thread, _view(kernel, thread), lambda: _work(thread))
    return identity.ident_of(actor.name)


def install(patches: Patches) -> None:
    """Plan the replacements."""
    methods: dict[str, Any] = {
        "__init__": _init,
        "start": _start,
        "run": _run,
        "join": _join,
        "is_alive": _is_alive,
        "__repr__": _repr,
        "__hash__": _hash,
        "ident": property(_ident),
        "native_id": property(_native_id),
        "daemon": property(_genuine_daemon.__get__, _set_daemon),
    }
    replace(patches, threading.Thread, methods)
    replace(patches, threading.Timer, {"run": _timer_run})
    patches.everywhere(_genuine_start_new_thread, _start_new_thread)
    patches.everywhere(_genuine_start_new, _start_new_thread)
    identity.install(patches)
    locals.install(patches)
