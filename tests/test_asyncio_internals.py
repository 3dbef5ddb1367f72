"""What the runtime reaches into: fails loudly when a release of CPython changes it."""

import asyncio
from asyncio import events, tasks

import pytest

from simharness.runtimes.aio import internals


@pytest.mark.parametrize(("owner", "name"), [(owner, name) for owner, names in internals.REACHED.items() for name in names])
def test_what_is_reached_into_is_there(owner, name):
    assert hasattr(owner, name)


def test_a_loop_has_the_attributes_that_are_exchanged():
    loop = asyncio.new_event_loop()
    try:
        assert [name for name in internals.OF_LOOPS if not hasattr(loop, name)] == []
        assert type(loop) is asyncio.SelectorEventLoop
    finally:
        loop.close()


@pytest.mark.parametrize("kind", [asyncio.Task, internals.PY_TASK])
def test_handles_say_whether_they_step_a_task_and_whether_it_has_waited(kind):
    seen = []

    class Loop(asyncio.SelectorEventLoop):
        def _call_soon(self, callback, args, context):
            handle = super()._call_soon(callback, args, context)
            if self.watched and internals.task_of(handle) is not None:
                seen.append((internals.is_step(handle), tasks.current_task(self) is internals.task_of(handle)))
            return handle

        watched = False

    async def main():
        loop = asyncio.get_running_loop()
        loop.watched = True

        async def work():
            await asyncio.sleep(0)
            future = loop.create_future()
            loop.call_soon(future.set_result, None)
            await future

        await kind(work(), loop=loop)
        loop.watched = False

    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(main())
    starts, pauses, woken, main_woken = seen
    assert (starts, pauses, woken, main_woken) == ((True, False), (True, True), (False, False), (False, False))


def test_a_handle_can_be_cancelled_and_run():
    loop = asyncio.new_event_loop()
    handle = events.Handle(print, (), loop)
    handle.cancel()
    assert handle._cancelled
    loop.close()
