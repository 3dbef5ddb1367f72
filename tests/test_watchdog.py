"""The watchdog: an exploration that cannot move on ends with a message instead of hanging. The only tests that use real time."""

from __future__ import annotations

import _thread
import ctypes
import fcntl
import os
import signal
import sqlite3
import sys
import tempfile
import threading
import time
from typing import Any

import pytest

import simharness
from simharness.engine.kernel import Kernel
from simharness.errors import Stuck
from simharness.simulation.watchdog import Watchdog

LIBC = ctypes.CDLL(None)
"""The C library, whose calls no runtime sees, and during which the interpreter is not locked."""
_SOURCE = """
class FileLock:
    def __init__(self, file):
        self.file, self.held = file, []
        self.free = [os.open(file.name, os.O_RDWR) for _ in range(9)]
    def acquire(self):
        while LIBC.flock(self.free[-1], fcntl.LOCK_EX):  # until no signal interrupts it
            pass
        self.held.append(self.free.pop())
    def release(self):
        LIBC.flock(self.held[-1], fcntl.LOCK_UN)
        self.free.append(self.held.pop())
    def locked(self):
        return bool(self.held)
    def __enter__(self):
        self.acquire()
    def __exit__(self, *_):
        self.release()
"""
_SPACE: dict[str, Any] = {"fcntl": fcntl, "os": os, "LIBC": LIBC}
exec(compile(_SOURCE, "<a library>", "exec"), _SPACE)
LOCKS = [_SPACE["FileLock"](tempfile.NamedTemporaryFile())]  # noqa: SIM115  # open as long as the tests run
"""A real lock, of a file, that no runtime controls."""
SECONDS = 0.3


def explore(scenario):
    """Explore under a short watchdog; return the message with which it ends, and the real seconds it took."""
    began = time.monotonic()
    with pytest.raises(simharness.Misuse) as caught:
        simharness.explore(scenario, settings=simharness.Settings(watchdog=SECONDS))
    assert "\n" not in str(caught.value)
    assert time.monotonic() - began < 10 * SECONDS
    return str(caught.value)


@pytest.fixture(autouse=True)
def _free_lock():
    yield
    assert not LOCKS[0].locked()
    assert signal.getsignal(signal.SIGUSR2) == signal.SIG_DFL


def test_a_real_lock_held_across_a_scheduling_point_ends_the_exploration_with_the_line_and_the_actor():
    def scenario(world):
        def work():
            with LOCKS[0]:
                world.step("inside")

        world.actor("one", work)
        world.actor("two", work)

    message = explore(scenario)
    assert message.startswith("two is stuck at ")
    assert "test_watchdog.py:" in message
    assert "`with LOCKS[0]:`" in message
    assert "one is at" in message
    assert "make the lock inside the scenario" in message


def test_a_loop_without_a_scheduling_point_ends_the_exploration():
    def scenario(world):
        def spin():
            while True:
                pass

        world.actor("spinner", spin)

    message = explore(scenario)
    assert message.startswith("spinner is stuck at ")
    assert " in spin" in message


def test_a_set_up_that_hangs_ends_the_exploration():
    def scenario(world):
        world.actor("one", lambda: world.step("one"))
        with LOCKS[0]:
            LOCKS[0].acquire()

    assert "`LOCKS[0].acquire()`" in explore(scenario)


def test_a_check_that_hangs_ends_the_exploration():
    def scenario(world):
        world.actor("one", lambda: world.step("one"))

        @world.at_end
        def check():
            with LOCKS[0]:
                LOCKS[0].acquire()

    assert "`LOCKS[0].acquire()`" in explore(scenario)


def test_code_that_catches_everything_ends_at_its_next_step():
    def scenario(world):
        def stubborn():
            with LOCKS[0]:
                try:
                    LOCKS[0].acquire()
                except BaseException:
                    world.step("goes on")
            raise AssertionError("never reached")

        world.actor("stubborn", stubborn)
        world.actor("other", lambda: world.step("other"))

    assert explore(scenario).startswith("stubborn is stuck at ")


def test_code_that_catches_everything_and_blocks_again_is_ended_again():
    def scenario(world):
        def stubborn():
            with LOCKS[0]:
                for _ in range(3):
                    try:
                        LOCKS[0].acquire()
                    except BaseException:
                        continue

        world.actor("stubborn", stubborn)

    assert explore(scenario).startswith("stubborn is stuck at ")


def test_a_finally_block_that_hangs_while_an_execution_is_buried_ends_too():
    def scenario(world):
        never = world.shared(0, "never")

        def hangs():
            try:
                never.wait_until(lambda value: value == 1)
            finally:
                with LOCKS[0]:
                    LOCKS[0].acquire()

        world.actor("hangs", hangs)

    assert "hangs is stuck at " in explore(scenario)


def test_an_exploration_in_another_os_thread_is_ended_and_says_so_on_stderr(capfd):
    caught = []

    def scenario(world):
        def spin():
            while True:
                pass

        world.actor("spinner", spin)

    def other():
        try:
            simharness.explore(scenario, settings=simharness.Settings(watchdog=SECONDS))
        except simharness.Misuse as error:
            caught.append(str(error))

    thread = threading.Thread(target=other, daemon=True)
    thread.start()
    thread.join(20)
    assert caught[0].startswith("spinner is stuck at ")
    assert "spinner is stuck at " in capfd.readouterr().err


def test_a_simulation_that_moves_is_left_alone_however_long_it_takes():
    busy = time.monotonic

    def scenario(world):
        def work():
            for _ in range(6):
                end = _real(busy)() + SECONDS / 4
                while _real(busy)() < end:
                    pass
                world.step("moves")

        world.actor("worker", work)

    settings = simharness.Settings(watchdog=SECONDS, max_executions=1)
    assert simharness.explore(scenario, settings=settings).executions == 1


def _real(function):
    import simharness.runtimes.time as runtime

    return {"virtual_monotonic": runtime._monotonic}.get(function.__name__, function)


def test_a_signal_that_the_user_handles_is_left_to_him():
    hits = []
    before = signal.signal(signal.SIGUSR2, lambda *_: hits.append(1))
    try:

        def scenario(world):
            with LOCKS[0]:
                LOCKS[0].acquire()

        explore(scenario)
        assert not hits
        assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL
    finally:
        signal.signal(signal.SIGUSR2, before)


def test_what_is_raised_says_who_where_and_on_which_line():
    kernel = Kernel()

    def prepare():
        with LOCKS[0]:
            LOCKS[0].acquire()

    with pytest.raises(Stuck) as caught, Watchdog(kernel, SECONDS):
        kernel.run(prepare)
    error = caught.value
    assert (error.actor, error.place.function, error.line) == ("MainThread", "prepare", "LOCKS[0].acquire()")


def test_entering_and_leaving_takes_no_time_and_leaves_no_thread():
    before = _thread._count()
    began = time.monotonic()
    for _ in range(20):
        with Watchdog(Kernel(), 60.0):
            pass
    assert time.monotonic() - began < 1
    assert _thread._count() <= before + 1


def test_no_watching_when_the_time_is_zero():
    before = _thread._count()
    with Watchdog(Kernel(), 0):
        assert _thread._count() == before


def test_a_statement_of_sqlite_that_does_not_end_is_interrupted():
    def scenario(world):
        def counts():
            base = sqlite3.connect(":memory:")
            base.execute("WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n").fetchall()

        world.actor("counter", counts)

    message = explore(scenario)
    assert message.startswith("counter is stuck at ")
    assert "in counts" in message


class Endless(Exception):
    def __str__(self):  # noqa: PLE0307
        while True:
            pass


def test_the_text_of_an_exception_that_does_not_end_is_named():
    def scenario(world):
        def raises():
            raise Endless

        world.actor("one", raises)

    message = explore(scenario)
    assert message.startswith("the exploration is stuck at ")
    assert "in __str__" in message


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_finaliser_that_does_not_end_is_named():
    class Circle:
        def __init__(self):
            self.me = self

        def __del__(self):
            while True:
                pass

    def scenario(world):
        world.actor("one", lambda: Circle() and None)

    message = explore(scenario)
    assert message.startswith("the exploration is stuck at ")
    assert "in __del__" in message


def test_an_import_that_does_not_end_is_named(tmp_path, monkeypatch):
    (tmp_path / "imports_endlessly.py").write_text("while True:\n    pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))

    def scenario(world):
        def work():
            import imports_endlessly  # noqa: F401

        world.actor("importer", work)

    message = explore(scenario)
    assert message.startswith("importer is stuck at ")
    assert "imports_endlessly.py:" in message


def test_an_import_of_many_modules_that_takes_long_is_left_alone(tmp_path, monkeypatch):
    parts = [f"imports_many_{number}" for number in range(12)]
    for part in parts:
        (tmp_path / f"{part}.py").write_text("sum(range(1_500_000))\n")
    (tmp_path / "imports_many.py").write_text("".join(f"import {part}\n" for part in parts))
    monkeypatch.syspath_prepend(str(tmp_path))

    def scenario(world):
        def work():
            import imports_many  # noqa: F401

        world.actor("importer", work)

    result = simharness.explore(scenario, settings=simharness.Settings(watchdog=SECONDS))
    assert result.verdict is not simharness.Verdict.VIOLATED, result.bounds
    assert result.executions == 1, result.bounds


def test_the_harness_is_not_stuck_while_it_computes_something_itself():
    from simharness.simulation.watchdog import _entered

    def scenario(world):
        frames.append(_entered(sys._getframe()))
        world.actor("one", world.step, "x")

    frames = []
    simharness.explore(scenario)
    assert frames[0].f_code.co_name == "scenario"
    assert _entered(sys._getframe()) is None  # nothing of the harness's has called this


class Silent(Exception):
    def __str__(self):
        raise ValueError("no text")

    __repr__ = __str__


def test_an_exception_whose_text_raises_is_shown_as_such():
    def scenario(world):
        cell = world.shared(0, "c")

        def raises():
            cell.set(Silent())
            raise Silent

        world.actor("one", raises)

    result = simharness.explore(scenario)
    assert "one raised Silent: <its __str__ raises ValueError>" in result.counterexample.failure
    assert "its __repr__ raises ValueError" in result.counterexample.timeline


def test_an_exception_whose_text_raises_is_shown_as_such_in_set_up_and_in_a_check():
    def set_up(world):
        raise Silent

    def check(world):
        world.actor("one", world.step, "x")

        @world.at_end
        def broken():
            raise Silent

    for scenario in (set_up, check):
        with pytest.raises(simharness.Misuse, match=r"raised Silent.*its __str__ raises ValueError"):
            simharness.explore(scenario)
