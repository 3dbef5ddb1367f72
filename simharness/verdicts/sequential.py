"""The names of a failure, and whether it takes a race: an exception that is raised although the actors take turns takes none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice, permutations

from simharness.engine.actors import SHIFT, Failure
from simharness.engine.kernel import Kernel
from simharness.places import last_place
from simharness.simulation.execution import Found
from simharness.simulation.simulation import Simulation

MOST = 6
"""How many sequential orderings are run at most."""


def names_of(failure: Failure) -> tuple[str, ...]:
    """Return the names by which `expect="violated: NAME"` may call a failure."""
    error = failure.error
    if isinstance(error, Found):
        return error.names
    classes = [cls.__name__ for cls in type(error).__mro__ if cls not in (Exception, BaseException, object)]
    return tuple(name for name in (failure.check, failure.actor, *classes) if name)


def fails_in_sequence(simulation: Simulation, failure: Failure) -> bool:
    """Whether each sequential ordering raises this exception at this line, too, where the author expects a violation and names none.

    Assertions, checks and deadlocks are what authors mean by a violation, so they are not examined.
    """
    error = failure.error
    if isinstance(error, AssertionError | Found) or failure.check is not None:
        return False
    if simulation.scenario.expected(simulation.parameters) != "violated":
        return False
    wanted = type(error), last_place(error)
    first = [actor.index for actor in simulation.kernel.cast.actors.values()][:3]
    try:
        with simulation.kernel.learned.unchanged():
            for order in islice(permutations(first), MOST):
                simulation.execute((), _by_turns(simulation.kernel, order))
                raised = [actor.failure for actor in simulation.kernel.cast.actors.values() if actor.failure is not None]
                if wanted not in [(type(again), last_place(again)) for again in raised]:
                    return False
    except Exception:  # whatever it is, the counterexample stays
        return False
    return True


def _by_turns(kernel: Kernel, order: Sequence[int]) -> Callable[[list[int]], int]:
    """Let each actor move until it ends or waits; those in `order` are preferred."""

    def rank(key: int) -> tuple[bool, bool, int]:
        index = key >> SHIFT
        current = kernel.actor is not None and kernel.actor.index == index
        return index not in kernel.cast.actors, not current, order.index(index) if index in order else len(order)

    return lambda enabled: min(enabled, key=rank)
