"""Explores one scenario by both exhaustive strategies and holds them against each other."""

import simharness


def explore(target, **options):
    """Explore by reduction, check it against brute force, return the reduction's result."""
    options.setdefault("stop_on_first", False)
    scenario = simharness.scenario(**{key: options.pop(key) for key in ("allow_deadlock", "max_delay") if key in options})(target)
    reduced = simharness.explore(scenario, strategy="dpor", **options)
    brute = simharness.explore(scenario, strategy="exhaustive", **options)
    assert reduced.outcomes == brute.outcomes
    assert reduced.redundant == 0
    assert reduced.executions <= brute.executions
    assert reduced.verdict == brute.verdict
    assert bool(reduced.deadlocks) == bool(brute.deadlocks)
    return reduced


def actors(world, *works):
    """Declare an actor for each function, called after it."""
    for work in works:
        world.actor(work.__name__, work)
