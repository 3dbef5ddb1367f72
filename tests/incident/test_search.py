"""The search finds exactly the executions that explain an incident: as many as running every interleaving finds."""

import pytest

from tests.incident.random_logs import compared

QUICK, LONG = 40, 600


def test_on_random_programs_the_search_finds_what_every_interleaving_gives():
    found = [compared(seed) for seed in range(QUICK)]
    assert sum(orderings > 0 for _, _, orderings in found) > QUICK / 2
    assert sum(lines for _, lines, _ in found) > QUICK


@pytest.mark.long
def test_on_many_random_programs_the_search_finds_what_every_interleaving_gives():
    for seed in range(QUICK, LONG):
        compared(seed)
