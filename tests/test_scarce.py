"""What a machine lacks is reported as such, and never as a violation, a difference between two runs or a bug; safe twins are violations."""

import errno
import os
import sqlite3

import pytest

import simharness
from simharness.engine import folders
from simharness.errors import Lacking, scarcity


def explored(work):
    def scenario(world):
        world.actor("a", work)
        world.actor("b", world.step, "x")

    return simharness.explore(scenario)


def test_too_little_memory_in_an_actor_is_lacking():
    with pytest.raises(Lacking, match=r"test_scarce.py:\d+: out of memory; this execution proves nothing"):
        explored(lambda: bytearray(10**15))


def test_a_database_that_is_full_is_lacking():
    def scenario(world):
        def fills():
            base = sqlite3.connect(":memory:", isolation_level=None)
            base.execute("CREATE TABLE t (n)")
            base.execute("PRAGMA max_page_count=2")
            base.execute("INSERT INTO t VALUES (zeroblob(100000))")

        world.actor("a", fills)
        world.actor("b", world.step, "x")

    with pytest.raises(Lacking, match="database or disk is full"):
        simharness.explore(scenario)


def test_what_the_machine_lacks_in_set_up_and_in_a_check_is_lacking():
    def set_up(world):
        bytearray(10**15)

    def check(world):
        world.actor("a", world.step, "x")

        @world.at_end
        def large():
            bytearray(10**15)

    for scenario in (set_up, check):
        with pytest.raises(Lacking, match="out of memory"):
            simharness.explore(scenario)


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), MemoryError(), RuntimeError("can't start new thread")])
def test_the_same_exception_raised_by_the_code_under_test_is_a_violation(error):
    def raises():
        raise error

    result = explored(raises)
    assert result.verdict == "violated"
    assert type(error).__name__ in result.counterexample.failure


def test_errors_that_a_program_makes_itself_are_not_the_machine_s():
    with pytest.raises(FileNotFoundError) as caught:
        os.stat("/no/such/file")
    assert scarcity(caught.value) is None
    with pytest.raises(sqlite3.OperationalError) as missing:
        sqlite3.connect("/no/such/folder/file.db").execute("SELECT 1")
    assert scarcity(missing.value) is None


def test_without_shared_memory_folders_are_made_elsewhere(monkeypatch, tmp_path):
    monkeypatch.setattr(folders, "MEMORY_FOLDER", str(tmp_path / "missing"))
    folder = folders.Folder()
    assert folder.path.startswith(folders._tempdir())
    folder.remove()


def test_a_folder_that_cannot_be_made_anywhere_is_lacking(monkeypatch):
    def refuses(path, mode):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(folders, "_mkdir", refuses)
    with pytest.raises(Lacking, match=r"no temporary folder can be made in .*: Read-only file system; TMPDIR can name another one"):
        folders.Folder()
