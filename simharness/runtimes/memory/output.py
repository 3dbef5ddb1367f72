"""Text that code under test prints, logs or warns, where it goes to something that it can read: a `StringIO`, a fixture.

What goes to the terminal is read by people, so that two actors print there is no conflict. The streams that are there when an execution
begins are people's. One that the execution puts in their place is memory like any other, and so are a handler's list of records and the
list of warnings that are recorded. `sys.stdout` is a variable: printing reads it, redirecting writes it.

`print` writes its stream in one step, as a call does that receives one.
"""

from __future__ import annotations

import logging
import sys
import traceback
import warnings
from collections import deque
from collections.abc import Callable
from typing import Any

from simharness.engine.kernel import Kernel
from simharness.instrument.marks import announces
from simharness.runtimes.memory.accesses import BULK, Part
from simharness.runtimes.memory.halfway import during
from simharness.runtimes.memory.locations import PEOPLE
from simharness.runtimes.memory.opaque import parts
from simharness.runtimes.memory.reach import all_of
from simharness.runtimes.memory.shared import Memory

_TRACES = frozenset({traceback.print_exc, traceback.print_exception, traceback.print_tb, traceback.print_stack, traceback.print_last})
_TRACES |= {traceback.print_list}
_WARNS = frozenset({warnings.warn, warnings.warn_explicit})
_RECORDS = (list, dict, deque)
_NOT_RECORDS = frozenset({"filters"})
_CAPTURES = frozenset({"_pytest.capture", "_pytest.logging"})
"""Modules of the test runner's fixtures that read, and empty, what was printed or logged."""


def begin(kernel: Kernel) -> None:
    """Text that is written now is for people."""
    streams = (sys.stdout, sys.stderr, sys.stdin, sys.__stdout__, sys.__stderr__)
    kernel.context[PEOPLE] = (*streams, _recorded())


def for_people(kernel: Kernel, thing: Any) -> bool:
    """Whether nobody but people reads what is written there."""
    return any(thing is each for each in kernel.context.get(PEOPLE, ()))


def _recorded() -> list[Any] | None:
    """Return the list that warnings are appended to, if they are recorded."""
    shows: Any = getattr(warnings, "_showwarnmsg_impl", None)
    heard = getattr(shows, "__self__", None)
    if not isinstance(heard, list):  # since Python 3.14 it can be a list of the context's
        heard = getattr(getattr(warnings, "_get_context", lambda: None)(), "log", None)
    return heard if isinstance(heard, list) else None


def _written(memory: Memory, stream: Any) -> list[Part]:
    """Return what writing to a stream touches; its own code, if that is instrumented, announces that itself."""
    if stream is None or for_people(memory.kernel, stream) or announces(vars(sys.modules.get(type(stream).__module__, sys))):
        return []
    return parts(stream, True)


def _current(memory: Memory, name: str) -> Any:
    """Return `sys.stdout` or `sys.stderr`, which is read."""
    memory.touch(memory.global_spot("sys", name), False)
    return getattr(sys, name)


def writes_text(function: Any) -> bool:
    """Whether a function writes to a stream that it is given or that is the current one, or warns, or reads what was captured."""
    return function is print or function in _TRACES or function in _WARNS


def writing(memory: Memory, function: Any) -> Callable[..., Any]:
    """Wrap such a function so that it announces what it writes."""

    def call(*arguments: Any, **keywords: Any) -> Any:
        if function in _WARNS:
            heard = _recorded()
            to: list[Part] = [] if heard is None or for_people(memory.kernel, heard) else [(heard, BULK, None)]
        else:
            stream = keywords.get("file")
            if stream is None:
                stream = keywords["file"] = _current(memory, "stdout" if function is print else "stderr")
            to = _written(memory, stream)
        values = [value for name, value in keywords.items() if name != "file"]
        point = memory.access([*to, *(all_of(memory, (*arguments, *values)) if function is print else ())])
        if not point:
            return function(*arguments, **keywords)
        return during(memory, point, function, *arguments, **keywords)

    return call


def captures(owner: Any) -> bool:
    """Whether an object is a fixture that reads what was printed or logged."""
    return type(owner).__module__ in _CAPTURES


def captured(memory: Memory, function: Any) -> Callable[..., Any]:
    """Wrap a method of a fixture that captures: it reads, and may empty, what was captured."""
    owner = function.__self__

    def call(*arguments: Any, **keywords: Any) -> Any:
        handler = getattr(owner, "handler", None)
        if isinstance(handler, logging.Handler):
            touched = _kept_by(memory, handler)
        else:
            touched = [*_written(memory, sys.stdout), *_written(memory, sys.stderr)]
        return during(memory, bool(touched) and memory.access(touched), function, *arguments, **keywords)

    return call


def _kept_by(memory: Memory, handler: logging.Handler) -> list[Part]:
    """Return what a handler, whose code is not instrumented, writes for a record."""
    attributes = vars(handler)
    held = [value for name, value in attributes.items() if name not in _NOT_RECORDS]
    held += [part for value in held if issubclass(type(value), tuple) for part in tuple.__iter__(value)]
    kept: list[Part] = [(value, BULK, None) for value in held if type(value) in _RECORDS]
    target = attributes.get("target")
    if isinstance(target, logging.Handler):
        kept += _kept_by(memory, target)
    return kept + _written(memory, attributes.get("stream"))


def logged(memory: Memory, handler: logging.Handler) -> None:
    """A handler is about to take a record: a step, where others read what it keeps."""
    emit: Any = getattr(type(handler).emit, "__globals__", None)
    if emit is not None and announces(emit):
        return
    touched = _kept_by(memory, handler)
    if touched:
        memory.access(touched)
