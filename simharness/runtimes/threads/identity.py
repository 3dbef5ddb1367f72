"""Which thread is running: `current_thread`, `get_ident`, `enumerate` and the like, answered for actors.

Thread identifiers are made from the actor's name, so they are the same in every execution.
"""

from __future__ import annotations

import _thread
import sys
import threading
import zlib
from collections.abc import Callable
from threading import Thread
from typing import Any

from simharness.engine.actors import ROOT, Actor
from simharness.engine.kernel import Kernel, current
from simharness.engine.kinds import Kind, Role
from simharness.engine.lifetimes import THREAD as THREADS
from simharness.engine.lifetimes import ThreadsListed, births, entry
from simharness.engine.operations import Operation
from simharness.engine.phases import RUNNING
from simharness.runtimes.patching import Patches
from simharness.runtimes.primitives import call_alike
from simharness.runtimes.threads.thread_views import adopt, is_watching
from simharness.runtimes.workers import identity_seen

THREAD = "threading.Thread"
"""The key of an actor's Thread object among its locals."""

ENUMERATE = Kind(THREADS, "enumerate", Role.ABOUT_ACTORS)

_genuine_current_thread = threading.current_thread
_genuine_main_thread = threading.main_thread
_genuine_enumerate = threading.enumerate
_genuine_active_count = threading.active_count
_genuine_get_ident = _thread.get_ident
_genuine_get_native_id = _thread.get_native_id
_idents: dict[str, int] = {}


def ident_of(name: str) -> int:
    """Return the thread identifier of the actor of this name."""
    ident = _idents.get(name)
    if ident is None:
        ident = _idents[name] = 0x10000 + zlib.crc32(name.encode(errors="surrogatepass"))
    return ident


def current_actor(kernel: Kernel) -> Actor | None:
    """Return the running actor; None stands for the main thread: set-up, checks, and the root actor of plain threaded code."""
    actor = kernel.actor
    if kernel.phase != RUNNING or actor is None or actor.name == ROOT:
        return None
    return actor


def _current_host(kernel: Kernel) -> Actor | None:
    """Return the actor whose thread is running: for a task, the actor that called `trio.run`; None stands for the main thread."""
    actor = current_actor(kernel)
    return None if actor is None or actor.host.name == ROOT else actor.host


def _main(kernel: Kernel) -> Thread:
    thread: Thread | None = kernel.context.get(THREAD)
    if thread is None:
        root = next((actor for actor in kernel.cast.actors.values() if actor.name == ROOT), kernel.actor)
        if root is None or root.name != ROOT:
            root = Actor(kernel.names, kernel.greenlets.hub, ROOT, lambda: None, False, "main")
        thread = kernel.context[THREAD] = adopt(kernel, root, ROOT)
    return thread


def _thread_of(kernel: Kernel, actor: Actor | None) -> Thread:
    if actor is None:
        return _main(kernel)
    thread: Thread | None = actor.locals.get(THREAD)
    if thread is None:
        thread = actor.locals[THREAD] = adopt(kernel, actor, actor.name)
    return thread


def _current_thread() -> Thread:
    kernel = current()
    if kernel is None:
        return _genuine_current_thread()
    identity_seen(kernel, sys._getframe(1))
    return _thread_of(kernel, _current_host(kernel))


def _main_thread() -> Thread:
    kernel = current()
    return _genuine_main_thread() if kernel is None else _main(kernel)


def _get_ident() -> int:
    kernel = current()
    if kernel is None:
        return _genuine_get_ident()
    identity_seen(kernel, sys._getframe(1))
    actor = _current_host(kernel)
    return ident_of(ROOT if actor is None else actor.name)


def _get_native_id() -> int:
    return _genuine_get_native_id() if current() is None else _get_ident()


def _enumerate() -> list[Thread]:
    kernel = current()
    if kernel is None:
        return _genuine_enumerate()
    if is_watching(kernel):
        kernel.learned.learn(ThreadsListed())
    here: list[Actor] = []
    while True:
        # Those that start before this step has its turn must be among those whose ends it reads, so then it is announced again.
        started = here
        here = [actor for actor in kernel.cast.actors.values() if actor.host is actor]
        if here == started:
            break
        mask = births(kernel)
        for actor in here:
            mask |= entry(kernel, actor)
        kernel.step(Operation(ENUMERATE, reads=mask))
    threads = [_thread_of(kernel, None if actor.name == ROOT else actor) for actor in here if actor.listed and not actor.finished]
    main = _main(kernel)
    return threads if main in threads else [main, *threads]


def _active_count() -> int:
    return _genuine_active_count() if current() is None else len(_enumerate())


def _outside_only(original: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a function so that it does nothing inside a simulation, where there is no thread to trace."""
    owner, name = threading, original.__name__

    def nothing(function: Any) -> None:
        if current() is None:
            _hooks[owner, name](function)

    return nothing


_hooks: dict[tuple[Any, str], Callable[..., Any]] = {}


def install(patches: Patches) -> None:
    """Plan the replacements."""
    functions: tuple[tuple[Any, Any], ...] = (
        (_genuine_current_thread, _current_thread),
        (_genuine_main_thread, _main_thread),
        (_genuine_enumerate, _enumerate),
        (_genuine_active_count, _active_count),
        (_genuine_get_ident, _get_ident),
        (_genuine_get_native_id, _get_native_id),
    )
    for original, replacement in functions:
        call_alike(replacement, original)
        patches.everywhere(original, replacement)
    for name in ("settrace", "setprofile", "settrace_all_threads", "setprofile_all_threads"):
        original = getattr(threading, name, None)
        if original is not None:
            _hooks[threading, name] = original
            patches.attribute(threading, name, _outside_only(original))
