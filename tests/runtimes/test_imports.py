"""Imports inside a simulation are no part of an execution."""

from __future__ import annotations

import importlib
import sys
import threading
import time

import pytest

import simharness
from simharness import Verdict


@pytest.fixture
def lately(tmp_path, monkeypatch):
    """A module that has not been imported, which makes a lock, uses it, and looks at the clock."""
    (tmp_path / "simharness_lately.py").write_text(
        "import threading, time\nlock = threading.Lock()\nwith lock:\n    imported_at = time.time()\n", encoding="utf-8"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("simharness_lately", None)


def explored(imported):
    found = set()

    def work():
        module = imported()
        found.add(module.imported_at)
        with module.lock:
            pass

    def program():
        threads = [threading.Thread(target=work, name=name) for name in ("a", "b")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    result = simharness.explore(program)
    assert result.verdict is Verdict.VERIFIED
    assert result.executions == 2
    return found


def statement():
    import simharness_lately

    return simharness_lately


@pytest.mark.parametrize("imported", [statement, lambda: importlib.import_module("simharness_lately")])
def test_a_module_that_threads_import_first_makes_no_steps_and_its_lock_is_one_that_was_there_before(lately, imported):
    before = time.time()
    [moment] = explored(imported)
    assert before <= moment <= time.time()
