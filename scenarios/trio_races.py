"""Races of Trio programs, each with a correct version.

Between two checkpoints a task runs alone; at a checkpoint anything may happen, even a cancellation. So these are the places where a Trio
program goes wrong: what is checked before an `await` and used after it; what is half done when a cancellation arrives; a wake-up that
comes before a task waits; a worker thread, for which a task's step is not atomic at all.
"""

import threading

import trio

import simharness


class Stock:
    """One item is left; `reserve` asks a slow service between looking and taking."""

    def __init__(self):
        self.left = 1
        self.lock = trio.Lock()

    async def reserve(self):
        if self.left > 0:
            await trio.lowlevel.checkpoint()
            self.left -= 1

    async def reserve_safely(self):
        async with self.lock:
            await self.reserve()


@simharness.scenario(protocol=["unlocked", "locked"], expect={"unlocked": "violated"})
def check_then_act(world, protocol):
    """Two tasks see the last item, and both take it."""
    stock = Stock()

    async def shop():
        reserve = stock.reserve if protocol == "unlocked" else stock.reserve_safely
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reserve)
            nursery.start_soon(reserve)

    world.actor("shop", shop)

    @world.at_end
    def nothing_sold_twice():
        assert stock.left == 0


@simharness.scenario(protocol=["acquire", "async_with"], expect={"acquire": "violated"})
def cancelled_while_holding(world, protocol):
    """A task that is cancelled while it holds a lock must give it back."""
    done = []

    async def careless(lock):
        await lock.acquire()
        await trio.lowlevel.checkpoint()
        lock.release()

    async def careful(lock):
        async with lock:
            await trio.lowlevel.checkpoint()

    async def main():
        semaphore = trio.Semaphore(1)
        lock = _AsLock(semaphore)
        work = careless if protocol == "acquire" else careful
        async with trio.open_nursery() as nursery:
            nursery.start_soon(work, lock)
            await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        async with lock:
            done.append("next")

    world.actor("service", main)


class _AsLock:
    """A home-made lock, on a semaphore: unlike with `trio.Lock`, nothing notices that its holder is gone."""

    def __init__(self, semaphore):
        self.acquire, self.release = semaphore.acquire, semaphore.release

    async def __aenter__(self):
        await self.acquire()

    async def __aexit__(self, *_):
        self.release()


@simharness.scenario(protocol=["plain", "shielded"], expect={"plain": "violated"})
def half_applied_transfer(world, protocol):
    """A transfer is cancelled, by a deadline, between taking the money and giving it."""
    accounts = {"a": 100, "b": 0}

    async def transfer():
        accounts["a"] -= 30
        await trio.sleep(1)
        accounts["b"] += 30

    async def main():
        with trio.move_on_after(0.5):
            with trio.CancelScope(shield=protocol == "shielded"):
                await transfer()

    world.actor("bank", main)

    @world.at_end
    def nothing_lost():
        assert accounts["a"] + accounts["b"] == 100, accounts


@simharness.scenario(protocol=["new_event", "condition"], expect={"new_event": "violated"})
def lost_wake_up(world, protocol):
    """The consumer looks for work, and only then makes the event for which it waits: work that comes in between wakes nobody."""

    async def main():
        jobs, bell = [], [trio.Event()]
        condition = trio.Condition()

        async def put():
            await trio.lowlevel.checkpoint()
            async with condition:
                jobs.append("job")
                condition.notify()
            bell[0].set()

        async def take():
            if not jobs:
                await trio.lowlevel.checkpoint()
                bell[0] = trio.Event()
                await bell[0].wait()

        async def take_safely():
            async with condition:
                while not jobs:
                    await condition.wait()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(put)
            nursery.start_soon(take if protocol == "new_event" else take_safely)

    world.actor("main", main)


@simharness.scenario(protocol=["bare", "locked"], expect={"bare": "violated"})
def worker_threads(world, protocol):
    """Work sent to threads is not atomic, unlike a task's step."""
    total = world.shared(0, "total")
    lock = threading.Lock()

    def add():
        total.set(total.get() + 1)

    def add_safely():
        with lock:
            add()

    async def main():
        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(trio.to_thread.run_sync, add if protocol == "bare" else add_safely)

    world.actor("main", main)

    @world.at_end
    def everything_counted():
        assert total.get() == 2
