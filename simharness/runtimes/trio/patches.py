"""Trio: tasks are actors that share the greenlet of their `trio.run`.

Nothing here is touched, and Trio is not imported, unless the program has imported it. What `runs` and `internals` do
belongs to single runs; this module puts it in the place of `trio.run`.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import AsyncGenerator, Callable
from typing import Any, NamedTuple

from simharness.engine.kernel import current
from simharness.engine.operations import Operation
from simharness.errors import Misuse
from simharness.places import caller
from simharness.runtimes.patching import Patches
from simharness.runtimes.trio.kinds import CHECK_CANCELLED
from simharness.runtimes.trio.order import require


def run_async(function: Callable[..., Any], *arguments: Any) -> Any:
    """Run an `async def` with Trio, as an actor does.

    Raises:
        Misuse: Trio is not installed, or was not imported when the exploration began.
    """
    require()
    import trio

    if current() is not None and getattr(trio.run, "__module__", "").startswith("trio."):
        raise Misuse(f"{caller() or '?'}: Trio was not imported when the exploration began: import trio where the scenario is defined")
    return trio.run(function, *arguments)


class _Genuine(NamedTuple):
    """What is replaced; a tuple, because in a closure's cell it would be replaced too."""

    run: Callable[..., Any]
    start: Callable[..., Any]
    check: Callable[..., Any]


def install(patches: Patches) -> None:
    """Plan the replacements, if the program has imported Trio."""
    if "trio" not in sys.modules:
        return
    import outcome
    import trio
    from trio import _threads
    from trio._core import _run, _thread_cache

    from simharness.runtimes.threads.thread_views import actor_of
    from simharness.runtimes.trio import fixtures, footprints, internals, runs
    from simharness.runtimes.trio.run import number

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
        return runs.run(kernel, async_fn, args, clock, instruments, strict_exception_groups)

    def start_thread_soon(fn: Callable[[], Any], deliver: Callable[[Any], object], name: str | None = None) -> None:
        """Run a function in a worker thread; in a simulation in one of its own."""
        kernel = current()
        if kernel is None:
            genuine.start(fn, deliver, name)
            return
        thread = threading.Thread(target=lambda: deliver(outcome.capture(fn)), name=name, daemon=False)
        thread.start()
        runs.worker(kernel, actor_of(thread))

    def check_cancelled() -> None:
        """Raise in a worker thread whose task was cancelled: the thread looks at what the run's tasks change."""
        kernel = current()
        found = internals.token_run(_threads.PARENT_TASK_DATA.token) if hasattr(_threads.PARENT_TASK_DATA, "token") else None
        if kernel is not None and found is not None:
            kernel.step(Operation(CHECK_CANCELLED, reads=found.state.bit))
        genuine.check()

    patches.everywhere(genuine.run, run)
    patches.everywhere(genuine.start, start_thread_soon)
    patches.everywhere(genuine.check, check_cancelled)
    patches.attribute(internals.EntryQueue, "__init__", internals.with_genuine_lock)
    patches.attribute(_run, "_r", internals.Order(_run._r, lambda: current() is not None))
    patches.attribute(_run.Task, "__hash__", number)
    patches.attribute(_run.CancelStatus, "__hash__", number)
    footprints.install(patches)
    fixtures.install(patches, number)
    _install_hooks(patches, runs.run_now)


def _install_hooks(patches: Patches, run_now: Callable[[], Any]) -> None:
    """Send asynchronous generators to the run in which they were first iterated over; those of abandoned runs go silently."""
    before = sys.get_asyncgen_hooks()
    finalizers: dict[int, tuple[Any, Any]] = {}

    def first(generator: AsyncGenerator[Any, Any]) -> None:
        run = run_now()
        hooks = before if run is None else run.hooks
        if hooks.finalizer is not None:
            finalizers[id(generator)] = run, hooks.finalizer
        if hooks.firstiter is not None:
            hooks.firstiter(generator)

    def last(generator: AsyncGenerator[Any, Any]) -> None:
        run, finalizer = finalizers.pop(id(generator), (None, None))
        if finalizer is not None and not (run is not None and run.abandoned):
            finalizer(generator)

    def restore() -> None:
        sys.set_asyncgen_hooks(*before)

    sys.set_asyncgen_hooks(first, last)
    patches.afterwards(restore)
