"""Fault models: which faults an exploration allows, and how many of each in one execution.

A fault is a choice like any other: it strikes only if a strategy takes it, and every place where it can strike is explored. A
budget counts within one execution: with `crash=1`, all executions without a crash and all with one crash are explored.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

from simharness.errors import Misuse
from simharness.visible import shortened

Budget = int | str | Sequence[Any]
DATABASE_ERRORS = ("BUSY", "IOERR", "FULL")
HOUR = 3600.0
_NUMBER = re.compile(r"[0-9]{1,9}")

_WORDS = {
    "crash": ("crash of {}", "between any two steps and inside any transaction"),
    "stall": ("stall of {}", "at every place, until each instant that is pending there and later than lateness allows"),
    "suspend": ("suspension of {}", "like a stall, with its monotonic clock standing still"),
    "clock_jump": ("jump of the wall clock by {}, forwards or backwards", "before every reading"),
    "db_error": ("database error ({})", "at every statement and commit"),
    "lost_ack": ("lost acknowledgement", "at every commit"),
    "error": ("error raised by {}", "at every call"),
    "handler": ("strike of {}", "at any point of its actor"),
    "cancel": ("cancellation of {}", "between any two steps of its loop"),
}


@dataclass(frozen=True)
class Faults:
    """How many faults of each kind may strike in one execution.

    A budget is a number, or a pair of a number and what it is limited to, or such a pair as text (`"1@worker"`).

    Attributes:
        crash: a process dies between two steps: its memory, locks and timers are gone, SQLite rolls its transaction back.
            Limited to: names of processes, joined by `+`.
        stall: a process makes no step until an instant that was pending, later than `max_delay` allows. Limited like `crash`.
        suspend: a stall during which the process's monotonic clock stands still. Limited like `crash`.
        clock_jump: the wall clock moves by an hour, forwards or backwards. Limited to: another size, in seconds.
        db_error: a statement or commit fails. Limited to: some of BUSY, IOERR, FULL, joined by `+`.
        lost_ack: a commit is durable and its caller sees an error.
        error: a callable raises instead of being called: `"1@package.module.function:OSError"`, several joined by `+`.
        cancel: a task of asyncio or Trio is cancelled, whatever it waits for. Limited to: names of tasks or of their functions, joined by
            `+`; by default any task but the one that runs the loop. On Trio also of functions that open a cancel scope or a nursery.
        handler: a function declared by `world.handler(…, times=0)` runs at any point of its actor. Limited to: names of functions, joined
            by `+`.

    Raises:
        Misuse: a budget is not a number of at least 0, or its limitation does not fit.

    >>> str(Faults(crash=1, clock_jump=(1, 60)))
    'crash=1,clock_jump=1@60'
    >>> Faults.of("crash=1,stall=2@worker")
    Faults(crash=1, stall='2@worker')
    """

    crash: Budget = 0
    stall: Budget = 0
    suspend: Budget = 0
    clock_jump: Budget = 0
    db_error: Budget = 0
    lost_ack: Budget = 0
    error: Budget = 0
    handler: Budget = 0
    cancel: Budget = 0

    def __post_init__(self) -> None:
        for kind in KINDS:
            count, limited = _parsed(kind, getattr(self, kind))
            _check(kind, count, limited)
            object.__setattr__(self, kind, f"{count}@{limited}" if limited else count)

    @classmethod
    def of(cls, value: Faults | str | None) -> Faults | None:
        """Return the fault model that `value` describes, such as `"crash=1,stall=1"`; None when it allows no fault.

        Raises:
            Misuse: it is not a fault model.
        """
        if value is None or (isinstance(value, str) and value in {"", "none", "None"}):
            return None
        if isinstance(value, str):
            said = shortened(repr(value))
            budgets: dict[str, Budget] = {}
            for part in value.split(","):
                kind, equals, budget = part.strip().partition("=")
                if kind not in KINDS:
                    raise Misuse(f"faults {said}: there is no fault {shortened(repr(kind))}; there are: {', '.join(KINDS)}")
                if not equals or kind in budgets:
                    raise Misuse(f"faults {said}: give each kind once, with a count, such as {kind}=1")
                budgets[kind] = budget
            value = cls(**budgets)
        if not isinstance(value, Faults):
            raise Misuse(f"faults={value!r}: give simharness.Faults(crash=1, …) or text like 'crash=1,stall=1'")
        return value if any(value.limit(kind) for kind in KINDS) else None

    def limit(self, kind: str) -> int:
        """Return how many faults of this kind one execution may have."""
        return self._budgets[kind][0]

    def limited_to(self, kind: str) -> tuple[str, ...]:
        """Return what faults of this kind are limited to; empty when they are not."""
        return self._budgets[kind][1]

    @cached_property
    def _budgets(self) -> dict[str, tuple[int, tuple[str, ...]]]:
        budgets = {kind: _parsed(kind, getattr(self, kind)) for kind in KINDS}
        return {kind: (count, tuple(filter(None, limited.split("+")))) for kind, (count, limited) in budgets.items()}

    def concerns(self, kind: str, process: str) -> bool:
        """Whether faults of this kind may strike this process."""
        limited = self.limited_to(kind)
        return not limited or process in limited

    @property
    def jump(self) -> float:
        """How far the wall clock jumps, in seconds."""
        limited = self.limited_to("clock_jump")
        return float(limited[0]) if limited else HOUR

    def __str__(self) -> str:
        return ",".join(f"{kind}={getattr(self, kind)}" for kind in KINDS if self.limit(kind))

    def __repr__(self) -> str:
        return f"Faults({', '.join(f'{kind}={getattr(self, kind)!r}' for kind in KINDS if self.limit(kind))})"

    def in_words(self) -> str:
        """Return the bounds that the budgets are, as a verdict states them."""
        parts = []
        for kind, (what, where) in _WORDS.items():
            if self.limit(kind):
                limited = " or ".join(self.limited_to(kind))
                default = {"db_error": ", ".join(DATABASE_ERRORS), "handler": "a handler", "cancel": "a task"}.get(kind, "a process")
                named = what.format(f"{self.jump:g} s" if kind == "clock_jump" else limited or default)
                parts.append(f"at most {self.limit(kind)} {named}, {where}")
        return "; ".join(parts)


KINDS = tuple(field.name for field in fields(Faults))


def _parsed(kind: str, budget: Any) -> tuple[int, str]:
    """Return the number of a budget, and its limitation."""
    if type(budget) is str:
        number, _, limited = budget.partition("@")
        count: Any = int(number) if _NUMBER.fullmatch(number) else number
    elif isinstance(budget, tuple | list) and len(budget) == 2:
        count, limited = budget[0], f"{budget[1]:g}" if isinstance(budget[1], int | float) else str(budget[1])
    else:
        count, limited = budget, ""
    if type(count) is not int or count < 0:
        raise Misuse(f"faults: {kind}={shortened(repr(budget))}: a budget must be a number, at least 0, such as {kind}=1")
    return count, limited


def _check(kind: str, count: int, limited: str) -> None:
    """Refuse an invalid limitation of a budget."""
    said = f"faults: {kind}={count}@{shortened(limited)}"
    if kind == "lost_ack" and limited:
        raise Misuse(f"{said}: this kind cannot be limited; write {kind}={count}")
    if kind == "error" and count and not all(name.rpartition(":")[0] and name.rpartition(":")[2] for name in limited.split("+")):
        raise Misuse(f"faults: {kind}={count}: name the callable and what it raises: error={count}@package.module.function:OSError")
    if kind == "db_error":
        for name in filter(None, limited.split("+")):
            if name not in DATABASE_ERRORS:
                raise Misuse(f"{said}: there is no {shortened(repr(name))}; there are: {', '.join(DATABASE_ERRORS)}")
    if kind == "clock_jump" and limited:
        try:
            positive = 0 < float(limited) < float("inf")
        except ValueError:
            positive = False
        if not positive:
            raise Misuse(f"{said}: the size of a jump must be a positive number of seconds")
