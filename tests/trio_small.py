"""Small Trio programs whose numbers of orderings are known. Loaded as a scenario file, so that what their tasks share is instrumented."""

import trio

import simharness


def tasks(*works):
    """Return an actor whose tasks do this."""

    async def main():
        async with trio.open_nursery() as nursery:
            for work in works:
                nursery.start_soon(work)

    return main


async def rest():
    """Do nothing twice."""
    await trio.lowlevel.checkpoint()


@simharness.scenario
def independent(world):
    """Two tasks of two steps that share nothing."""
    world.actor("a", tasks(rest, rest))


@simharness.scenario
def one_list(world):
    """Two tasks of two steps, each of which adds to one list."""
    lines = []

    async def work(name):
        lines.append(name)
        await trio.lowlevel.checkpoint()
        lines.append(name)

    world.actor("a", tasks(lambda: work("0"), lambda: work("1")))

    @world.at_end
    def order():
        world.outcome("".join(lines))


@simharness.scenario
def own_cells(world):
    """Two tasks of two steps, each with a cell of its own."""
    one, other = world.shared(0, "one"), world.shared(0, "other")

    async def work(cell):
        cell.add(1)
        await trio.lowlevel.checkpoint()
        cell.add(1)

    world.actor("a", tasks(lambda: work(one), lambda: work(other)))


@simharness.scenario
def lost_update(world):
    """Two tasks that read an attribute, rest, and write it."""
    stock = type("Stock", (), {})()
    stock.left = 2

    async def sell():
        left = stock.left
        await trio.lowlevel.checkpoint()
        stock.left = left - 1

    world.actor("a", tasks(sell, sell))

    @world.at_end
    def left():
        world.outcome(stock.left)


@simharness.scenario
def waiters(world):
    """Two tasks wait for an event that a third sets: before, between and after."""
    event = trio.Event()

    async def set_it():
        await trio.lowlevel.checkpoint()
        event.set()

    world.actor("a", tasks(event.wait, event.wait, set_it))


@simharness.scenario
def one_lock(world):
    """Two tasks under one lock, and a third that has nothing to do with them."""
    lock = trio.Lock()

    async def work():
        async with lock:
            await trio.lowlevel.checkpoint()

    world.actor("a", tasks(work, work, rest))


@simharness.scenario
def two_locks(world):
    """Two tasks under a lock each."""

    async def work(lock):
        async with lock:
            await trio.lowlevel.checkpoint()

    world.actor("a", tasks(lambda: work(trio.Lock()), lambda: work(trio.Lock())))


@simharness.scenario
def a_channel(world):
    """A task sends two things through a channel with room for one."""
    send, receive = trio.open_memory_channel(1)

    async def producer():
        async with send:
            await send.send(1)
            await send.send(2)

    async def consumer():
        async for thing in receive:
            world.outcome(thing)

    world.actor("a", tasks(producer, consumer))


@simharness.scenario
def cancelled(world):
    """A task cancels the nursery in which another rests."""

    async def main():
        async with trio.open_nursery() as nursery:

            async def cancels():
                nursery.cancel_scope.cancel()

            nursery.start_soon(rest)
            nursery.start_soon(cancels)

    world.actor("a", main)


@simharness.scenario(expect="violated")
def opposite_locks(world):
    """Two tasks take two locks in opposite orders."""
    first, second = trio.Lock(), trio.Lock()

    async def take(one, other):
        async with one, other:
            pass

    world.actor("a", tasks(lambda: take(first, second), lambda: take(second, first)))


@simharness.scenario
def at_once(world):
    """Sum up in one step what two tasks do in two: an attribute is written twice, and never read in between."""
    stock = type("Stock", (), {})()
    stock.left = stock.sold = 0

    async def sell():
        stock.left -= 1
        stock.sold += 1
        await trio.lowlevel.checkpoint()
        assert stock.left + stock.sold == 0

    world.actor("a", tasks(sell, sell))


@simharness.scenario
def set_or_cancelled(world):
    """A task waits for an event; one task sets it, another cancels the wait."""
    event, scope = trio.Event(), trio.CancelScope()

    async def waits():
        with scope:
            await event.wait()
            world.outcome("set")
        if scope.cancelled_caught:
            world.outcome("cancelled")

    async def sets():
        event.set()

    async def cancels():
        scope.cancel()

    world.actor("a", tasks(waits, sets, cancels))


@simharness.scenario
def it_depends(world):
    """What a task touches in its second step depends on what it read in its first, or on what it finds."""
    box = type("Box", (), {})()
    box.which = box.x = box.y = 0

    async def writes():
        box.which = 1

    async def chooses():
        if box.which:
            box.x += 1
        else:
            box.y += 1

    async def reads():
        world.outcome((box.x, box.y))

    async def reads_y():
        world.outcome(box.y)

    world.actor("a", tasks(reads_y, writes, chooses, reads))
