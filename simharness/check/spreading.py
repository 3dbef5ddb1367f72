"""The programs of one stage on several processes; the result is the same for any number of them, as long as time does not run out."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, TypeVar

from simharness.endings import end_with_parent
from simharness.errors import Ended, Misuse, SimharnessError
from simharness.simulation.forks import possible

T = TypeVar("T")
R = TypeVar("R")


def spread(
    things: Sequence[T], work: Callable[[T], R], number: int, over: Callable[[], bool], opened: Callable[[], AbstractContextManager[Any]]
) -> dict[int, R]:
    """Return what `work` returns of each thing, by position; things are left out when `over` returns true.

    Args:
        number: how many processes are forked.
        opened: a block in which each of them works.

    Raises:
        Misuse: this platform has no forks. What `work` raises, if that is an error of the harness.
    """
    if not possible():
        raise Misuse("workers: this platform has no forks; leave it out")
    parent = os.getpid()
    running: list[tuple[int, int]] = []
    try:
        for index in range(min(number, len(things))):
            reading, writing = os.pipe()
            child = os.fork()
            if not child:
                _work(things[index::number], work, over, opened, parent, writing)
            os.close(writing)
            running.append((child, reading))
        found: dict[int, R] = {}
        for index, (_, reading) in enumerate(running):
            for at, result in enumerate(_received(reading)):
                found[index + at * number] = result
        return found
    finally:
        for child, reading in running:
            os.close(reading)
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGTERM)
            os.waitpid(child, 0)


def _received(reading: int) -> Iterator[Any]:
    with open(reading, "rb", closefd=False) as stream:
        data = stream.read()
    if not data.endswith(b"."):
        raise Ended("a worker process of this check has ended before its programs were explored: is there too little memory?")
    results, error = pickle.loads(data)
    if error is not None:
        raise error
    yield from results


def _work(
    things: Sequence[Any],
    work: Callable[[Any], Any],
    over: Callable[[], bool],
    opened: Callable[[], AbstractContextManager[Any]],
    parent: int,
    writing: int,
) -> None:
    """Work in the forked process, and end it."""
    status = 1
    try:
        end_with_parent(parent)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        results, error = [], None
        try:
            with opened():
                for thing in things:
                    if over():
                        break
                    results.append(work(thing))
        except SimharnessError as raised:
            error = type(raised).__new__(type(raised))
            error.args = raised.args
            error.__dict__.update(difference=None) if hasattr(raised, "difference") else None
        with open(writing, "wb") as stream:
            stream.write(pickle.dumps((results, error)))
        status = 0
    finally:
        os._exit(status)
