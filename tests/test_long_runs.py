"""Many explorations in one process: none leaves anything behind that the next has to look through."""

import contextlib
import gc
import os
import queue
import sqlite3
import subprocess
import sys
import threading

import pytest

import simharness

pytestmark = pytest.mark.alone


def locked():
    lock, box = threading.Lock(), [0]

    def work():
        with lock:
            box[0] += 1

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert box[0] == 2


def violated():
    jobs, seen = queue.Queue(), []

    def take():
        with contextlib.suppress(queue.Empty):
            seen.append(jobs.get_nowait())

    threads = [threading.Thread(target=jobs.put, args=(1,)), threading.Thread(target=take)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen


def stored(world):
    path = world.path("t.db")
    base = sqlite3.connect(path, isolation_level=None)
    base.execute("CREATE TABLE t (n INTEGER)")
    base.execute("INSERT INTO t VALUES (0)")

    def work():
        sqlite3.connect(path, isolation_level=None).execute("UPDATE t SET n = n + 1")

    world.actor("a", work)
    world.actor("b", work)

    @world.at_end
    def two():
        assert base.execute("SELECT n FROM t").fetchone() == (2,)


def raises(world):
    def work():
        raise ValueError("x")

    world.actor("a", work)


def misused(world):
    raise RuntimeError("in set-up")


KINDS = [locked, violated, stored, raises, misused]


def explore(scenario):
    try:
        return str(simharness.explore(scenario).verdict)
    except simharness.Misuse as error:
        return type(error).__name__


def left(rounds):
    """How many objects and open files there are after so many rounds, garbage included."""
    for _ in range(rounds):
        for scenario in KINDS:
            explore(scenario)
    return len(gc.get_objects()), len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0


@pytest.fixture
def no_automatic_collection():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.long
def test_explorations_leave_no_objects_and_no_open_files_even_if_nobody_collects_garbage(no_automatic_collection):
    left(2)
    before = left(4)
    after = left(4)
    assert after[0] - before[0] < 200
    assert after[1] <= before[1]
    assert not gc.isenabled()


@pytest.mark.parametrize("scenario", [locked, misused])
def test_a_kernel_is_gone_when_its_exploration_is_over_without_a_collection(scenario, no_automatic_collection):
    from simharness.engine.kernel import Kernel

    before = {id(thing) for thing in gc.get_objects() if type(thing) is Kernel}  # those of other tests
    explore(scenario)
    assert not [thing for thing in gc.get_objects() if type(thing) is Kernel and id(thing) not in before]


def test_what_the_code_under_test_leaves_in_circles_is_collected_at_the_end_of_the_exploration(no_automatic_collection):
    class Circle:
        ended: list[int] = []  # noqa: RUF012

        def __init__(self):
            self.me = self

        def __del__(self):
            self.ended.append(1)

    def scenario(world):
        world.actor("a", Circle)

    simharness.explore(scenario)
    assert Circle.ended


def test_a_cell_that_is_used_after_its_exploration_is_misuse():
    kept = []

    def scenario(world):
        kept.append(world.shared(0, "c"))
        world.actor("a", kept[-1].add, 1)

    simharness.explore(scenario)
    with pytest.raises(simharness.Misuse, match="after the exploration that it belongs to"):
        kept[-1].get()


@pytest.mark.long
def test_a_thousand_explorations_leave_what_ten_leave():
    left(2)
    before = left(2)
    after = left(198)
    assert after[0] - before[0] < 500
    assert after[1] <= before[1]


MARKED = """
import gc, threading, pytest

SEEN = []

@pytest.mark.parametrize("number", range(30))
@pytest.mark.interleave
def test_counted(number):
    lock, box = threading.Lock(), [0]
    def work():
        with lock:
            box[0] += 1
    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert box[0] == 2

def test_nothing_has_grown():
    from simharness.engine.kernel import Kernel
    assert len([thing for thing in gc.get_objects() if type(thing) is Kernel]) <= 1
    assert len([thing for thing in gc.get_objects() if type(thing) is threading.Thread]) <= 4
"""


def test_marked_tests_leave_no_threads_and_no_kernels(tmp_path):
    (tmp_path / "test_marked.py").write_text("import gc; gc.disable()\n" + MARKED)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path)
    assert "31 passed" in done.stdout, done.stdout
