"""Workers on a cluster of Dask's: a real scheduler with two workers, one of which is killed, comes to what one process comes to."""

import importlib.util
import os
import signal
import subprocess
import sys

import pytest

import simharness
from simharness import Misuse, Settings
from simharness.exploring.parallel import crew
from simharness.exploring.parallel.cluster import Cluster
from tests.parallel_kit import explored

there = pytest.mark.skipif(importlib.util.find_spec("distributed") is None, reason="distributed is not installed")

SCENARIO = """
import simharness

@simharness.scenario
def adders(world):
    total = world.shared(0, "total")
    seen = {name: [] for name in "ab"}
    for name in "ab":
        world.actor(name, lambda name=name: [seen[name].append(total.add(1)) for _ in range(6)])

    @world.at_end
    def never():
        assert seen["a"] != BAD
"""
SCHEDULER = """
import sys
from distributed import LocalCluster
if __name__ == "__main__":
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50) as cluster:
        print(cluster.scheduler_address, *(worker.pid for worker in cluster.workers.values()), flush=True)
        sys.stdin.read()
"""


@pytest.fixture
def scheduler(tmp_path):
    """The address of a scheduler and the processes of its two workers."""
    file = tmp_path / "scheduler.py"
    file.write_text(SCHEDULER, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        address, *workers = process.stdout.readline().split()
        yield address, list(map(int, workers))
        process.stdin.close()


def loaded(folder, bad=None):
    file = folder / f"adding_{'bad' if bad else 'good'}.py"
    file.write_text(SCENARIO.replace("BAD", repr(bad)), encoding="utf-8")
    return simharness.load(f"{file}::adders")[0]


@there
@pytest.mark.alone
@pytest.mark.long
def test_a_cluster_comes_to_what_one_process_comes_to_though_a_worker_is_killed(scheduler, tmp_path, monkeypatch):
    address, workers = scheduler
    monkeypatch.setattr(crew, "ALONE", -1.0)
    monkeypatch.setattr(crew, "SLICE", 0.1)
    answered, pieces = [], Cluster.pieces

    def with_a_death(self, seconds):
        for piece in pieces(self, seconds):
            answered.append(piece)
            if len(answered) == 2:
                os.kill(workers[0], signal.SIGKILL)
            yield piece

    monkeypatch.setattr(Cluster, "pieces", with_a_death)
    scenario = loaded(tmp_path)
    assert explored(scenario, 1, "dpor", cluster=address) == explored(scenario, 1, "dpor")
    assert len(answered) > 2
    failing = loaded(tmp_path, [3, 4, 6, 7, 9, 11])
    alone = explored(failing, 1, "dpor")
    assert "violated" in alone
    assert explored(failing, 1, "dpor", cluster=address) == alone


@there
def test_what_a_cluster_cannot_do_is_said_in_one_line(tmp_path):
    with pytest.raises(Misuse, match="its workers have to load <lambda>, which is in no file"):
        simharness.explore(lambda: None, settings=Settings(cluster="local"))


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(Misuse, match=r"python -m pip install 'simharness\[cluster\]'"):
        simharness.explore(lambda: None, settings=Settings(cluster="local"))
