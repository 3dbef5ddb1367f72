"""Executions that are known from those before them are what running them comes to."""

import random
import threading

from simharness import Settings
from simharness.authoring.scenario import as_scenario
from simharness.simulation.simulation import Simulation
from simharness.verdicts.followed import Followed
from simharness.verdicts.shrink import follow, kind_of


def racing(world):
    cells = [world.shared(0, name) for name in "xy"]
    lock = threading.Lock()

    def bump(cell, times):
        for _ in range(times):
            cell.set(cell.get() + 1)

    def both():
        with lock:
            bump(cells[0], 1)
        bump(cells[1], 1)

    world.actor("a", both)
    world.actor("b", both)
    world.actor("c", lambda: bump(cells[1], 2))

    @world.at_end
    def all_counted():
        assert [cell.get() for cell in cells] == [2, 4]


def test_a_schedule_that_has_been_run_in_other_words_is_known_and_comes_to_what_running_it_does():
    drawn = random.Random(1)
    simulation = Simulation(as_scenario(racing), {}, Settings())
    with simulation:
        followed = Followed(simulation)
        first, _ = followed.follow([])
        met = 0
        for _ in range(300):
            order = list(first.keys)
            for _ in range(drawn.randrange(3)):
                i, j = drawn.randrange(len(order)), drawn.randrange(len(order))
                order.insert(i, order.pop(j))
            del order[drawn.randrange(len(order) + 1) :]
            known = followed.known(order)
            if known is None:
                known, execution = followed.follow(order)
                assert known == (execution.keys, execution.status, kind_of(execution.failure))
                continue
            met += 1
            again = follow(simulation, order)
            assert known == (again.keys, again.status, kind_of(again.failure))
        assert met > 50
        assert followed.known(first.keys) == first
