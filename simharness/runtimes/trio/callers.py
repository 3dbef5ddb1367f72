"""Tasks that call one object: all at once, or one at a time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import trio


async def together(tasks: Mapping[str, Callable[[], Awaitable[Any]]]) -> None:
    """Run tasks under their names until all have ended."""
    async with trio.open_nursery() as nursery:
        for name, task in tasks.items():
            nursery.start_soon(task, name=name)


def turn() -> trio.Lock:
    """Return a lock that is held by the task whose turn it is."""
    return trio.Lock()
