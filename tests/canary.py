"""A planted bug that is expected nowhere: exploring this file must fail, or the pipeline is dead."""

import simharness


@simharness.scenario
def lost_update(world):
    counter = world.shared(0, "counter")

    def bump():
        counter.set(counter.get() + 1)

    world.actor("first", bump)
    world.actor("second", bump)

    @world.at_end
    def both_counted():
        assert counter.get() == 2
