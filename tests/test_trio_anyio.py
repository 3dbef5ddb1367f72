"""AnyIO on Trio: steps of its tasks are reduced as those of Trio's own, and its bugs are found."""

import importlib

import anyio
import pytest
import trio  # noqa: F401  # so that an `async def` of this module is run with Trio

import simharness
from simharness import Settings
from simharness.runtimes.trio import anyio as used


async def both(work, *further):
    async with anyio.create_task_group() as group:
        for function in (work, *(further or (work,))):
            group.start_soon(function)


async def of_its_own_event():
    event = anyio.Event()
    event.set()
    await event.wait()


async def of_its_own_lock():
    async with anyio.Lock():
        await anyio.lowlevel.checkpoint()


async def of_its_own_semaphore():
    async with anyio.Semaphore(1):
        await anyio.lowlevel.checkpoint()


async def of_its_own_limiter():
    async with anyio.CapacityLimiter(1):
        await anyio.lowlevel.checkpoint()


async def of_its_own_condition():
    async with (condition := anyio.Condition()):
        condition.notify_all()
        await anyio.lowlevel.checkpoint()


async def of_its_own_stream():
    sender, receiver = anyio.create_memory_object_stream(1)
    async with sender, receiver:
        await sender.send("x")
        assert await receiver.receive() == "x"


async def of_its_own_group():
    async with anyio.create_task_group() as group:
        group.start_soon(anyio.lowlevel.checkpoint)


OWN = (
    of_its_own_event,
    of_its_own_lock,
    of_its_own_semaphore,
    of_its_own_limiter,
    of_its_own_condition,
    of_its_own_stream,
    of_its_own_group,
)


@pytest.mark.parametrize("instrument", [(), ("anyio",)], ids=["as it is", "instrumented"])
@pytest.mark.parametrize("work", OWN, ids=lambda work: work.__name__)
def test_tasks_that_share_nothing_of_anyios_have_one_ordering(work, instrument):
    async def program():
        await both(work)

    result = simharness.explore(program, settings=Settings(instrument=(__name__, *instrument)))
    assert (result.verdict, result.executions) == ("verified", 1)


def counted(guard):
    async def program():
        shared, numbers = guard(), [0]

        async def count():
            async with shared:
                before = numbers[0]
                await anyio.lowlevel.checkpoint()
                numbers[0] = before + 1

        await both(count)
        assert numbers == [2]

    return program


class Nothing:
    async def __aenter__(self):
        pass

    async def __aexit__(self, *error):
        pass


def through_a_condition():
    return anyio.Condition(anyio.Lock())


GUARDS = {
    "lock": (anyio.Lock, "verified"),
    "semaphore": (lambda: anyio.Semaphore(1), "verified"),
    "limiter": (lambda: anyio.CapacityLimiter(1), "verified"),
    "condition": (through_a_condition, "verified"),
    "nothing": (Nothing, "violated"),
    "two places": (lambda: anyio.Semaphore(2), "violated"),
    "a limiter of two": (lambda: anyio.CapacityLimiter(2), "violated"),
}


@pytest.mark.parametrize("name", GUARDS)
def test_a_lost_update_is_found_and_what_excludes_it_verified(name):
    guard, verdict = GUARDS[name]
    program = counted(guard)
    settings = Settings(instrument=(__name__,))
    assert simharness.explore(program, settings=settings).verdict == verdict
    whole = simharness.explore(program, "exhaustive", settings=settings)
    assert whole.verdict == verdict, "brute force says so, too"


def waiting(late):
    """A task waits on a condition that another notifies, perhaps before it waits."""

    async def program():
        condition, ready = anyio.Condition(), []

        async def waits():
            async with condition:
                while late or not ready:
                    await condition.wait()
                    if ready:
                        break

        async def sets():
            async with condition:
                ready.append(True)
                condition.notify()

        await both(waits, sets)

    return program


@pytest.mark.parametrize(("late", "verdict"), [(False, "verified"), (True, "violated")])
def test_a_lost_wake_up_of_a_condition_is_a_deadlock(late, verdict):
    assert simharness.explore(waiting(late), settings=Settings(instrument=(__name__,))).verdict == verdict


@pytest.mark.parametrize("size", [0, 1])
def test_what_two_tasks_send_arrives_once_in_every_order(size):
    orders = set()

    async def program():
        sender, receiver = anyio.create_memory_object_stream(size)
        got = []

        async def takes():
            got.append(await receiver.receive())
            got.append(await receiver.receive())

        async with sender, receiver, anyio.create_task_group() as group:
            group.start_soon(sender.send, "a")
            group.start_soon(sender.send, "b")
            group.start_soon(takes)
        assert sorted(got) == ["a", "b"]
        orders.add("".join(got))

    assert simharness.explore(program, settings=Settings(instrument=(__name__,))).verdict == "verified"
    assert orders == {"ab", "ba"}


def test_anyio_has_the_classes_whose_objects_report_how_they_are_used():
    known = {kind.__name__ for kind in used.classes()}
    assert known >= {
        "Event",
        "Lock",
        "Semaphore",
        "CapacityLimiter",
        "Condition",
        "MemoryObjectReceiveStream",
        "MemoryObjectSendStream",
        "TaskGroup",
    }
    assert any(name.lstrip("_") == "MemoryObjectStreamState" for name in known)
    kinds = [
        vars(importlib.import_module(name)) for name in ("anyio._core._synchronization", "anyio._backends._trio", "anyio.streams.memory")
    ]
    stateful = {kind.__name__ for space in kinds for kind in space.values() if _has_state(kind, space["__name__"])}
    assert stateful - known <= NOT_SHARED, "a class of AnyIO with state that is not observed"


NOT_SHARED = {
    *(
        "Process",
        "ReceiveStreamWrapper",
        "SendStreamWrapper",
        "SocketStream",
        "UNIXSocketStream",
        "TCPSocketListener",
        "UNIXSocketListener",
    ),
    *(
        "UDPSocket",
        "ConnectedUDPSocket",
        "UNIXDatagramSocket",
        "ConnectedUNIXDatagramSocket",
        "_SignalReceiver",
        "TestRunner",
        "TrioTaskInfo",
    ),
    *(
        "_ProcessPoolShutdownInstrument",
        "_TrioSocketMixin",
        "_TrioTaskStatus",
        "EventStatistics",
        "CapacityLimiterStatistics",
        "LockStatistics",
    ),
    *("ConditionStatistics", "SemaphoreStatistics", "MemoryObjectStreamStatistics", "TrioBackend", "Lock", "Semaphore"),
}
"""Classes that need real I/O, which is refused, are made for one task, or only report."""


def _has_state(kind, module):
    return isinstance(kind, type) and kind.__module__ == module and ("__init__" in vars(kind) or "__slots__" in vars(kind))
