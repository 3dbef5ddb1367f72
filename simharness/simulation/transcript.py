"""The account of an execution: what it did, in texts that are equal in every process. If one schedule has two accounts, something leaks.

It covers the possible choices, operations with their footprints and times, the values that steps wrote, log lines, the final rows of
databases, outcomes, failure. What differs between processes is normalised: addresses and temporary folders are left out, sets are sorted.
Source lines are not part of it, so that it is equal on every version of Python.
"""

from __future__ import annotations

import hashlib
import re
import sqlite3
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from opcode import opmap
from types import FrameType, TracebackType
from typing import Any, NamedTuple

from simharness.engine.actors import ALTERNATIVES, SHIFT
from simharness.engine.kernel import Kernel
from simharness.engine.kinds import Role
from simharness.engine.record import VERSIONED
from simharness.places import asker, words_of
from simharness.simulation.difference import Entry
from simharness.simulation.execution import Deadlock, Execution
from simharness.trace.log_lines import LogLines
from simharness.trace.recorder import waiting
from simharness.trace.tables import Tables

MOST_ROWS = 200
"""An account shows a table with at most this many rows, and the hash of a larger one."""
FAILURE = "failure"
_THIN = frozenset({"contextlib", "functools", "threading"})
"""Modules of the standard library that only call what they are given; the parts of `threading` that make steps are replaced."""


@dataclass(frozen=True)
class Account:
    """What one execution did."""

    entries: tuple[Entry, ...] = ()

    @property
    def hash(self) -> str:
        """The trace hash: 64 hex digits, equal for equal executions in every process."""
        text = repr([(entry.title, [(label, comparable(label, text)) for label, text in entry.parts]) for entry in self.entries])
        return hashlib.sha256(text.encode(errors="backslashreplace")).hexdigest()

    @property
    def fails(self) -> bool:
        """Whether the execution failed."""
        return any(label == FAILURE for label, _ in self.entries[-1].parts) if self.entries else False

    def first_difference(self, other: Account) -> int | None:
        """Return the position of the first entry in which two accounts differ, or None."""
        for position, (mine, its) in enumerate(zip(self.entries, other.entries, strict=False)):
            if mine != its and _comparable_entry(mine) != _comparable_entry(its):
                return position
        if len(self.entries) != len(other.entries):
            return min(len(self.entries), len(other.entries))
        return None


class Witness(NamedTuple):
    """A token, and the account that replaying it must give."""

    token: str
    account: Account


class Watch:
    """Collects, while an execution runs, what its record does not keep: possible choices, log lines, final rows.

    Args:
        choose: makes the choices; pass this object's `choose` to the execution instead.
    """

    def __init__(self, kernel: Kernel, choose: Callable[[list[int]], int]) -> None:
        self._kernel = kernel
        self._choose = choose
        self._log = LogLines(kernel)
        self.enabled: dict[int, list[int]] = {}
        self.rows: Tables = {}

    @property
    def logged(self) -> dict[int, list[str]]:
        """For each step, by index, the log lines it emitted."""
        return self._log.lines

    def __enter__(self) -> Watch:
        self._log.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._log.__exit__()

    def choose(self, enabled: list[int]) -> int:
        """Choose, and note what was possible and whether code of the standard library asked for the chosen step."""
        kernel = self._kernel
        key = self._choose(enabled)
        self.enabled[kernel.record.n] = enabled
        actor = kernel.cast.actors.get(key >> SHIFT) if key >= 0 else None
        if actor is not None and actor.greenlet is not None and actor.pending is not None and actor.pending.kind.role is not Role.LOGS:
            if _of_standard_library(asker(actor.greenlet.gr_frame or sys._getframe(1))):
                kernel.context.setdefault(VERSIONED, "code of the standard library")
        return key


def mark_wording(kernel: Kernel, error: BaseException | None) -> None:
    """Note that a failure's text is that of the interpreter or the standard library, which differs between versions."""
    trace = error.__traceback__ if error is not None else None
    if trace is None or isinstance(error, sqlite3.OperationalError | sqlite3.IntegrityError):
        return
    while trace.tb_next is not None:
        trace = trace.tb_next
    frame = trace.tb_frame
    if frame.f_code.co_code[trace.tb_lasti] != opmap["RAISE_VARARGS"] or _of_standard_library(frame):
        kernel.context.setdefault(VERSIONED, "the words of an exception")


def _of_standard_library(frame: FrameType | None) -> bool:
    module = "" if frame is None else str(frame.f_globals.get("__name__")).partition(".")[0]
    return module in sys.stdlib_module_names and module not in _THIN and module != "__main__"


def account_of(kernel: Kernel, execution: Execution, watch: Watch | None = None, start: int = 0) -> Account:
    """Return the account of the kernel's last execution; without a watch, it lacks what only a watch collects.

    Args:
        start: index of the first step with its possible choices.
    """
    clean = kernel.canonical
    values: dict[int, list[str]] = {}
    for resource in kernel.resources.values():
        for step, state in resource.history:
            values.setdefault(step, []).append(f"{resource.name} = {stable_repr(state)}")
    logged = watch.logged if watch is not None else {}
    possible = watch.enabled if watch is not None else {}

    def seen(step: int) -> list[tuple[str, str]]:
        parts = [("values", clean("; ".join(sorted(values[step]))))] if step in values else []
        return parts + [("log", clean(line)) for line in logged.get(step, ())]

    entries = [Entry("set-up", tuple(seen(-1)))] if -1 in values or -1 in logged else []
    for n, (key, operation) in enumerate(zip(kernel.record.keys, kernel.record.operations, strict=True)):
        parts = [("step", clean(f"{_mover(kernel, key)} {operation.kind} {operation.detail}".strip()))]
        if key & ALTERNATIVES:
            parts.append(("alternative", str(key & ALTERNATIVES)))
        if kernel.record.times[n]:
            parts.append(("time", f"{kernel.record.times[n]} ns"))
        parts.append(("touches", clean(_footprint(kernel, n))))
        if n >= start and n in possible:
            parts.append(("possible", ", ".join(_movers(kernel, possible[n]))))
        entries.append(Entry(f"step {n + 1}", (*parts, *seen(n))))
    entries.append(Entry("at the end", tuple(_end(kernel, execution, clean, watch.rows if watch is not None else {}))))
    return Account(tuple(entries))


def _footprint(kernel: Kernel, n: int) -> str:
    reads, writes = (", ".join(sorted(kernel.names.of(mask))) for mask in (kernel.record.reads[n], kernel.record.writes[n]))
    return f"reads {{{reads}}} writes {{{writes}}}"


def _movers(kernel: Kernel, keys: Iterable[int]) -> list[str]:
    """Return the movers of these choices, with their alternatives."""
    return sorted(f"{_mover(kernel, key)}{f'={key & ALTERNATIVES}' if key & ALTERNATIVES else ''}" for key in keys)


def _mover(kernel: Kernel, key: int) -> str:
    actor = kernel.cast.actors.get(key >> SHIFT)
    return actor.name if actor is not None else kernel.mover(key)


def _end(kernel: Kernel, execution: Execution, clean: Callable[[str], str], rows: Tables) -> Iterable[tuple[str, str]]:
    yield "status", execution.status
    failure = execution.failure
    if failure is not None:
        said = "" if isinstance(failure.error, Deadlock) else words_of(failure.error)
        yield FAILURE, clean(f"{failure.check or failure.actor or 'deadlock'}: {type(failure.error).__name__}: {' '.join(said.split())}")
    for stuck in waiting(kernel):
        yield "stuck", clean(str(replace(stuck, place=None)))
    if execution.outcomes:
        yield "outcomes", clean("; ".join(sorted(map(stable_repr, execution.outcomes))))
    for database, tables in rows.items():
        for name, table in tables.items():
            text = "; ".join(map(stable_repr, table.rows))
            if len(table.rows) > MOST_ROWS:
                text = f"{len(table.rows)} rows, hash {hashlib.sha256(clean(text).encode(errors='backslashreplace')).hexdigest()}"
            yield clean(f"rows of {database} {name}"), clean(text)


def stable_repr(value: Any) -> str:
    """Return a value's repr, with sets in sorted order; only its type if the repr raises."""
    kind = type(value)
    try:
        if kind in (set, frozenset):
            return f"{{{', '.join(sorted(map(stable_repr, value)))}}}"
        if kind is list:
            return f"[{', '.join(map(stable_repr, value))}]"
        if kind is tuple:
            return f"({', '.join(map(stable_repr, value))}{',' if len(value) == 1 else ''})"
        if kind is dict:
            return f"{{{', '.join(f'{stable_repr(key)}: {stable_repr(content)}' for key, content in value.items())}}}"
        return repr(value)
    except Exception:
        return f"<{kind.__name__}>"


def comparable(label: str, text: str) -> str:
    """Return what must be equal of a text: of a failure's message only the sorted words, as it may show a set."""
    return " ".join(sorted(re.findall(r"\w+", text))) if label == FAILURE else text


def _comparable_entry(entry: Entry) -> list[tuple[str, str]]:
    return [(label, comparable(label, text)) for label, text in entry.parts]


def following(kernel: Kernel, keys: Sequence[int], otherwise: Callable[[int, list[int]], int]) -> Callable[[list[int]], int]:
    """Return a chooser that follows `keys`; where it cannot, it asks `otherwise`, with the wanted key (or -1) and the enabled ones."""

    def choose(enabled: list[int]) -> int:
        wanted = keys[kernel.record.n] if kernel.record.n < len(keys) else -1
        return wanted if wanted in enabled else otherwise(wanted, enabled)

    return choose


def to_plain(account: Account) -> list[Any]:
    """Return an account as a JSON value."""
    return [[entry.title, [list(part) for part in entry.parts]] for entry in account.entries]


def from_plain(entries: Iterable[Any]) -> Account:
    """Return the account from the result of `to_plain`."""
    return Account(tuple(Entry(title, tuple((label, text) for label, text in parts)) for title, parts in entries))
