"""Tasks that call one object: all at once, or one at a time, in any order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any


async def together(tasks: Mapping[str, Callable[[], Coroutine[Any, Any, Any]]]) -> None:
    """Run tasks under their names until all have ended; each begins when a pause is over, so any may be the first."""

    async def begun(task: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        await asyncio.sleep(0)
        await task()

    async with asyncio.TaskGroup() as group:
        for name, task in tasks.items():
            group.create_task(begun(task), name=name)


class Turn:
    """Is held by the task whose turn it is; each waits for a moment before it asks for it, so any may be the next."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    async def __aenter__(self) -> None:
        await asyncio.sleep(0)
        await self._lock.acquire()

    async def __aexit__(self, *error: object) -> None:
        self._lock.release()


def turn() -> Turn:
    """Return what a task holds while it calls."""
    return Turn()
