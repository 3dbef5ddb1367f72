"""The pytest plugin and asyncio: pytest-asyncio, AnyIO and IsolatedAsyncioTestCase under every ordering, their fixtures included."""

import pytest
from test_pytest_plugin import has, run  # noqa: F401  # `run` is a fixture

pytest_plugins = ["pytester"]
BUMP = """
import asyncio
import unittest
import pytest

async def bump(number):
    before = number[0]
    await asyncio.sleep(0)
    number[0] = before + 1
"""
CASE = """
class Case(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        self.number = [0]

    async def test_both(self):
        await asyncio.gather(bump(self.number), bump(self.number))
        self.assertEqual(self.number, [2])

    async def test_one_after_the_other(self):
        await bump(self.number)
        await bump(self.number)
        self.assertEqual(self.number, [2])
"""
MARKED = """
import pytest_asyncio

@pytest_asyncio.fixture
async def number():
    await asyncio.sleep(0)
    yield [0]
    await asyncio.sleep(0)

@pytest.mark.asyncio
async def test_both(number):
    await asyncio.gather(bump(number), bump(number))
    assert number == [2]

@pytest.mark.asyncio
async def test_one_after_the_other(number):
    await bump(number)
    await bump(number)
    assert number == [2]
"""
WIDE = """
@pytest.mark.asyncio(loop_scope="module")
async def test_wide():
    await asyncio.sleep(0)
"""
ANYIO = """
import anyio

@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    return request.param

@pytest.mark.anyio
async def test_both(anyio_backend):
    number = [0]
    async with anyio.create_task_group() as group:
        group.start_soon(raced, number)
        group.start_soon(raced, number)
    assert number == [2]

async def raced(number):
    before = number[0]
    await anyio.sleep(0)
    number[0] = before + 1

@pytest.mark.anyio
async def test_locked(anyio_backend):
    number, lock = [0], anyio.Lock()
    async def locked():
        async with lock:
            await raced(number)
    async with anyio.create_task_group() as group:
        group.start_soon(locked)
        group.start_soon(locked)
    assert number == [2]
    with anyio.move_on_after(1):
        await anyio.sleep(10)
    assert await anyio.to_thread.run_sync(lambda: 5) == 5
"""


def test_the_tests_of_an_isolated_test_case_are_run_under_every_ordering(run):  # noqa: F811
    result = run(BUMP + CASE, "--interleave")
    result.assert_outcomes(passed=1, failed=1)
    has(result, "violated", "Case::test_both")
    has(result, "verified", "Case::test_one_after_the_other")


def test_the_tests_of_pytest_asyncio_are_run_with_their_fixtures(run):  # noqa: F811
    pytest.importorskip("pytest_asyncio")
    result = run(BUMP + MARKED, "--interleave")
    result.assert_outcomes(passed=1, failed=1)
    has(result, "violated", "test_it.py::test_both")
    has(result, "verified", "test_it.py::test_one_after_the_other")


def test_a_wider_loop_scope_is_refused_with_what_to_do(run):  # noqa: F811
    pytest.importorskip("pytest_asyncio")
    result = run(BUMP + WIDE, "--interleave")
    has(result, "the loop was made before the execution", "a loop scope of 'function'")


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_tests_of_anyio_are_run_on_both_back_ends(run, backend):  # noqa: F811
    result = run(ANYIO, "--interleave", "-k", backend)
    result.assert_outcomes(passed=1, failed=1, deselected=2)
    has(result, "violated", f"test_it.py::test_both[{backend}]", "verified", f"test_it.py::test_locked[{backend}]")


UNMARKED = """
import asyncio

async def bump(number):
    before = number[0]
    await asyncio.sleep(0)
    number[0] = before + 1

@pytest.mark.interleave
async def test_both():
    number = [0]
    await asyncio.gather(bump(number), bump(number))
    assert number == [2]
"""


def test_an_async_test_without_a_mark_is_run_by_the_library_that_its_module_uses(run):  # noqa: F811
    result = run(UNMARKED)
    result.assert_outcomes(failed=1)
    has(result, "violated", "assert [1] == [2]")
