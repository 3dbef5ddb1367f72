"""Random programs with state that outlives executions: two actors, each with a few of the actions of `kept_state.py`."""

import random

import simharness
from simharness.settings import Settings
from tests import kept_state

MOST = 24


def program(seed):
    """Return a scenario function; its outcomes are what the actors were given and the state at the end."""
    draw = random.Random(seed)
    actions = draw.sample(kept_state.ACTIONS, draw.choice((1, 1, 2, 2, 3)))
    before, *works = ([draw.choice(actions) for _ in range(draw.choice(lengths))] for lengths in ((0, 0, 1), (1, 2), (1, 2)))
    is_failing = draw.random() < 0.3

    def scenario(world):
        got = {}

        def do(name, chosen):
            got[name] = [plain(action()) for action in chosen]

        do("set-up", before)
        for name, chosen in zip("ab", works, strict=True):
            world.actor(name, do, name, chosen)

        @world.at_end
        def said():
            world.outcome(repr(sorted(got.items())) + kept_state.shown())
            if is_failing:
                assert got.get("a") == got.get("b")

    return scenario


def plain(value):
    return value if isinstance(value, int | str | tuple | type(None)) else type(value).__name__


def explored(seed, isolation, strategy="dpor"):
    """Explore a program; return what must not depend on how executions are kept apart."""
    settings = Settings(instrument=("tests.kept_state",), isolation=isolation, max_executions=MOST, shrink=0)
    result = simharness.explore(program(seed), strategy, stop_on_first=False, settings=settings)
    failure = result.counterexample and result.counterexample.failure
    return str(result.verdict), result.executions, failure, sorted(result.outcomes)
