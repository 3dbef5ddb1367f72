"""The settings of an exploration: plain data, which can be sent to another process as it is."""

from __future__ import annotations

from dataclasses import dataclass

from simharness.errors import Misuse

TRIO_ORDERS = ("any", "batches")


def check_order(order: str) -> str:
    """Return the value of an option `trio_order`.

    Raises:
        Misuse: there is no such order.
    """
    if order not in TRIO_ORDERS:
        raise Misuse(f"trio_order={order!r}: it is one of {', '.join(TRIO_ORDERS)}")
    return order


@dataclass(frozen=True)
class Settings:
    """Limits of an exploration, and what they are for.

    Attributes:
        max_executions, max_seconds: give up after so many (real) seconds or executions; the verdict is then inconclusive.
        max_steps: an execution with more steps is cut; the verdict is then inconclusive.
        preemptions, delays: explore only schedules with at most so many (one of the two); "verified" then means within that bound.
        depth: of the bugs that "pct" looks for: how many constraints on the order of steps make one show.
        seed: of the random numbers that the code under test draws, and of samplers.
        watchdog: real seconds without a step after which a blocked simulation is given up.
        shrink: executions spent on making a counterexample shorter and on finding what it is due to; none of either when 0.
        confirm: replay results in a fresh process too, where the scenario was loaded from a file.
        instrument: modules, besides the scenario's own, whose reads and writes of shared memory are scheduling points.
        trio_order: "any" or "batches", in place of the scenario's.
        reached: note which lines are run, and report the scheduling points that never were.
    """

    max_executions: int | None = None
    max_seconds: float | None = None
    max_steps: int = 20_000
    preemptions: int | None = None
    delays: int | None = None
    depth: int = 3
    seed: int = 0
    watchdog: float = 10.0
    shrink: int = 400
    confirm: bool = True
    instrument: tuple[str, ...] = ()
    trio_order: str | None = None
    reached: bool = False

    def __post_init__(self) -> None:
        if self.trio_order is not None:
            check_order(self.trio_order)
