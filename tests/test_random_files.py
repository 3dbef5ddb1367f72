"""Files: what exploring comes to, against every order of the real calls on a real folder, and against real processes that are killed."""

import os
import subprocess
import sys

import pytest
from process_files import PROGRAMS, outcomes_of_processes
from process_files import scenario as scenario_of_processes
from random_files import Program, outcomes_really, scenario

import simharness
from simharness.runtimes import control


@pytest.fixture(scope="module", autouse=True)
def installed():
    with control.installed():
        yield


def check(seed, most):
    program = Program(seed)
    really = outcomes_really(program, most)
    if really is not None:
        result = simharness.explore(scenario(program), strategy="dpor")
        assert (result.verdict, set(result.outcomes)) == ("verified", really), program


@pytest.mark.parametrize("seed", range(12))
def test_random_programs_of_system_calls_come_to_what_real_calls_come_to(seed):
    for number in range(5):
        check(100 * seed + number, 60)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(30))
def test_many_random_programs_of_system_calls_come_to_what_real_calls_come_to(seed):
    for number in range(20):
        check(10_000 + 100 * seed + number, 600)


def against_processes(program, kills):
    faults = f"crash={kills}" if kills else None
    result = simharness.explore(scenario_of_processes(program), strategy="dpor", faults=faults)
    assert (result.verdict, set(result.outcomes)) == ("verified", outcomes_of_processes(program, kills)), program


@pytest.mark.parametrize(("number", "kills"), [(0, 1), (2, 0), (5, 1)])
def test_processes_that_share_files_come_to_what_real_ones_come_to(number, kills):
    against_processes(PROGRAMS[number], kills)


@pytest.mark.long
@pytest.mark.parametrize("kills", [0, 1])
@pytest.mark.parametrize("program", PROGRAMS, ids=repr)
def test_processes_that_are_killed_come_to_what_real_ones_come_to(program, kills):
    against_processes(program, kills)


def test_what_an_execution_does_outside_its_folders_is_put_back(tmp_path, monkeypatch):
    kept, gone, made, folder = (str(tmp_path / name) for name in ("kept", "gone", "made", "folder"))
    for path in (kept, gone):
        with open(path, "w") as file:
            file.write("before")
    os.mkdir(folder)
    os.chmod(kept, 0o640)
    status = os.stat(kept)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SIMHARNESS_KEPT", "before")
    monkeypatch.delenv("SIMHARNESS_MADE", raising=False)

    def program(world):
        def change(name):
            with open("kept", "a") as file:
                file.write(name)
            if os.path.exists(gone):
                os.rename(gone, made)
            with open(os.path.join(folder, name), "w") as file:
                file.write(name)
            os.environ["SIMHARNESS_KEPT"] = name
            os.environ["SIMHARNESS_MADE"] = name
            os.chdir(folder)
            os.umask(0o077)

        world.actor("a", change, "a")

        @world.at_end
        def as_if_it_were_the_first():
            with open(kept) as file:
                assert file.read() == "beforea"
            assert sorted(os.listdir(folder)) == ["a"]
            assert os.path.exists(made)

    mask = os.umask(0)
    os.umask(mask)
    assert simharness.explore(program).verdict == "verified"
    assert sorted(os.listdir(tmp_path)) == ["folder", "gone", "kept"]
    assert os.listdir(folder) == []
    with open(kept) as file:
        assert file.read() == "before"
    after = os.stat(kept)
    assert (after.st_mode, after.st_mtime_ns, after.st_ino) == (status.st_mode, status.st_mtime_ns, status.st_ino)
    assert os.getcwd() == os.path.realpath(tmp_path)
    assert os.environ["SIMHARNESS_KEPT"] == "before"
    assert "SIMHARNESS_MADE" not in os.environ
    assert os.umask(mask) == mask


def test_a_race_outside_the_worlds_folder_is_found_in_fresh_files_each_time(tmp_path):
    path = str(tmp_path / "counter")
    with open(path, "w") as file:
        file.write("0")

    def program(world):
        def bump():
            with open(path) as file:
                number = int(file.read())
            with open(f"{path}.{number}", "w") as file:
                file.write(str(number + 1))
            os.replace(f"{path}.{number}", path)

        world.actor("a", bump)
        world.actor("b", bump)

        @world.at_end
        def both():
            with open(path) as file:
                assert file.read() == "2"

    assert simharness.explore(program).verdict == "violated"
    assert os.listdir(tmp_path) == ["counter"]


def test_executions_leave_no_descriptors_open():
    def program(world):
        def leave_open():
            os.open(world.path("a"), os.O_CREAT | os.O_RDWR)
            for _ in range(3):
                world.step("other")

        world.actor("a", leave_open)
        world.actor("b", leave_open)

    before = len(os.listdir("/proc/self/fd"))
    assert simharness.explore(program, strategy="exhaustive").executions >= 20
    assert len(os.listdir("/proc/self/fd")) <= before + 2


def test_files_that_actors_only_read_or_have_alone_cost_no_orderings(tmp_path):
    template = str(tmp_path / "template")
    with open(template, "w") as file:
        file.write("text")

    def program(world):
        def fill(name):
            with open(template) as file:
                text = file.read()
            with open(world.path(name), "w") as file:
                file.write(text + name)
            assert os.path.getsize(world.path(name)) == 5
            os.unlink(world.path(name))

        world.actor("a", fill, "a")
        world.actor("b", fill, "b")

    assert simharness.explore(program).executions == 1


def test_database_files_that_actors_use_themselves_are_named():
    import sqlite3

    def program(world):
        path = world.path("x.db")
        sqlite3.connect(path).execute("CREATE TABLE t (n)").connection.close()

        def writes():
            db = sqlite3.connect(path, isolation_level=None)
            db.execute("INSERT INTO t VALUES (1)")
            db.close()

        def reads():
            with open(path, "rb") as file:
                assert file.read(6) == b"SQLite"

        world.actor("a", writes)
        world.actor("b", reads)

    result = simharness.explore(program)
    assert result.verdict == "verified"
    assert any("x.db" in remark for remark in result.remarks)


COUNTING = """
import os
import subprocess
import sys
import threading

import simharness


@simharness.scenario(number=[1, 2, 3, 4])
def counts(world, number):
    lock = threading.Lock()

    def bump():
        for _ in range(number):
            with lock:
                found = 0
                if os.path.exists("left"):
                    with open("left") as file:
                        found = int(file.read())
                with open("left", "w") as file:
                    file.write(str(found + 1))

    world.actor("a", bump)
    world.actor("b", bump)

    @world.at_end
    def all_counted():
        with open("left") as file:
            assert file.read() == str(2 * number)
"""


def test_processes_that_explore_at_once_take_turns_at_files_outside(tmp_path):
    (tmp_path / "counting.py").write_text(COUNTING)
    command = [sys.executable, "-m", "simharness", "explore", "counting.py", "--workers", "2", "--no-timelines"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not (tmp_path / "left").exists()
