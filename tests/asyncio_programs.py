"""Random asyncio programs, and a model of the three orders that shares nothing with the runtime.

The model is a loop of its own that takes its choices from a script; `every` tries all scripts. In *arrivals* it makes arrivals explicit:
between any two callbacks, any pause and any timer that is due may be appended to the queue, which is first in, first out. In every order
clients may disconnect: between any two callbacks, and while the loop waits, a task is cancelled.
"""

from __future__ import annotations

import asyncio
import collections
import heapq
import random

PLAIN = ("pause", "pause", "set", "wait", "lock", "put", "get", "spawn", "cancel", "soon")
TIMED = ("pause", "sleep1", "sleep1", "sleep2", "timeout1", "lock", "cancel", "later", "wait_for", "now", "stop_later")


class Program:
    """A random program: two or three tasks with plans of a few operations; calling it returns the log of what they did."""

    def __init__(self, seed, operations=PLAIN, tasks=(2, 2, 3), lengths=(1, 2), leaves=False):
        drawn = random.Random(seed)
        self.plans = [[drawn.choice(operations) for _ in range(drawn.choice(lengths))] for _ in range(drawn.choice(tasks))]
        self.leaves = leaves and drawn.random() < 0.5
        self.order = drawn.random()

    def __call__(self, run=asyncio.run):
        log, made = [], []
        run(self._main(log, made))
        return log

    async def _main(self, log, made):
        loop = asyncio.get_running_loop()
        world = asyncio.Event(), asyncio.Lock(), asyncio.Queue(), loop
        made += [asyncio.create_task(self._task(i, log, made, world)) for i in range(len(self.plans))]
        if self.leaves:
            await asyncio.sleep(0)
            await asyncio.wait(made[:1])
            return
        while not all(task.done() for task in made):
            await asyncio.wait(made)

    async def _task(self, i, log, made, world):
        try:
            for k, operation in enumerate(self.plans[i]):
                log.append(f"{i}{k}{operation}")
                await getattr(self, f"_{operation}")(f"{i}{k}", i, log, made, *world)
        except asyncio.CancelledError:
            log.append(f"{i}X")
            raise
        log.append(f"{i}end")

    async def _pause(self, name, i, log, made, event, lock, queue, loop):
        await asyncio.sleep(0)

    async def _set(self, name, i, log, made, event, lock, queue, loop):
        event.set()

    async def _wait(self, name, i, log, made, event, lock, queue, loop):
        loop.call_soon(event.set)
        await event.wait()

    async def _lock(self, name, i, log, made, event, lock, queue, loop):
        async with lock:
            await asyncio.sleep(0)
            log.append(f"{name}in")

    async def _put(self, name, i, log, made, event, lock, queue, loop):
        queue.put_nowait(name)

    async def _get(self, name, i, log, made, event, lock, queue, loop):
        loop.call_soon(queue.put_nowait, "x")
        log.append(f"{name}got{await queue.get()}")

    async def _spawn(self, name, i, log, made, event, lock, queue, loop):
        async def child():
            log.append(f"{name}child")
            await asyncio.sleep(0)
            log.append(f"{name}child2")

        made.append(asyncio.create_task(child()))

    async def _cancel(self, name, i, log, made, event, lock, queue, loop):
        made[(i + 1) % len(self.plans)].cancel()

    async def _soon(self, name, i, log, made, event, lock, queue, loop):
        loop.call_soon(log.append, f"{name}soon")

    async def _sleep1(self, name, i, log, made, event, lock, queue, loop):
        await asyncio.sleep(1)

    async def _sleep2(self, name, i, log, made, event, lock, queue, loop):
        await asyncio.sleep(2)

    async def _timeout1(self, name, i, log, made, event, lock, queue, loop):
        try:
            async with asyncio.timeout(1):
                await asyncio.sleep(1)
                log.append(f"{name}in")
        except TimeoutError:
            log.append(f"{name}T")

    async def _wait_for(self, name, i, log, made, event, lock, queue, loop):
        try:
            await asyncio.wait_for(asyncio.sleep(1), 1)
        except TimeoutError:
            log.append(f"{name}W")

    async def _later(self, name, i, log, made, event, lock, queue, loop):
        loop.call_later(1, log.append, f"{name}later")

    async def _now(self, name, i, log, made, event, lock, queue, loop):
        loop.call_later(0, log.append, f"{name}now")
        loop.call_soon(log.append, f"{name}soon")

    async def _stop_later(self, name, i, log, made, event, lock, queue, loop):
        timer = loop.call_later(1, log.append, f"{name}late")
        await asyncio.sleep(1)
        timer.cancel()
        log.append(f"{name}c")


class TooMany(Exception):
    """There are more scripts than the model is asked to try."""


class ModelLoop(asyncio.SelectorEventLoop):
    """A loop whose choices a script makes; virtual time moves only when nothing can run."""

    def __init__(self, choose, order, cancels=0):
        super().__init__()
        self._cancels, self._made = cancels, []
        self._choose, self._order, self._now = choose, order, 0.0
        self._clock_resolution = 0.0
        self._pauses, self._calls, self._ran = [], collections.deque(), False
        self._ready = self

    def time(self):
        return self._now

    def append(self, handle):
        task = getattr(handle._callback, "__self__", None)
        yields = type(handle._callback).__name__ == "TaskStepMethWrapper" and asyncio.current_task(self) is task and task is not None
        (self._pauses if yields and self._order == "arrivals" else self._calls).append(handle)

    def clear(self):
        self._calls.clear()
        self._pauses.clear()

    def __len__(self):
        return len(self._calls) + len(self._pauses)

    def _due(self):
        found = sorted((timer for timer in self._scheduled if not timer._cancelled), key=lambda timer: timer._when)
        found = [timer for timer in found if timer._when <= self._now]
        if self._order == "loop" and found:
            return [timer for timer in found if timer._when == found[0]._when], found[0]._when < self._now
        return found, False

    def create_task(self, *arguments, **options):
        task = super().create_task(*arguments, **options)
        self._made.append(task)
        return task

    def _cancellable(self):
        if not self._cancels:
            return []
        living = [task for task in self._made if not task.done() and not task._must_cancel]
        living = [task for task in living if task.get_coro().__name__ in ("_task", "child", "sleep")]
        return [task for task in living if task._fut_waiter is None or not task._fut_waiter.cancelled()]

    def _strike(self, number):
        self._cancels -= 1
        self._cancellable_now[number].cancel()

    def _enter(self, between=False):
        """Let timers, and in `arrivals` pauses, enter the queue, or not; let clients disconnect, or not."""
        while True:
            timers, late = self._due()
            pauses = [pause for pause in self._pauses if not pause._cancelled]
            arrivals = [] if between and self._order == "loop" else [*pauses, *timers]
            strikes = self._cancellable_now = self._cancellable()
            if not arrivals:
                number = self._choose(1 + len(strikes)) if strikes else 0
                if number:
                    self._strike(number - 1)
                    continue
                if between or self._calls or self._stopping or not self._scheduled:
                    return
                live = [timer._when for timer in self._scheduled if not timer._cancelled]
                if not live:
                    return
                self._now = min(live)
                continue
            waits = bool(self._calls) and not late
            if self._stopping:
                waits = True
            number = self._choose(len(arrivals) + waits + len(strikes))
            if waits and number == 0:
                return
            if number >= len(arrivals) + waits:
                self._strike(number - waits - len(arrivals))
                continue
            arrival = arrivals[number - waits]
            if arrival in self._pauses:
                self._pauses.remove(arrival)
            else:
                self._scheduled.remove(arrival)
                heapq.heapify(self._scheduled)
            self._calls.append(arrival)

    def _drop(self):
        while self._calls and self._calls[0]._cancelled:
            self._calls.popleft()

    def _run_once(self):
        self._enter()
        left = len(self._calls)
        while left:
            handle = self._calls.popleft()
            left -= 1
            if handle._cancelled:
                continue
            handle._run()
            self._drop_and_enter(left)

    def _drop_and_enter(self, left):
        if left or self._stopping:
            self._enter(between=True)


def every(program, order, most=3000, cancels=0):
    """Return the logs of a program under every script of the model."""
    logs, script = set(), []
    for _ in range(most):
        position, sizes = [0], []

        def choose(size, position=position, sizes=sizes, script=script):
            number = script[position[0]] if position[0] < len(script) else 0
            position[0] += 1
            sizes.append((number, size))
            return number

        def run(coroutine, choose=choose):
            with asyncio.Runner(loop_factory=lambda: ModelLoop(choose, order, cancels)) as runner:
                return runner.run(coroutine)

        try:
            logs.add(" ".join(program(run)))
        except RuntimeError as error:
            if "stopped before" not in str(error):
                raise
        while sizes and sizes[-1][0] + 1 >= sizes[-1][1]:
            sizes.pop()
        if not sizes:
            return logs
        script = [number for number, _ in sizes]
        script[-1] += 1
    raise TooMany(program.plans)
