"""Narrower orders: what a library's loop does today, where its documentation leaves more open.

A counterexample says whether the code fails there, too.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

from simharness.engine.kernel import Kernel
from simharness.runtimes.aio import order as asyncio
from simharness.runtimes.trio import order as trio
from simharness.settings import Settings

TRIED = 1_000
"""How many executions are tried in a narrower order."""


class Narrower(NamedTuple):
    """An order that is tried after a counterexample: the setting that asks for it, and words for it, and for what it leaves out."""

    setting: str
    order: str
    name: str
    takes: str

    def of(self, settings: Settings) -> Settings:
        """Return the settings with this order."""
        chosen: dict[str, Any] = {self.setting: self.order}
        return replace(settings, **chosen)


def orders(kernel: Kernel) -> list[Narrower]:
    """Return the narrower orders of the libraries that an exploration has used."""
    found = []
    if "trio" in kernel.learned.runtimes and trio.BATCHES not in kernel.modes:
        found.append(Narrower("trio_order", "batches", f"the batches of {trio.used()}", "it takes an order that Trio leaves open"))
    if asyncio.RUNTIME in kernel.learned.runtimes and asyncio.LOOP not in kernel.modes:
        at_another_moment = "it takes the completion of a pause, such as I/O, at another moment"
        found.append(Narrower("asyncio_order", "loop", f"the callbacks of the loop of {asyncio.used()}", at_another_moment))
    return found
