"""What the drivers share: contenders that note the order of their store operations, the bare run, and the answer."""

from __future__ import annotations

import itertools
import json
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.store import PARENT, Store, compress

_me = threading.local()


class NotingStore(Store):
    """A store that notes who does an operation when, each in a list of its own, so that noting is no race."""

    def __init__(self, count: int, tick: Callable[[], int] | None) -> None:
        self.tick = tick or itertools.count().__next__
        self.logs: list[list[int]] = [[] for _ in range(count + 1)]
        super().__init__()

    def note(self) -> None:
        """Note the operation that begins."""
        self.logs[getattr(_me, "number", -1)].append(self.tick())


class Contest:
    """One execution's world: a store with the parent session in it.

    Args:
        tick: returns numbers that grow; default: a counter. (A tool that watches every object would take a counter for a race.)
    """

    def __init__(self, count: int = 4, tick: Callable[[], int] | None = None) -> None:
        _me.number = count
        self.store = NotingStore(count, tick)
        self.store.create(PARENT)

    @property
    def order(self) -> tuple[int, ...]:
        """Who did the operations, first to last."""
        logs = self.store.logs
        return tuple(number for _, number in sorted((tick, number) for number, log in enumerate(logs) for tick in log))

    def contend(self, number: int) -> None:
        """What a contender does."""
        _me.number = number
        compress(self.store, f"contender_{number}", "inside")

    async def contend_async(self, number: int, pause: Callable[[], Any]) -> None:
        """The same as a coroutine: it gives way before each operation, which then is done without a break."""
        store, name = self.store, f"contender_{number}"

        async def do(operation: Callable[..., Any], *arguments: Any) -> Any:
            await pause()
            _me.number = number
            return operation(*arguments)

        if not await do(store.acquire, PARENT, name):
            return
        if not await do(store.is_rotated, PARENT):
            await do(store.end, PARENT, "compression")
            await do(store.create, f"{PARENT}/{name}", PARENT)
        await do(store.release, PARENT, name)

    def one_child(self) -> bool:
        """The property."""
        return self.store.children(PARENT) == 1


def bare(count: int) -> float:
    """Return the seconds of one run of the contenders, one after the other, set-up included; the median of many."""
    seconds = []
    for _ in range(200):
        began = time.perf_counter()
        contest = Contest()
        for number in range(count):
            contest.contend(number)
        assert contest.one_child()
        contest.store.connection.close()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


@contextmanager
def answering(count: int) -> Iterator[dict[str, Any]]:
    """Time what the driver does and print its answer as one line of JSON; it fills in executions, orders and verdict."""
    answer: dict[str, Any] = {"bare": bare(count), "orders": set(), "executions": None, "verdict": "?"}
    began = time.perf_counter()
    yield answer
    answer["seconds"] = time.perf_counter() - began
    answer["orders"] = len(answer["orders"])
    print(json.dumps(answer))
