"""How the command line ends: by signals, crashes, C code that does not return, streams that nobody reads; what it leaves."""

import contextlib
import glob
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from simharness.engine import folders

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
SCENARIOS = """
import ctypes
import os
import re
import signal
import sqlite3

import simharness


@simharness.scenario(expect="violated")
def small(world):
    cell = world.shared(0, "c")
    def bump():
        cell.set(cell.get() + 1)
    world.actor("a", bump)
    world.actor("b", bump)
    @world.at_end
    def both():
        assert cell.get() == 2

@simharness.scenario(n=[1, 2, 3])
def endless(world, n):
    path = world.path("b.db")
    base = sqlite3.connect(path, isolation_level=None)
    base.execute("CREATE TABLE t (n INTEGER)")
    base.execute("INSERT INTO t VALUES (0)")
    def work():
        mine = sqlite3.connect(path, isolation_level=None)
        for _ in range(6):
            mine.execute("UPDATE t SET n = n + 1")
    for number in range(5):
        world.actor(f"w{number}", work)

@simharness.scenario
def crashes(world):
    world.actor("a", lambda: ctypes.string_at(0))

@simharness.scenario
def held(world):
    world.actor("a", lambda: re.match(r"(a+)+$", "a" * 40 + "b"))

@simharness.scenario
def killed_once(world):
    import pathlib
    mark = pathlib.Path(__file__).with_name("killed")
    if not mark.exists():
        mark.write_text("")
        os.kill(os.getpid(), 0)
        from simharness.runtimes import randomness, refused
        refused._kill(randomness._getpid(), signal.SIGKILL)
    small.function(world)

@simharness.scenario
def killed_always(world):
    from simharness.runtimes import randomness, refused
    refused._kill(randomness._getpid(), signal.SIGKILL)
"""
IMPORTED = """
import pathlib
pathlib.Path(__file__).with_name("imported").write_text("")
"""
MARK = "SIMHARNESS_TEST_MARK"


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "endings.py"
    path.write_text(SCENARIOS)
    return path


class Command:
    """A command line that runs; `left()` says what it has left behind."""

    def __init__(self, *arguments, pytest_too=False, preexec_fn=None, **options):
        def prepare():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_DFL)  # what runs the tests in the background may ignore them
            if preexec_fn is not None:
                preexec_fn()

        self.mark = f"{os.getpid()}-{random.random()}"
        self.folders = all_folders()
        command = [sys.executable, "-m", *([] if pytest_too else ["simharness"]), *map(str, arguments)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "100", MARK: self.mark}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
        self.process = subprocess.Popen(command, text=True, env=environment, start_new_session=True, preexec_fn=prepare, **pipes)  # noqa: PLW1509  # it only resets signals

    def end(self, number=None):
        """Send a signal, if it still runs; return (status, stdout, stderr)."""
        if number is not None and self.process.poll() is None:
            self.process.send_signal(number)
        try:
            output, errors = self.process.communicate(timeout=120)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.orphans()
            raise
        return self.process.returncode, output, errors

    def orphans(self):
        """Its processes that do not end; they are ended."""
        deadline = time.monotonic() + 20
        while (found := self.alive()) and time.monotonic() < deadline:
            time.sleep(0.02)
        for process in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        return found

    def alive(self):
        found = []
        for path in glob.glob("/proc/[0-9]*"):
            with contextlib.suppress(OSError):
                marked = f"{MARK}={self.mark}".encode() in Path(path, "environ").read_bytes()
                if marked and Path(path, "stat").read_text().rpartition(") ")[2][0] != "Z":
                    found.append(int(path.rpartition("/")[2]))
        return found

    def leaked(self):
        return sorted(left_folders() - self.folders)


def all_folders():
    """The temporary folders of all processes."""
    return {*glob.glob("/dev/shm/simharness-[0-9]*-*"), *glob.glob(f"{folders._tempdir()}/simharness-[0-9]*-*")}


def left_folders():
    """Those of processes that have ended."""
    return {path for path in all_folders() if not os.path.exists(f"/proc/{os.path.basename(path).split('-')[1]}")}


def when(command, ready):
    """Wait until a command has come so far."""
    deadline = time.monotonic() + 30
    while not ready() and command.process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)


def has_folder(command):
    def ready():
        return any(glob.glob(f"/dev/shm/simharness-{process}-*") for process in command.alive())

    return ready


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_signal_ends_an_exploration_with_what_it_has_and_status_3(file, tmp_path, number, workers):
    command = Command("explore", f"{file}::endless", "--workers", workers, "--json", tmp_path / "out.json")
    when(command, has_folder(command))
    status, output, errors = command.end(number)
    assert status == 3, errors
    assert "interrupted: 0 of 3 cases finished" in errors
    assert "Traceback" not in errors
    assert "endless" in output
    assert json.loads((tmp_path / "out.json").read_text())["interrupted"]
    assert command.orphans() == command.leaked() == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("arguments", [("step", "--lines"), ("list",)], ids=["step", "list"])
def test_a_signal_ends_the_other_commands_with_status_3(file, tmp_path, number, arguments):
    slow = tmp_path / "slow.py"
    slow.write_text(SCENARIOS + IMPORTED + ("\nimport time; time.sleep(60)\n" if arguments == ("list",) else ""))
    command = Command(arguments[0], f"{slow}::small", *arguments[1:], stdin=subprocess.PIPE)
    when(command, (tmp_path / "imported").exists)
    command.process.send_signal(number)
    status, _, errors = command.end()
    assert status == 3, errors
    assert "simharness: interrupted" in errors
    assert command.orphans() == []


def test_workers_end_with_a_parent_that_is_killed_and_the_next_run_removes_their_folders(file):
    command = Command("explore", f"{file}::endless", "--workers", 2)
    when(command, has_folder(command))
    command.end(signal.SIGKILL)
    assert command.orphans() == []
    assert Command("explore", f"{file}::small").end()[0] == 0
    assert command.leaked() == []


def test_folders_of_processes_that_live_are_left_alone():
    folder = folders.Folder()
    try:
        assert subprocess.run([sys.executable, "-c", "from simharness.engine.folders import sweep; sweep()"], check=True)
        assert os.path.isdir(folder.path)
    finally:
        folder.remove()
    assert not os.path.exists(folder.path)


def test_a_folder_that_another_process_has_locked_is_left_alone_even_if_its_process_does_not_show(monkeypatch):
    folder = folders.Folder()
    try:
        monkeypatch.setattr(folders, "_alive", lambda process: False)
        folders.sweep()
        assert os.path.isdir(folder.path)
    finally:
        folder.remove()


@pytest.mark.parametrize("close", ["stdout", "stderr"])
def test_a_closed_stream_is_quiet_and_the_status_is_that_of_the_result(file, close):
    number = {"stdout": 1, "stderr": 2}[close]
    status, _, errors = Command("explore", f"{file}::small", preexec_fn=lambda: os.close(number)).end()
    assert status == 0
    assert "Traceback" not in errors


def test_a_reader_that_goes_away_is_quiet_and_a_violation_is_still_status_1(file):
    wrong = file.read_text().replace('@simharness.scenario(expect="violated")\n', "@simharness.scenario\n")
    file.write_text(wrong)
    reading, writing = os.pipe()
    os.close(reading)
    status, _, errors = Command("explore", f"{file}::small", stdout=writing).end()
    os.close(writing)
    assert status == 1
    assert "Traceback" not in errors
    assert "BrokenPipe" not in errors


@pytest.mark.long
def test_a_full_pipe_that_nobody_empties_does_not_outlast_a_signal(file, tmp_path):
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with contextlib.suppress(BlockingIOError):
        while os.write(writing, b"x" * 65536):
            pass
    os.set_blocking(writing, True)
    file.write_text(SCENARIOS + IMPORTED)
    command = Command("explore", f"{file}::small", stdout=writing)
    when(command, (tmp_path / "imported").exists)
    assert command.end(signal.SIGTERM)[0] == 3
    os.close(reading)
    os.close(writing)
    assert command.orphans() == []


def test_a_full_disk_behind_stdout_is_named(file):
    with open("/dev/full", "w") as full:
        status, _, errors = Command("explore", f"{file}::small", stdout=full).end()
    assert status == 3
    assert "No space left on device" in errors
    assert "Traceback" not in errors


def test_a_crash_is_named_with_its_line(file):
    command = Command("explore", f"{file}::crashes")
    status, _, errors = command.end()
    assert status == 3
    assert "ended by SIGSEGV at " in errors
    assert "endings.py:37 in <lambda>" in errors
    assert command.leaked() == []


@pytest.mark.long
@pytest.mark.parametrize("options", [(), ("--workers", "2")])
def test_c_code_that_holds_the_interpreter_is_named_with_its_line_and_ended(file, options):
    status, _, errors = Command("explore", f"{file}::held", f"{file}::small", *options).end()
    assert status == 3
    assert "C code holds the interpreter at " in errors
    assert "in <lambda>" in errors


def test_a_worker_that_is_killed_from_outside_is_replaced_and_its_case_explored_again(file):
    status, output, errors = Command("explore", f"{file}::killed_once", f"{file}::small", "--workers", "2").end()
    assert "killed from outside" not in errors
    assert status == 1, errors  # `killed_once` is not expected to be violated
    assert "2 cases: 2 violated" in output


def test_a_worker_that_is_killed_again_is_reported_as_killed(file):
    status, _, errors = Command("explore", f"{file}::killed_always", f"{file}::small", "--workers", "2").end()
    assert status == 3
    assert "killed from outside, twice (SIGKILL)" in errors
    assert "bug in simharness" not in errors


MARKED = """
import sqlite3, threading, pytest

@pytest.mark.interleave
def test_endless(tmp_path):
    path = tmp_path / "b.db"
    def work():
        mine = sqlite3.connect(path, isolation_level=None)
        mine.execute("CREATE TABLE IF NOT EXISTS t (n)")
        for _ in range(6):
            mine.execute("INSERT INTO t VALUES (1)")
    threads = [threading.Thread(target=work) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
"""


HELD_IN_PYTEST = """
import re, threading, pytest

@pytest.mark.interleave
def test_held():
    seconds = threading.Thread(target=lambda: re.match(r"(a*)*b", "a" * 26))
    seconds.start()
    seconds.join()

def test_after():
    pass
"""


@pytest.mark.long
@pytest.mark.parametrize("aborts", [False, True])
def test_c_code_that_holds_the_interpreter_in_pytest_is_named_and_ends_the_run_only_with_the_option(tmp_path, aborts):
    (tmp_path / "test_held.py").write_text(HELD_IN_PYTEST)
    (tmp_path / "pytest.ini").write_text("[pytest]\ninterleave = watchdog=1\n")
    options = ["--interleave-abort"] if aborts else []
    command = Command("pytest", "-q", "-p", "no:cacheprovider", *options, tmp_path, pytest_too=True, cwd=tmp_path)
    status, output, errors = command.end()
    assert 'test_held.py", line 6' in errors, errors
    assert status == int(aborts)
    assert ("2 passed" in output) is not aborts
    assert command.orphans() == []


@pytest.mark.parametrize(("number", "wanted"), [(signal.SIGINT, 2), (signal.SIGTERM, -signal.SIGTERM), (signal.SIGHUP, -signal.SIGHUP)])
def test_pytest_ends_by_a_signal_as_without_simharness_and_leaves_no_folders(tmp_path, number, wanted):
    (tmp_path / "test_marked.py").write_text(MARKED)
    command = Command("pytest", "-q", "-p", "no:cacheprovider", "--rootdir", tmp_path, tmp_path, pytest_too=True, cwd=tmp_path)
    when(command, has_folder(command))
    assert command.end(number)[0] == wanted
    assert command.orphans() == command.leaked() == []


@pytest.mark.parametrize("descriptors", [8, 10])
def test_few_descriptors_are_reported_as_such(file, descriptors):
    limit = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))  # noqa: E731
    status, output, errors = Command("explore", f"{file}::endless", "--max-executions", 20, preexec_fn=limit).end()
    assert status == 3, output + errors
    assert "bug in simharness" not in errors
    assert "not deterministic" not in errors
    assert "descriptors" in errors or "Too many open files" in errors


# Kills at random moments


def random_end(draw, file, tmp_path, number):
    """Start one of the commands, end it at a random moment, and return what is wrong afterwards."""
    out = tmp_path / f"out{number}.json"
    (tmp_path / "test_marked.py").write_text(MARKED)
    kind, arguments = draw.choice(
        [
            ("explore", ("explore", f"{file}::endless", "--json", out)),
            ("workers", ("explore", f"{file}::endless", "--workers", 2, "--json", out)),
            ("small", ("explore", f"{file}::small", "--json", out)),
            ("replay", ("replay", f"{file}::small", "small::a1b2a1:18bd1f")),
            ("step", ("step", f"{file}::small", "--lines")),
            ("incident", ("incident", ROOT / "README.md", "--scenario", f"{ROOT}/scenarios/incident_fork.py::turns")),
            ("pytest", ("pytest", "-q", "-p", "no:cacheprovider", "--rootdir", tmp_path, tmp_path / "test_marked.py")),
        ]
    )
    sent = draw.choice([signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
    command = Command(*arguments, pytest_too=kind == "pytest", stdin=subprocess.PIPE, cwd=tmp_path)
    time.sleep(draw.uniform(0.1, 2.0))
    finished = command.process.poll() is not None
    status, _, errors = command.end(sent)
    wrong = []
    if command.orphans():
        wrong.append("orphans")
    if sent != signal.SIGKILL and command.leaked():
        wrong.append(f"leaked {command.leaked()}")
    if out.exists():
        try:
            json.loads(out.read_text())
        except ValueError:
            wrong.append("corrupt file")
    endless = kind in ("explore", "workers", "pytest")
    if endless and not finished and status in (0, 1):
        wrong.append(f"lost interrupt: status {status}: {errors[-300:]}")
    if "bug in simharness" in errors or "not deterministic" in errors:
        wrong.append(errors[-300:])
    return [f"{kind} {sent.name}: {text}" for text in wrong]


@pytest.mark.long
def test_ten_kills_at_random_moments_leave_nothing(file, tmp_path):
    draw = random.Random(1)
    assert [wrong for number in range(10) for wrong in random_end(draw, file, tmp_path, number)] == []


@pytest.mark.long
def test_two_hundred_kills_at_random_moments_leave_nothing(file, tmp_path):
    draw = random.Random(2)
    assert [wrong for number in range(200) for wrong in random_end(draw, file, tmp_path, number)] == []
