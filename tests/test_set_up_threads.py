"""Actors that are declared after set-up has started a thread: every ordering of them, of the thread and of the rest of set-up."""

from __future__ import annotations

import random
import threading

import pytest

import simharness
from simharness import Settings, Verdict
from simharness.errors import Misuse


def random_program(seed):
    """Return a scenario: set-up starts threads, some daemons, between declarations of actors, all on a few cells."""
    draw = random.Random(seed)
    plan = []
    for number in range(draw.randrange(2, 4)):
        moves = [(draw.choice(["get", "set", "add"]), draw.randrange(2)) for _ in range(draw.randrange(1, 3))]
        plan.append((draw.choice(["actor", "actor", "thread", "daemon"]), f"w{number}", moves))
    plan.append(("actor", "last", [("add", 0)]))
    plan.insert(0, ("daemon", "first", [(draw.choice(["set", "add"]), draw.randrange(2))]))
    rest = [(draw.choice(["get", "add"]), draw.randrange(2)) for _ in range(draw.randrange(2))]

    def scenario(world):
        cells = [world.shared(0, name) for name in "xy"]
        seen = []

        def work(name, moves):
            for number, (move, which) in enumerate(moves):
                if move == "get":
                    seen.append((name, number, cells[which].get()))
                elif move == "set":
                    cells[which].set(name)
                else:
                    cells[which].set((cells[which].get(), name))

        for kind, name, moves in plan:
            if kind == "actor":
                world.actor(name, work, name, moves)
            else:
                threading.Thread(target=work, args=(name, moves), name=name, daemon=kind == "daemon").start()
        work("set-up", rest)

        @world.at_end
        def note():
            world.outcome((tuple(sorted(map(repr, seen))), repr(cells[0].get()), repr(cells[1].get())))

    return scenario


def outcomes(scenario, strategy):
    result = simharness.explore(scenario, strategy=strategy, stop_on_first=False, settings=Settings(max_executions=1500))
    return result.outcomes, result.verdict


def check(seed):
    scenario = random_program(seed)
    brute, verdict = outcomes(scenario, "exhaustive")
    if verdict is Verdict.VERIFIED:
        assert outcomes(scenario, "dpor") == (brute, verdict), seed


@pytest.mark.parametrize("seed", range(5))
def test_reduction_finds_the_outcomes_of_brute_force(seed):
    check(seed)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(8, 108))
def test_reduction_finds_the_outcomes_of_brute_force_at_length(seed):
    check(seed)


def prewarmed(world, wait):
    ready = threading.Event()
    cache = world.shared(None, "cache")

    def warm():
        cache.set("warm")
        ready.set()

    def use():
        if wait:
            ready.wait()
        assert cache.get() == "warm"

    threading.Thread(target=warm, daemon=True).start()
    world.actor("a", use)
    world.actor("b", use)


def test_an_actor_that_relies_on_a_prewarmed_cache_fails_and_one_that_waits_for_it_does_not():
    assert simharness.explore(prewarmed, parameters={"wait": True}).verdict is Verdict.VERIFIED
    assert simharness.explore(prewarmed, parameters={"wait": False}).verdict is Verdict.VIOLATED


def crashing(world, early):
    cell = world.shared(0, "cell")
    if early:
        world.actor("b", lambda: cell.set(3), process="p")
    threading.Thread(target=lambda: None, daemon=True).start()
    world.actor("a", lambda: cell.set(1), process="p")
    world.on_restart("p", lambda: cell.set(2))

    @world.at_end
    def note():
        world.outcome(cell.get())


def test_a_crash_of_a_process_that_is_there_already_restarts_it():
    assert simharness.explore(crashing, parameters={"early": True}, faults="crash=1").outcomes >= {1, 2, 3}


def test_faults_strike_no_process_that_is_not_there_yet():
    with pytest.raises(Misuse, match="before set-up starts a thread"):
        simharness.explore(crashing, parameters={"early": False}, faults="crash=1")


def test_an_actor_declares_none():
    def scenario(world):
        world.actor("a", lambda: world.actor("b", lambda: None))

    with pytest.raises(Misuse, match="declare actors before"):
        simharness.explore(scenario)
