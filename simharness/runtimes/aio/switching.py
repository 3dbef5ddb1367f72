"""Which loop is running is asyncio's state of an OS thread; in a simulation it is that of a greenlet, so it changes with each switch."""

from __future__ import annotations

import sys
from asyncio import events
from typing import Any

from greenlet import getcurrent, settrace

from simharness.engine.kernel import Kernel

RUNNING = "asyncio running"


class Running:
    """The running loop of each greenlet of an execution, with its hooks for asynchronous generators."""

    def __init__(self) -> None:
        self._loops: dict[int, tuple[Any, Any]] = {}
        self._before = settrace(self._switched)

    @staticmethod
    def of(kernel: Kernel) -> Running:
        """Return that of the execution under way."""
        running: Running | None = kernel.context.get(RUNNING)
        if running is None:
            running = kernel.context[RUNNING] = Running()
        return running

    def enter(self, loop: Any) -> Any:
        """The current greenlet begins to run a loop; return what `leave` needs."""
        here = id(getcurrent())
        outer = here, self._loops.get(here), events._get_running_loop()
        self._loops[here] = loop, sys.get_asyncgen_hooks()
        return outer

    def leave(self, outer: Any) -> None:
        """It runs the loop no longer."""
        here, entry, loop = outer
        if entry is None:
            self._loops.pop(here, None)
        else:
            self._loops[here] = entry
        events._set_running_loop(loop)

    def _switched(self, event: str, arguments: Any) -> None:
        target = self._loops.get(id(arguments[1])) if event in ("switch", "throw") else None
        loop = None if target is None else target[0]
        events._set_running_loop(loop if loop is not None and loop.is_running() else None)
        if self._before is not None:
            self._before(event, arguments)

    def end(self) -> None:
        """The execution is over."""
        settrace(self._before)
        events._set_running_loop(None)
