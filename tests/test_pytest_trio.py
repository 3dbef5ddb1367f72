"""The pytest plugin and Trio: `async def` tests under every order of their tasks, alone and beside pytest-trio."""

from __future__ import annotations

import signal

import pytest
import pytest_trio.plugin  # loaded here, since pytester unloads what a test run loads
import trio
from test_pytest_plugin import has, run, token_of  # noqa: F401  # `run` is a fixture

pytest_plugins = ["pytester"]
ALONE = ("-p", "no:trio")
STOCK = """
import pytest
import trio

class Stock:
    def __init__(self, left=1):
        self.left = left

    async def sell(self):
        if self.left > 0:
            await trio.lowlevel.checkpoint()
            self.left -= 1

    async def sell_at_once(self):
        await trio.lowlevel.checkpoint()
        if self.left > 0:
            self.left -= 1

    async def sell_late(self):
        if self.left > 0:
            await trio.sleep(3600)
            self.left -= 1
"""
MARKED = """
@pytest.mark.interleave
async def test_sold_once():
    stock = Stock()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stock.sell)
        nursery.start_soon(stock.sell)
    assert stock.left == 0

@pytest.mark.interleave
async def test_sold_at_once():
    stock = Stock()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stock.sell_at_once)
        nursery.start_soon(stock.sell_at_once)
    assert stock.left == 0
"""


def verdict(result, test):
    """Return what the summary says of a test."""
    return next(found.split()[0] for found in result.outlines if " s  test_it.py::" in found and found.endswith(f"::{test}"))


@pytest.mark.parametrize("options", [ALONE, (), ("-o", "trio_mode=true")])
def test_an_async_test_that_is_marked_fails_on_the_order_that_breaks_it_and_passes_where_none_does(run, options):  # noqa: F811
    result = run(MARKED, *options, bank=STOCK)
    result.assert_outcomes(passed=1, failed=1)
    has(result, "assert -1 == 0", "--interleave-replay=test_sold_once")
    assert verdict(result, "test_sold_at_once") == "verified"
    again = run("", *options, "--interleave-replay=" + token_of(result), bank=STOCK)
    again.assert_outcomes(failed=1)
    has(again, "assert -1 == 0")


def test_fixtures_of_pytest_trio_are_made_anew_in_each_execution_and_work_as_in_an_ordinary_run(run):  # noqa: F811
    result = run(
        """
made = []

@pytest.fixture
async def stock():
    made.append("stock")
    yield Stock()
    await trio.lowlevel.checkpoint()
    made.remove("stock")

@pytest.fixture
async def two(stock):
    stock.left = 2
    return stock

@pytest.mark.trio
@pytest.mark.interleave(strategy="random", max_executions=20, inconclusive="pass")
async def test_enough(nursery, two, stock, tmp_path):
    assert made == ["stock"] and two is stock and not list(tmp_path.iterdir())
    (tmp_path / "file").write_text("")
    nursery.start_soon(two.sell)
    await two.sell()
    assert stock.left in (0, 1)

@pytest.mark.trio
@pytest.mark.interleave(strategy="random", max_executions=20)
async def test_not_enough(nursery, stock):
    done = trio.Event()
    async def other():
        await stock.sell()
        done.set()
    nursery.start_soon(other)
    await stock.sell()
    await done.wait()
    assert stock.left == 0

@pytest.mark.trio
async def test_ordinary(nursery, two):
    nursery.start_soon(two.sell)
    await two.sell()
""",
        bank=STOCK,
    )
    result.assert_outcomes(passed=2, failed=1)
    has(result, "assert -1 == 0")
    assert verdict(result, "test_enough") == "inconclusive"


def test_time_passes_as_the_autojump_clock_says_and_without_one_it_is_virtual(run):  # noqa: F811
    result = run(
        """
async def sold(clock=None):
    stock = Stock()
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stock.sell_late)
        nursery.start_soon(stock.sell_late)
    assert 3600 <= trio.current_time() - began < 3610
    assert stock.left in (-1, 0)

@pytest.mark.interleave
async def test_jumps(autojump_clock):
    await sold()
    assert trio.current_time() == 3600

@pytest.mark.interleave
async def test_virtual():
    await sold()
""",
        "-o",
        "trio_mode=true",
        bank=STOCK,
    )
    result.assert_outcomes(passed=2)


def test_a_clock_among_the_fixtures_is_the_runs_without_pytest_trio_too(run):  # noqa: F811
    result = run(
        """
from trio.testing import MockClock

@pytest.fixture
def clock():
    return MockClock(autojump_threshold=0)

@pytest.mark.interleave
async def test_jumps(clock):
    assert trio.current_time() == 0
    await trio.sleep(5)
    assert clock.current_time() == 5
""",
        *ALONE,
        bank=STOCK,
    )
    result.assert_outcomes(passed=1)


@pytest.mark.parametrize("options", [ALONE, ("-o", "trio_mode=true")])
def test_methods_of_classes_and_parameters_have_an_instance_for_each_execution(run, options):  # noqa: F811
    result = run(
        """
@pytest.mark.interleave
class TestStock:
    left = 1

    @pytest.mark.parametrize("work", ["sell", "sell_at_once"])
    async def test_sold(self, work):
        assert self.left == 1
        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(getattr(Stock, work), self)
        assert self.left == 0
""",
        *options,
        bank=STOCK,
    )
    result.assert_outcomes(passed=1, failed=1)
    has(result, "assert -1 == 0")
    assert verdict(result, "test_sold[sell_at_once]") == "verified"


@pytest.mark.parametrize("options", [ALONE, ("-o", "trio_mode=true")])
def test_interleave_takes_async_tests_of_trio_and_leaves_those_of_other_libraries(run, options):  # noqa: F811
    source = (
        MARKED.replace("@pytest.mark.interleave", "")
        + """
@pytest.mark.asyncio
@pytest.mark.skip
async def test_of_another_library():
    pass
"""
    )
    result = run(source, *options, "--interleave", "-W", "ignore::pytest.PytestUnknownMarkWarning", bank=STOCK)
    result.assert_outcomes(passed=1, failed=1, skipped=1)
    has(result)
    assert verdict(result, "test_sold_at_once") == "verified"


@pytest.mark.parametrize("options", [ALONE, ("-o", "trio_mode=true")])
def test_skip_xfail_and_what_a_task_raises_behave(run, options):  # noqa: F811
    result = run(
        """
async def in_a_task(error):
    async def raises():
        raise error
    async with trio.open_nursery() as nursery:
        nursery.start_soon(raises)
        nursery.start_soon(trio.sleep_forever)

@pytest.mark.interleave
async def test_skips():
    await in_a_task(pytest.skip.Exception("not here"))

@pytest.mark.interleave
@pytest.mark.xfail(raises=KeyError, strict=True)
async def test_expected():
    raise KeyError("yes")

@pytest.mark.interleave
async def test_raises():
    await in_a_task(LookupError("in a task"))

@pytest.mark.interleave
async def test_stuck():
    await trio.sleep_forever()
""",
        *options,
        bank=STOCK,
    )
    result.assert_outcomes(skipped=1, xfailed=1, failed=2)
    has(result, "LookupError: in a task", "deadlock: ")


def test_signal_handlers_the_wake_up_descriptor_and_trios_context_are_left_as_they_were(run):  # noqa: F811
    def state():
        descriptor = signal.set_wakeup_fd(-1)
        signal.set_wakeup_fd(descriptor)
        return signal.getsignal(signal.SIGINT), descriptor, dict(vars(trio._core._run.GLOBAL_RUN_CONTEXT)), trio.run

    before = state()
    run(MARKED, bank=STOCK).assert_outcomes(passed=1, failed=1)
    run(MARKED, "-o", "trio_mode=true", bank=STOCK).assert_outcomes(passed=1, failed=1)
    assert state() == before
    assert pytest_trio.plugin.trio.run is trio.run


def test_a_process_that_crashes_ends_its_run_without_a_finally(run):  # noqa: F811
    result = run(
        """
ran = []

@pytest.mark.interleave(faults="crash=1")
async def test_crashes(tmp_path):
    try:
        await trio.lowlevel.checkpoint()
        await trio.lowlevel.checkpoint()
        (tmp_path / "done").write_text("")
    finally:
        assert (tmp_path / "done").exists()
""",
        *ALONE,
        bank=STOCK,
    )
    result.assert_outcomes(passed=1)
