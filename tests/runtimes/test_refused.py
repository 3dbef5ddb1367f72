"""What no runtime controls raises an error that names it in a simulation, and works as always outside."""

from __future__ import annotations

import _thread
import asyncio
import concurrent.futures
import gc
import multiprocessing
import multiprocessing.pool
import os
import select
import selectors
import signal
import socket
import subprocess
import sys
from subprocess import run as bound_run

import pytest

import simharness
from simharness.engine.kernel import Kernel
from simharness.runtimes import refused
from simharness.runtimes.patching import Patches


async def nothing():
    """A coroutine."""


def selector():
    with selectors.DefaultSelector() as made:
        made.select(0)


# Lambdas, so that what is called is looked up in the simulation.
CALLS = {
    "BaseProcess.start": lambda: multiprocessing.Process(target=print).start(),
    "Pool": lambda: multiprocessing.Pool(1),
    "SpawnProcess": lambda: multiprocessing.get_context("spawn").Process(target=print).start(),
    "Lock": lambda: multiprocessing.Lock(),  # noqa: PLW0108
    "ProcessPoolExecutor": lambda: concurrent.futures.ProcessPoolExecutor(1),
    "subprocess.Popen": lambda: subprocess.Popen(["true"]),
    "subprocess.run": lambda: subprocess.run(["true"], check=True),
    "subprocess.check_output": lambda: subprocess.check_output(["true"]),
    "bound subprocess.run": lambda: bound_run(["true"], check=False),
    "os.system": lambda: os.system("true"),
    "os.popen": lambda: os.popen("true"),
    "os.fork": lambda: os.fork(),  # noqa: PLW0108
    "os.spawnv": lambda: os.spawnv(os.P_WAIT, "/bin/true", ["true"]),
    "os.posix_spawn": lambda: os.posix_spawn("/bin/true", ["true"], {}),
    "os.execv": lambda: os.execv("/bin/true", ["true"]),
    "os._exit": lambda: os._exit(3),
    "os.kill": lambda: os.kill(os.getpid(), signal.SIGTERM),
    "socket.socket": lambda: socket.socket(),  # noqa: PLW0108
    "socket.socketpair": lambda: socket.socketpair(),  # noqa: PLW0108
    "socket.create_connection": lambda: socket.create_connection(("127.0.0.1", 9)),
    "socket.getaddrinfo": lambda: socket.getaddrinfo("localhost", 80),
    "select.select": lambda: select.select([], [], [], 0),
    "DefaultSelector": selector,
    "signal.alarm": lambda: signal.alarm(1),
    "signal.setitimer": lambda: signal.setitimer(signal.ITIMER_REAL, 1),
    "signal.pause": lambda: signal.pause(),  # noqa: PLW0108
}


def explore(work):
    def scenario(world):
        world.actor("caller", work)
        world.actor("other", lambda: world.step("other"))

    return simharness.explore(scenario)


@pytest.fixture(scope="class")
def _refusals(kept):
    """The refusals alone, once for many executions: planning replacements costs more than an execution."""
    while kept:
        kept.pop().close()
    patches = Patches()
    refused.install(patches)
    patches.apply()
    yield
    patches.undo()


def execute(work):
    kernel = Kernel()
    kernel.run(lambda: kernel.add_actor("caller", work))


@pytest.mark.alone
@pytest.mark.usefixtures("_refusals")
class TestEachCall:
    @pytest.mark.parametrize("name", CALLS)
    def test_a_call_that_no_runtime_controls_is_refused_in_one_line_that_names_the_actor_and_the_place(self, name):
        with pytest.raises(simharness.Refused) as caught:
            execute(CALLS[name])
        message = str(caught.value)
        assert "test_refused.py:" in message
        assert "caller called" in message
        assert "\n" not in message
        gc.collect()

    @pytest.mark.parametrize(
        ("name", "named"),
        [
            ("subprocess.run", "subprocess.run"),
            ("os.popen", "os.popen"),
            ("os.spawnv", "os.spawnv"),
            ("socket.socket", "socket.socket"),
            ("os.fork", "os.fork"),
        ],
    )
    def test_the_message_names_the_function_that_the_user_called_and_not_what_lies_beneath(self, name, named):
        with pytest.raises(simharness.Refused, match=f"caller called {named}, which"):
            execute(CALLS[name])


def test_a_call_made_by_the_actor_without_any_code_of_the_users_is_refused_too():
    def scenario(world):
        world.actor("caller", subprocess.run, ["true"])

    with pytest.raises(simharness.Refused, match=r"subprocess\.run"):
        simharness.explore(scenario)


def test_a_refusal_that_is_caught_ends_the_exploration_nevertheless():
    def work():
        try:
            subprocess.run(["true"], check=False)
        except Exception:
            return

    with pytest.raises(simharness.Refused, match=r"subprocess\.run"):
        explore(work)


def test_a_refusal_in_set_up_is_refused():
    def scenario(world):
        world.actor("one", lambda: world.step("one"))
        os.system("true")

    with pytest.raises(simharness.Refused, match=r"os\.system"):
        simharness.explore(scenario)


@pytest.mark.alone
def test_a_socket_made_before_the_simulation_cannot_be_used_in_it():
    left, right = socket.socketpair()
    with left, right:
        with pytest.raises(simharness.Refused, match="recv"):
            explore(lambda: left.recv(1))
        right.send(b"x")
        assert left.recv(1) == b"x"


def test_asking_whether_a_process_lives_is_answered_for_virtual_processes():
    def scenario(world):
        def work():
            os.kill(os.getpid(), 0)
            try:
                os.kill(999_999_999, 0)
            except ProcessLookupError:
                world.outcome("gone")

        world.actor("one", work, process="mine")

    assert simharness.explore(scenario).outcomes == {"gone"}


def test_real_files_may_be_used(tmp_path):
    def work():
        (tmp_path / "file").write_text("text")
        with open(tmp_path / "file") as file:
            assert file.read() == "text"

    assert explore(work).verdict == "verified"


@pytest.mark.alone
def test_everything_works_as_always_outside_and_is_put_back_after_an_error():
    def identities():
        calls = [asyncio.run, asyncio.new_event_loop, os.system, os.fork, os.kill, select.select, signal.alarm]
        methods = [socket.socket.__init__, subprocess.Popen.__init__, multiprocessing.process.BaseProcess.start]
        others = [multiprocessing.pool.Pool.__init__, selectors.DefaultSelector.select, _thread.start_new_thread]
        return [*calls, *methods, *others, asyncio.BaseEventLoop.run_forever]

    before = identities()
    with pytest.raises(simharness.Refused):
        explore(lambda: os.system("true"))
    assert all(a is b for a, b in zip(before, identities(), strict=True))
    assert "connect" not in vars(socket.socket)
    assert os.system("true") == 0
    assert subprocess.run([sys.executable, "-c", ""], check=True).returncode == 0
    assert asyncio.run(nothing()) is None


@pytest.mark.alone
def test_names_bound_during_a_simulation_work_outside_it():
    kept = []
    explore(lambda: kept.append((os.system, subprocess.Popen, select.select)))
    system, popen, wait = kept[0]
    assert system("true") == 0
    with popen(["true"]) as process:
        assert process.wait() == 0
    assert wait([], [], [], 0) == ([], [], [])


def test_a_refusal_says_what_to_do_instead():
    with pytest.raises(simharness.Refused, match=r"world\.actor"):
        explore(lambda: os.system("true"))
