"""`concurrent.futures`: what stands in for executors and futures, and what makes the genuine ones repeatable.

Where tasks are actors, `pools`, `futures` and `waiting` do the work. Elsewhere the standard library's own code runs over the replaced
primitives. Its state that is shared by the whole program, or ordered by address, is replaced here: the lock and the table that its exit
handler uses, the counter in its threads' names, the order in which sets of futures are iterated over and their locks taken.
"""

from __future__ import annotations

import concurrent.futures.thread
import sys
import weakref
import zlib
from _thread import allocate_lock as _allocate_lock
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, _base, thread
from types import FrameType
from typing import Any

from simharness.engine.kernel import Kernel, current
from simharness.runtimes.patching import Patches
from simharness.runtimes.primitives import BINDINGS, call_alike, replace
from simharness.runtimes.refused import refuse
from simharness.runtimes.threads import futures, identity, pools, thread_pools, waiting
from simharness.runtimes.threads.locks import Lock

HASH = "_simharness_hash"
MADE_IN = "_simharness_made_in"
_genuine_executor_init: Callable[..., None] = ThreadPoolExecutor.__init__
_genuine_submit: Callable[..., Future[Any]] = ThreadPoolExecutor.submit
_genuine_shutdown: Callable[..., None] = ThreadPoolExecutor.shutdown
_genuine_wait, _genuine_as_completed = _base.wait, _base.as_completed
_genuine_init = Future.__init__
_genuine_acquire_all = _base._AcquireFutures.__init__
_genuine_counter = ThreadPoolExecutor._counter  # type: ignore[attr-defined]  # not in the stubs


def _executor_init(self: ThreadPoolExecutor, *arguments: Any, **options: Any) -> None:
    kernel = current()
    if kernel is None:
        _genuine_executor_init(self, *arguments, **options)
        return
    self.__dict__[MADE_IN] = kernel.resources
    before = _numbers(kernel)
    _genuine_executor_init(self, *arguments, **options)
    number = _numbers(kernel)
    initialized = options.get("initializer", arguments[2] if len(arguments) > 2 else None) is not None
    modelled = pools.begin(kernel, self, None if number == before else number, initialized)
    if not modelled and not kernel.learned.daemons:
        kernel.context.setdefault(MADE_IN, []).append(self)  # when it is collected depends on the order in which actors end


def _submit(self: ThreadPoolExecutor, fn: Callable[..., Any], /, *arguments: Any, **options: Any) -> Future[Any]:
    """Refuse, in a simulation, executors made before it or in another execution: their threads are not actors."""
    kernel = current()
    if kernel is not None and self.__dict__.get(MADE_IN) is not kernel.resources:
        refuse(kernel, "ThreadPoolExecutor.submit", "make the executor in the scenario, so that its threads are actors", sys._getframe(1))
    line = pools.line_of(self)
    return _genuine_submit(self, fn, *arguments, **options) if line is None else line.submit(fn, arguments, options)


def _shutdown(self: ThreadPoolExecutor, wait: bool = True, *, cancel_futures: bool = False) -> None:
    line = pools.line_of(self)
    if line is None:
        _genuine_shutdown(self, wait, cancel_futures=cancel_futures)
    else:
        line.shutdown(wait, cancel_futures)


def _numbers(kernel: Kernel) -> int:
    """Return the number of the last executor without a name that the running actor has made."""
    number: int = kernel.context.get("executor numbers", {}).get(identity.current_actor(kernel), -1)
    return number


def _counter() -> Any:
    """Number executors per maker, from 0; the names of their threads' actors contain the maker."""
    kernel = current()
    if kernel is None:
        return _genuine_counter()
    maker = identity.current_actor(kernel)
    numbers = kernel.context.setdefault("executor numbers", {})
    number = numbers[maker] = numbers.get(maker, -1) + 1
    return number


def calls(frame: FrameType) -> bool:
    """Whether a frame runs code of the executors."""
    return frame.f_globals is vars(thread)


def _future_init(self: Future[Any]) -> None:
    _genuine_init(self)
    kernel = current()
    if kernel is not None:
        self.__dict__[HASH] = zlib.crc32(kernel.new_name("future").encode(errors="surrogatepass"))


def _future_hash(self: Future[Any]) -> int:
    number: int | None = self.__dict__.get(HASH)
    return object.__hash__(self) if number is None else number


def _acquire_all(self: Any, futures: Any) -> None:
    """Take the locks of futures in an order that does not depend on addresses."""
    _genuine_acquire_all(self, futures)
    if current() is not None:
        self.futures = sorted(self.futures, key=hash)


def install(patches: Patches) -> None:
    """Plan the replacements."""
    thread_pools.install(patches)
    BINDINGS.give(shutdown := _allocate_lock(), "of all executors")
    patches.attribute(thread, "_global_shutdown_lock", Lock.around(shutdown))
    patches.attribute(thread, "_threads_queues", weakref.WeakKeyDictionary())
    patches.attribute(ThreadPoolExecutor, "_counter", staticmethod(_counter))
    patches.attribute(ThreadPoolExecutor, "__init__", _executor_init)
    for taking in (_submit, futures.METHODS["add_done_callback"]):
        taking.__module__ = _base.__name__  # code that calls what it is given: instrumented callers announce what that touches
    replace(patches, ThreadPoolExecutor, {"submit": _submit, "shutdown": _shutdown})
    patches.attribute(ThreadPoolExecutor, "__getattr__", pools.insides)
    replace(patches, Future, futures.METHODS)
    patches.attribute(Future, "__getattr__", futures.insides)
    for original, replacement in ((_genuine_wait, waiting.wait), (_genuine_as_completed, waiting.as_completed)):
        call_alike(replacement, original)
        patches.everywhere(original, replacement)
    patches.attribute(concurrent.futures.Future, "__init__", _future_init)
    patches.attribute(concurrent.futures.Future, "__hash__", _future_hash)
    patches.attribute(_base._AcquireFutures, "__init__", _acquire_all)
