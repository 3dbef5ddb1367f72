"""Trio: tasks are actors that share the greenlet of their `trio.run`.

Nothing is replaced, and Trio is not imported, unless the program has imported it. `runs` replaces `trio.run` and the calls of worker
threads; this module plans all replacements.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Callable
from typing import Any

from simharness.engine.kernel import current
from simharness.errors import Misuse
from simharness.places import caller
from simharness.runtimes.patching import Patches
from simharness.runtimes.tasks.numbers import number
from simharness.runtimes.trio.order import is_known, require, unknown


def run_with_trio(function: Callable[..., Any], *arguments: Any) -> Any:
    """Run an `async def` with Trio, as an actor does.

    Raises:
        Misuse: Trio is not installed, or was not imported when the exploration began.
    """
    require()
    import trio

    if current() is not None and getattr(trio.run, "__module__", "").startswith("trio."):
        raise Misuse(f"{caller() or '?'}: Trio was not imported when the exploration began: import trio where the scenario is defined")
    return trio.run(function, *arguments)


def install(patches: Patches) -> None:
    """Plan the replacements, if the program has imported Trio."""
    if "trio" not in sys.modules:
        return
    if not is_known():
        _refuse(patches)
        return
    from trio._core import _run

    from simharness.runtimes.trio import anyio, fixtures, footprints, runs, stand_ins

    runs.install(patches)
    patches.attribute(stand_ins.EntryQueue, "__init__", stand_ins.with_genuine_lock)
    patches.attribute(_run, "_r", stand_ins.UnshuffledOrder(_run._r, lambda: current() is not None))
    patches.attribute(_run.Task, "__hash__", number)
    patches.attribute(_run.CancelStatus, "__hash__", number)
    footprints.install(patches)
    anyio.install(patches)
    fixtures.install(patches, number)
    _install_hooks(patches, runs.run_now)


def _refuse(patches: Patches) -> None:
    """Plan to refuse running a release of Trio whose insides are not known; a program may have imported it by chance."""
    import trio

    holder = (trio.run,)

    def run(*arguments: Any, **options: Any) -> Any:
        if current() is not None:
            raise unknown()
        return holder[0](*arguments, **options)

    patches.attribute(trio, "run", run)


def _install_hooks(patches: Patches, run_now: Callable[[], Any]) -> None:
    """Send asynchronous generators to the run in which they were first iterated over; do not finalize those of abandoned runs."""
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
