"""A first scenario, small enough to count its orderings by hand.

A session store in miniature: one cell that says whether the session has ended, one that counts its children. Two
contenders compress the session. Each checks whether it has ended (1), ends it (2) and makes a child (3).

`unguarded`: checking and ending are two steps, so both contenders can find the session open. `guarded`: a
compare-and-set looks and ends in one step, so one of them must lose.

Counting `guarded`: the two compare-and-sets conflict, so either `first` wins or `second` does; the loser makes no
further step, so there are 2 orderings. Counting `unguarded` is a good exercise: `simharness explore
scenarios/tutorial.py --all` says how many there are.
"""

import simharness


def _contend(world, claim):
    ended = world.shared(False, "ended")
    children = world.shared(0, "children")

    def compress():
        if claim(ended):
            children.add(1)

    world.actor("first", compress)
    world.actor("second", compress)

    @world.at_end
    def one_compression_child():
        world.outcome(children.get())
        assert children.get() == 1, f"the session has {children.get()} compression children"


@simharness.scenario
def guarded(world):
    """Looking and ending are one step."""
    _contend(world, lambda ended: ended.compare_and_set(False, True))


@simharness.scenario(expect="violated")
def unguarded(world):
    """Looking and ending are two steps, and somebody else's steps fit between."""

    def claim(ended):
        if ended.get():
            return False
        ended.set(True)
        return True

    _contend(world, claim)
