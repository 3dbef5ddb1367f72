"""What a simulated `trio.run` does: it makes a run whose steps grow, or one whose steps all conflict, and makes it current."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import outcome
import trio
from trio import _threads
from trio._core import _thread_cache

from simharness.engine.actors import Actor
from simharness.engine.kernel import Kernel, current
from simharness.engine.operations import Operation
from simharness.runtimes.patching import Patches
from simharness.runtimes.tasks.actors import become_host
from simharness.runtimes.threads.thread_views import actor_of
from simharness.runtimes.trio import cancellable, internals
from simharness.runtimes.trio.footprints import grows
from simharness.runtimes.trio.growing import GrowingRun
from simharness.runtimes.trio.kinds import CHECK_CANCELLED
from simharness.runtimes.trio.run import RUNS, Run


def simulated(kernel: Kernel, function: Callable[..., Any], arguments: tuple[Any, ...], clock: Any, instruments: Any, strict: bool) -> Any:
    """Run a Trio program as part of the kernel's execution; return or raise its outcome."""
    host = become_host(kernel, "trio.run")
    runs: dict[int, Run] = kernel.context.setdefault(RUNS, {})
    kernel.learned.uses("trio")
    growing = grows(kernel)
    kernel.learned.footprints_are_late(growing)
    started = GrowingRun(kernel, host, clock) if growing else Run(kernel, host, clock)
    started.runner, started.hooks = internals.make_runner(started, started.clock, instruments, strict)
    runs[host.index] = started
    try:
        started.begin()
        return internals.drive(started.runner, function, arguments)
    finally:
        del runs[host.index]
        if kernel.dying:
            started.abandon()
        elif kernel.error is None:
            started.finish()


def _current_run(kernel: Kernel) -> Run | None:
    actor = kernel.actor
    runs: dict[int, Run] = kernel.context.get(RUNS, {})
    return None if actor is None else runs.get(actor.host.index)


def worker(kernel: Kernel, actor: Actor | None) -> None:
    """Note that the current run has started a worker thread; no actor waits for it once the run is over."""
    starter = _current_run(kernel)
    if starter is not None and actor is not None:
        starter.workers.append(actor)


def run_now() -> Run | None:
    """Return the current run."""
    kernel = current()
    return None if kernel is None else _current_run(kernel)


class _Genuine(NamedTuple):
    """What is replaced; a tuple, because in a closure's cell it would be replaced too."""

    run: Callable[..., Any]
    start: Callable[..., Any]
    check: Callable[..., Any]


def install(patches: Patches) -> None:
    """Plan to replace `trio.run` and the calls by which Trio starts worker threads and these look for a cancellation."""
    genuine = _Genuine(trio.run, _thread_cache.start_thread_soon, _threads.from_thread_check_cancelled)

    def run(
        async_fn: Callable[..., Any],
        *args: Any,
        clock: Any = None,
        instruments: Any = (),
        restrict_keyboard_interrupt_to_checkpoints: bool = False,
        strict_exception_groups: bool = True,
    ) -> Any:
        """Run a Trio program; in a simulation under its kernel."""
        kernel = current()
        if kernel is None:
            return genuine.run(
                async_fn,
                *args,
                clock=clock,
                instruments=instruments,
                restrict_keyboard_interrupt_to_checkpoints=restrict_keyboard_interrupt_to_checkpoints,
                strict_exception_groups=strict_exception_groups,
            )
        return simulated(kernel, async_fn, args, clock, instruments, strict_exception_groups)

    def start_thread_soon(fn: Callable[[], Any], deliver: Callable[[Any], object], name: str | None = None) -> None:
        """Run a function in a worker thread; in a simulation in one of its own."""
        kernel = current()
        if kernel is None:
            genuine.start(fn, deliver, name)
            return
        thread = threading.Thread(target=lambda: deliver(outcome.capture(fn)), name=name, daemon=False)
        thread.start()
        worker(kernel, actor_of(thread))

    def check_cancelled() -> None:
        """Raise in a worker thread whose task was cancelled: the thread looks at what the run's tasks change."""
        kernel = current()
        asked = internals.token_run(_threads.PARENT_TASK_DATA.token) if hasattr(_threads.PARENT_TASK_DATA, "token") else None
        if kernel is not None and asked is not None:
            kernel.step(Operation(CHECK_CANCELLED, reads=asked.state.bit))
        genuine.check()

    patches.everywhere(genuine.run, run)
    patches.everywhere(genuine.start, start_thread_soon)
    patches.everywhere(genuine.check, check_cancelled)
    cancellable.install(patches, run_now)
