"""Which run is made for a `trio.run`, and which is current: one whose steps grow, or one whose steps all conflict."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from simharness.engine.actors import Actor
from simharness.engine.kernel import Kernel, current
from simharness.engine.phases import INSPECTING
from simharness.errors import Misuse
from simharness.places import caller
from simharness.runtimes.trio import internals
from simharness.runtimes.trio.footprints import grows
from simharness.runtimes.trio.growing import GrowingRun
from simharness.runtimes.trio.run import RUNS, Run
from simharness.runtimes.trio.state import TaskActor


def run(kernel: Kernel, function: Callable[..., Any], arguments: tuple[Any, ...], clock: Any, instruments: Any, strict: bool) -> Any:
    """Run a Trio program as part of the kernel's execution; return or raise what it comes to."""
    if kernel.phase == INSPECTING:
        raise Misuse(f"{caller() or '?'}: a check cannot call trio.run: look at what the tasks have left behind")
    if kernel.setting_up:
        kernel.move_root()
    host = kernel.actor
    assert host is not None
    if not isinstance(host, TaskActor):
        host.locals.setdefault("thread", host.index)
    runs: dict[int, Run] = kernel.context.setdefault(RUNS, {})
    kernel.learned.runtimes.add("trio")
    found = _made(kernel, host, clock)
    found.runner, found.hooks = internals.make_runner(found, found.clock, instruments, strict)
    runs[host.index] = found
    try:
        found.begin()
        return internals.drive(found.runner, function, arguments)
    finally:
        del runs[host.index]
        if kernel.dying:
            found.abandon()
        elif kernel.error is None:
            found.finish()


def _made(kernel: Kernel, host: Actor, clock: Any) -> Run:
    kernel.learned.late = grows(kernel)
    return GrowingRun(kernel, host, clock) if kernel.learned.late else Run(kernel, host, clock)


def _current_run(kernel: Kernel) -> Run | None:
    actor = kernel.actor
    runs: dict[int, Run] = kernel.context.get(RUNS, {})
    return None if actor is None else runs.get(actor.host.index)


def worker(kernel: Kernel, actor: Actor | None) -> None:
    """Note that the current run has started a worker thread, which nobody waits for when the run is over."""
    found = _current_run(kernel)
    if found is not None and actor is not None:
        found.workers.append(actor)


def run_now() -> Run | None:
    """Return the current run."""
    kernel = current()
    return None if kernel is None else _current_run(kernel)
