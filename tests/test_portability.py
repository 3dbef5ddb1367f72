"""Tokens across versions of Python: the same trace where nothing depends on the version, else a refusal that names both."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import simharness
from tests import portable

GOLDEN = Path(__file__).with_name("portable.json")
"""Tokens with their trace hashes; equal on every Python, under every hash seed, on every machine with SQLite."""
KNOWN = json.loads(GOLDEN.read_text(encoding="utf-8"))
HASHES = {name: told["hash"] for name, told in KNOWN.items()}


def others():
    """Other supported Pythons of this machine that have greenlet; more can be named in SIMHARNESS_PYTHONS, separated as PATH is."""
    named = filter(None, os.environ.get("SIMHARNESS_PYTHONS", "").split(os.pathsep))
    found = [*named, *filter(None, (shutil.which(f"python3.{minor}") for minor in range(11, 20)))]
    mine = Path(sys.executable).resolve()
    ask = [*("-W", "ignore", "-c"), "import greenlet, sys; sys.exit(sys.version_info < (3, 11))"]
    return [
        python
        for python in dict.fromkeys(found)
        if Path(python).resolve() != mine and subprocess.run([python, *ask], capture_output=True, check=False, timeout=30).returncode == 0
    ]


def test_every_portable_scenario_has_a_known_trace_hash():
    assert list(KNOWN) == [scenario.__name__ for scenario in portable.PORTABLE]


def test_replaying_known_tokens_gives_the_known_trace_hashes():
    assert portable.replayed(KNOWN) == HASHES


def test_replaying_known_tokens_gives_the_known_trace_hashes_under_another_hash_seed():
    assert replayed_by(sys.executable, PYTHONHASHSEED="77") == HASHES


@pytest.mark.parametrize("python", others() or [None])
def test_replaying_known_tokens_gives_the_known_trace_hashes_on_another_python(python):
    if python is None:
        pytest.skip("no other Python here has greenlet")
    assert replayed_by(python) == HASHES


def replayed_by(python, **environment):
    command = [python, str(Path(portable.__file__)), str(GOLDEN)]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False, timeout=60)
    assert not done.returncode, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("scenario", portable.PORTABLE)
def test_a_token_of_cells_locks_and_sqlite_carries_no_version(scenario):
    assert ":py3" not in simharness.explore(scenario).counterexample.token


@pytest.mark.parametrize("scenario", portable.VERSIONED)
def test_a_token_that_rests_on_the_version_carries_it_and_another_version_refuses_it_by_name(scenario):
    token = simharness.explore(scenario).counterexample.token
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert token.endswith(f":py{here}")
    assert simharness.replay(scenario, token).failure
    with pytest.raises(
        simharness.TokenError, match=rf"written under Python 3\.99 .* Python {here}, which is running now: replay it under Python 3\.99"
    ):
        simharness.replay(scenario, token.replace(f":py{here}", ":py3.99"))
