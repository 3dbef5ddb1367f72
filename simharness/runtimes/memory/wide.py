"""Settings of the whole process that functions of the standard library read and change: the recursion limit, filters of warnings, levels of
loggers, the default time-out of sockets.

Each setting is a location: functions that ask for it read it, functions that set it write it. What an execution has set is as before when
the next one begins, where the standard library has a way to set it back.
"""

from __future__ import annotations

import atexit
import contextlib
import csv
import faulthandler
import gc
import locale
import logging
import socket
import sys
import tracemalloc
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

from simharness.engine.kernel import Kernel
from simharness.engine.phases import RUNNING
from simharness.runtimes.memory.halfway import during
from simharness.runtimes.memory.output import writes_text, writing
from simharness.runtimes.memory.shared import Memory
from simharness.runtimes.memory.tracked import Spot

SAVED = "settings of the process"
"""In a kernel's context: what the settings were when the execution began."""


class Setting(NamedTuple):
    """A setting: the functions that read it, those that write it, what saves it, and what sets it back."""

    name: str
    reads: tuple[Any, ...]
    writes: tuple[Any, ...]
    save: Callable[[], Any] = lambda: None
    put_back: Callable[[Any], Any] = lambda saved: None


def _saved_filters() -> Any:
    return warnings.filters, list(warnings.filters), vars(warnings)["showwarning"]


def _put_back_filters(saved: Any) -> None:
    filters, contents, shows = saved
    if warnings.filters is not filters or list(filters) != contents:
        filters[:] = contents
        warnings.filters = filters
        getattr(warnings, "_filters_mutated", getattr(warnings, "_filters_mutated_lock_held", lambda: None))()
    vars(warnings)["showwarning"] = shows


def _put_back_dialects(saved: dict[str, Any]) -> None:
    for name in set(csv.list_dialects()) - set(saved):
        csv.unregister_dialect(name)
    for name in set(saved) - set(csv.list_dialects()):
        csv.register_dialect(name, saved[name])


def _put_back_locale(saved: str) -> None:
    with contextlib.suppress(locale.Error):
        locale.setlocale(locale.LC_ALL, saved)


def _collect(enabled: bool) -> None:
    (gc.enable if enabled else gc.disable)()


def _collect_at(thresholds: tuple[int, int, int]) -> None:
    gc.set_threshold(*thresholds)


FILTERS, LEVELS = "the filters of warnings", "the levels of loggers"
SETTINGS = (
    Setting("the recursion limit", (sys.getrecursionlimit,), (sys.setrecursionlimit,), sys.getrecursionlimit, sys.setrecursionlimit),
    Setting("the switch interval", (sys.getswitchinterval,), (sys.setswitchinterval,), sys.getswitchinterval, sys.setswitchinterval),
    Setting(
        "whether garbage is collected",
        (gc.isenabled,),
        (gc.enable, gc.disable),
        gc.isenabled,
        lambda on: gc.enable() if on else gc.disable(),
    ),
    Setting(
        "when garbage is collected", (gc.get_threshold,), (gc.set_threshold,), gc.get_threshold, lambda saved: gc.set_threshold(*saved)
    ),
    Setting(
        "the default time-out of sockets",
        (socket.getdefaulttimeout,),
        (socket.setdefaulttimeout,),
        socket.getdefaulttimeout,
        socket.setdefaulttimeout,
    ),
    Setting(
        "the locale",
        (locale.localeconv, locale.getlocale),
        (locale.setlocale,),
        lambda: locale.setlocale(locale.LC_ALL),
        _put_back_locale,
    ),
    Setting(
        "the dialects of csv",
        (csv.list_dialects, csv.get_dialect),
        (csv.register_dialect, csv.unregister_dialect),
        lambda: {name: csv.get_dialect(name) for name in csv.list_dialects()},
        _put_back_dialects,
    ),
    Setting("the largest field of csv", (), (csv.field_size_limit,), csv.field_size_limit, csv.field_size_limit),
    Setting("what is called at exit", (), (atexit.register, atexit.unregister)),
    Setting("whether allocations are traced", (tracemalloc.is_tracing,), (tracemalloc.start, tracemalloc.stop)),
    Setting("whether faults are shown", (faulthandler.is_enabled,), (faulthandler.enable, faulthandler.disable)),
    Setting(
        FILTERS,
        (warnings.warn, warnings.warn_explicit),
        (warnings.simplefilter, warnings.filterwarnings, warnings.resetwarnings),
        _saved_filters,
        _put_back_filters,
    ),
    Setting(LEVELS, (), (logging.disable,), lambda: logging.root.manager.disable, logging.disable),
)
"""What is read and written through functions."""
_BY_FUNCTION: dict[Any, tuple[Setting, bool]] = {function: (known, False) for known in SETTINGS for function in known.reads}
_BY_FUNCTION |= {function: (known, True) for known in SETTINGS for function in known.writes}
_ASSIGNING = (contextlib.redirect_stdout, contextlib.redirect_stderr, warnings.catch_warnings)
MODULES = frozenset({"locale", "warnings", "logging", "tracemalloc", "traceback", "functools", "copyreg"})
"""Modules in Python that have such functions."""
_REGISTERING = ("functools", "copyreg", "abc")


def for_all(memory: Memory, function: Any) -> Callable[..., Any] | None:
    """Return what to call in place of a function that touches what the whole process shares; None for any other."""
    registers(memory, function)
    found = _BY_FUNCTION.get(function)
    inner = writing(memory, function) if writes_text(function) else function
    if found is not None:
        return _setting(memory, inner, found[0], found[1])
    return None if inner is function else inner


def registers(memory: Memory, function: Any) -> None:
    """Note what is called if it registers something with the standard library, which is not explored."""
    if function.__name__ in ("register", "pickle") and memory.kernel.phase == RUNNING and function.__module__ in _REGISTERING:
        memory.kernel.learned.leaves_out(f"{function.__module__}.{function.__name__}")


def of_a_logger(owner: Any, name: str) -> bool:
    """Whether an attribute is what `LEVELS` stands for."""
    return (name == "level" and isinstance(owner, logging.Logger | logging.Handler)) or (
        name == "disable" and isinstance(owner, logging.Manager)
    )


def touch(memory: Memory, name: str, write: bool) -> bool:
    """A setting is about to be read or written; return whether that was a scheduling point."""
    return memory.touch(_spot(memory, name), write)


def _spot(memory: Memory, name: str) -> Spot:
    return memory.base_of(memory.globals_of(name))


def _setting(memory: Memory, function: Any, known: Setting, write: bool) -> Callable[..., Any]:
    """Wrap a function that reads or writes a setting."""

    def call(*arguments: Any, **keywords: Any) -> Any:
        if write:
            _save(memory.kernel, known)
        return during(memory, touch(memory, known.name, write), function, *arguments, **keywords)

    return call


def _save(kernel: Kernel, known: Setting) -> None:
    saved = kernel.context.setdefault(SAVED, {})
    if known not in saved:
        saved[known] = known.save()


def end_execution(kernel: Kernel) -> None:
    """Set back what the execution has set."""
    for known, saved in kernel.context.pop(SAVED, {}).items():
        known.put_back(saved)


def assigning(memory: Memory, value: Any) -> Assigning | None:
    """Return what to enter in place of a context manager that sets something for the whole process; None for any other."""
    if not isinstance(value, _ASSIGNING):
        return None
    if isinstance(value, warnings.catch_warnings):
        return Assigning(memory, value, _spot(memory, FILTERS), reads=False)
    stream: str = value._stream  # type: ignore[union-attr]  # "stdout" or "stderr"
    return Assigning(memory, value, memory.global_spot("sys", stream), reads=True)


class Assigning:
    """Such a context manager: entering and leaving it assigns, and entering may read what was assigned before."""

    __slots__ = ("_memory", "_owner", "_reads", "_spot")

    def __init__(self, memory: Memory, owner: Any, spot: Spot, reads: bool) -> None:
        self._memory = memory
        self._owner = owner
        self._spot = spot
        self._reads = reads

    def __enter__(self) -> Any:
        if self._reads:
            self._memory.touch(self._spot, False)
        self._memory.touch(self._spot, True)
        return self._owner.__enter__()

    def __exit__(self, *error: Any) -> Any:
        self._memory.touch(self._spot, True)
        return self._owner.__exit__(*error)
