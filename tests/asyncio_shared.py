"""Random asyncio programs whose tasks share objects and primitives; rewritten by the tests, so that what their steps touch is known."""

from __future__ import annotations

import asyncio
import random

KNOWN = ("own", "own", "add", "add", "look", "set", "wait", "lock", "put", "get", "slot", "notify", "gather", "group", "some", "pass")
UNKNOWN = ("cancel", "sleep", "limit", "future", "raise", "soon", "thread")


class Box:
    """Something that tasks share."""

    def __init__(self):
        self.value = 0


def program(seed, operations, tasks=(2, 2, 3), lengths=(1, 2, 2, 3)):
    """Return the plans of a few tasks."""
    drawn = random.Random(seed)
    plans = [[(drawn.choice(operations), drawn.randrange(2)) for _ in range(drawn.choice(lengths))] for _ in range(drawn.choice(tasks))]
    return drawn.choice(("gather", "group", "wait")), plans


class Things:
    """What the tasks of one execution share; `note` gets a line of what one task sees."""

    def __init__(self, note):
        self.note = note
        self.boxes = [Box(), Box()]
        self.own = [Box() for _ in range(4)]

    def run(self, how, plans):
        asyncio.run(self.main(how, plans))
        self.note("end", [box.value for box in self.boxes + self.own])

    async def main(self, how, plans):
        self.locks = [asyncio.Lock(), asyncio.Lock()]
        self.events = [asyncio.Event(), asyncio.Event()]
        self.queues = [asyncio.Queue(), asyncio.Queue(1)]
        self.slots = [asyncio.Semaphore(1), asyncio.Semaphore(2)]
        self.conditions = [asyncio.Condition(), asyncio.Condition()]
        loop = asyncio.get_running_loop()
        elsewhere = any(operation == "future" for plan in plans for operation, _ in plan)
        self.passed = [loop.create_future(), asyncio.Future() if elsewhere else loop.create_future()]
        coroutines = [self.task(i, plan) for i, plan in enumerate(plans)]
        if how == "gather":
            await asyncio.gather(*coroutines)
        elif how == "group":
            async with asyncio.TaskGroup() as group:
                self.made = [group.create_task(each) for each in coroutines]
        else:
            self.made = [asyncio.create_task(each) for each in coroutines]
            done, _ = await asyncio.wait(self.made, return_when=asyncio.FIRST_COMPLETED)
            self.note("main", len(done))
            await asyncio.wait(self.made)

    async def task(self, i, plan):
        for operation, which in plan:
            await getattr(self, "_" + operation)(i, which)
        self.note(i, "over")

    async def _own(self, i, which):
        box = self.own[i]
        value = box.value
        await asyncio.sleep(0)
        box.value = value + 1

    async def _add(self, i, which):
        box = self.boxes[which]
        value = box.value
        await asyncio.sleep(0)
        box.value = value + 1

    async def _look(self, i, which):
        self.note(i, self.boxes[which].value)

    async def _set(self, i, which):
        self.events[which].set()

    async def _wait(self, i, which):
        if not self.events[which].is_set():
            self.setting = asyncio.create_task(self._set(i, which))
        await self.events[which].wait()

    async def _lock(self, i, which):
        async with self.locks[which]:
            await self._add(i, which)

    async def _put(self, i, which):
        if not self.queues[which].full():
            self.queues[which].put_nowait(i)

    async def _get(self, i, which):
        if self.queues[which].empty():
            self.note(i, "empty")
        else:
            self.note(i, await self.queues[which].get())

    async def _slot(self, i, which):
        async with self.slots[which]:
            await asyncio.sleep(0)
            self.boxes[which].value += 1

    async def _notify(self, i, which):
        async with self.conditions[which]:
            self.conditions[which].notify_all()
            self.note(i, self.boxes[which].value)

    async def _gather(self, i, which):
        await asyncio.gather(self._own(i, which), self._look(i, which))

    async def _group(self, i, which):
        async with asyncio.TaskGroup() as group:
            group.create_task(self._own(i, which))
            group.create_task(self._add(i, which))

    async def _some(self, i, which):
        children = [asyncio.create_task(self._own(i, which)), asyncio.create_task(self._put(i, which))]
        done, _ = await asyncio.wait(children, return_when=asyncio.FIRST_COMPLETED)
        self.note(i, [child in done for child in children])
        await asyncio.gather(*children)

    async def _pass(self, i, which):
        if self.passed[which].done():
            self.note(i, self.passed[which].result())
        else:
            self.passed[which].set_result(i)

    async def _future(self, i, which):
        if not self.passed[1].done():
            self.passed[1].set_result(i)
        self.note(i, await self.passed[1])

    async def _cancel(self, i, which):
        child = asyncio.create_task(self._add(i, which))
        await asyncio.sleep(0)
        child.cancel()
        await asyncio.wait([child])
        self.note(i, child.cancelled())

    async def _sleep(self, i, which):
        await asyncio.sleep(1)
        self.boxes[which].value += 1

    async def _limit(self, i, which):
        try:
            async with asyncio.timeout(1):
                await self._sleep(i, which)
        except TimeoutError:
            self.note(i, "late")

    async def _raise(self, i, which):
        async def fails():
            raise ValueError(self.boxes[which].value)

        try:
            await asyncio.gather(fails())
        except ValueError as error:
            self.note(i, str(error))

    async def _soon(self, i, which):
        asyncio.get_running_loop().call_soon(self.events[which].set)
        await self.events[which].wait()

    async def _thread(self, i, which):
        await asyncio.to_thread(int)
