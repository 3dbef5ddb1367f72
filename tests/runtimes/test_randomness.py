"""Deterministic randomness and identity in a simulation, and that both are as before outside it."""

from __future__ import annotations

import os
import random
import secrets
import tempfile
import time
import uuid
from random import choice as bound_choice
from uuid import uuid4 as bound_uuid4

import pytest

import simharness
from simharness.runtimes.randomness import NODE, PARENT, virtual_pid


def draw_everything():
    """Draw once from every source; return what came."""
    private = random.Random()
    return (
        random.random(),
        random.randint(1, 10**9),
        random.choice(range(10**9)),
        bound_choice(range(10**9)),
        tuple(random.sample(range(1000), 5)),
        random.gauss(0, 1),
        private.random(),
        random.SystemRandom().random(),
        secrets.token_hex(8),
        secrets.randbelow(10**9),
        secrets.choice(range(10**9)),
        os.urandom(8),
        uuid.uuid4(),
        bound_uuid4(),
        uuid.uuid1(),
        uuid.uuid1(),
    )


def outcomes(*works, seed=0):
    def scenario(world):
        cell = world.shared(0, "cell")

        def actor(number, work):
            cell.add(1)
            world.outcome((number, work()))

        for number, work in enumerate(works):
            world.actor(f"actor{number}", actor, number, work)

    result = simharness.explore(scenario, settings=simharness.Settings(seed=seed))
    assert result.verdict == "verified", result.bounds
    return result.outcomes


def test_what_an_actor_draws_is_the_same_in_every_ordering_and_differs_from_what_others_draw():
    found = outcomes(draw_everything, draw_everything, draw_everything)
    assert {number for number, _ in found} == {0, 1, 2}
    assert len(found) == 3
    for column in zip(*(values for _, values in found), strict=True):
        assert len(set(column)) == 3


def test_the_same_seed_gives_the_same_draws_and_another_seed_others():
    assert outcomes(draw_everything) == outcomes(draw_everything)
    assert not outcomes(draw_everything, seed=1) & outcomes(draw_everything, seed=2)


def test_draws_are_no_scheduling_points():
    def scenario(world):
        world.actor("one", draw_everything)
        world.actor("two", lambda: (draw_everything(), world.step("only")))

    assert simharness.explore(scenario).executions == 1


def test_draws_of_one_actor_do_not_repeat_themselves():
    ((_, values),) = outcomes(lambda: (os.urandom(8), os.urandom(8), uuid.uuid4(), uuid.uuid4(), uuid.uuid1(), uuid.uuid1()))
    assert len(set(values)) == 6


def test_seeding_the_module_makes_the_actors_own_draws_repeat_but_not_its_uuids():
    def work():
        random.seed(5)
        first = random.random(), uuid.uuid4()
        random.seed(5)
        second = random.random(), uuid.uuid4()
        return first[0] == second[0] == random.Random(5).random(), first[1] != second[1]

    assert {values for _, values in outcomes(work, work)} == {(True, True)}


def test_explicitly_seeded_instances_are_left_alone():
    expected = random.Random(5).random()
    assert outcomes(lambda: random.Random(5).random()) == {(0, expected)}


def test_set_up_and_checks_have_streams_of_their_own():
    seen = set()

    def scenario(world):
        seen.add(("set-up", random.random()))
        world.actor("one", lambda: seen.add(("one", random.random())))

        @world.at_end
        def check():
            seen.add(("check", random.random()))

    assert simharness.explore(scenario, strategy="exhaustive").error is None
    assert len(seen) == len({value for _, value in seen}) == 3


def test_uuids_are_well_formed_and_those_with_a_time_carry_the_virtual_one():
    def work():
        time.sleep(1)
        first = uuid.uuid1()
        seconds = (first.time - 0x01B21DD213814000) // 10**7
        return first.version, first.variant, seconds, first.node, uuid.uuid4().version, uuid.uuid1(7, 9).node

    assert outcomes(work) == {(0, (1, uuid.RFC_4122, 1767225601, NODE, 4, 7))}


@pytest.mark.skipif(not hasattr(uuid, "uuid7"), reason="this Python has no uuid7")
def test_uuids_of_the_newer_kinds_grow_within_an_actor():
    ((_, values),) = outcomes(lambda: tuple(uuid.uuid7() for _ in range(5)) + tuple(uuid.uuid6() for _ in range(5)))
    assert list(values[:5]) == sorted(values[:5])
    assert list(values[5:]) == sorted(values[5:])
    assert [value.version for value in values] == [7] * 5 + [6] * 5


def test_process_ids_are_stable_and_one_for_each_process():
    def scenario(world):
        world.actor("one", lambda: world.outcome(("one", os.getpid(), os.getppid())))
        world.actor("two", lambda: world.outcome(("two", os.getpid(), os.getppid())), process="other")

    assert simharness.explore(scenario).outcomes == {("one", virtual_pid("main"), PARENT), ("two", virtual_pid("other"), PARENT)}


def test_temporary_files_left_behind_have_the_same_names_in_every_execution():
    def work():
        folder = tempfile.mkdtemp()
        with tempfile.NamedTemporaryFile(delete=False) as file:
            file.write(b"left")
        assert os.path.dirname(folder) == os.path.dirname(file.name) == tempfile.gettempdir()
        return os.path.basename(folder), os.path.basename(file.name)

    found = outcomes(work, work)
    assert len(found) == 2
    assert len({name for _, names in found for name in names}) == 4


def test_a_temporary_folder_of_the_users_choice_is_used():
    with tempfile.TemporaryDirectory() as chosen:

        def work():
            with tempfile.NamedTemporaryFile(dir=chosen) as file:
                return os.path.dirname(file.name) == chosen

        assert outcomes(work) == {(0, True)}


def test_the_worlds_own_folder_is_not_named_by_the_actors_streams():
    def scenario(world):
        world.path("x")
        world.outcome(tuple(draw_everything()))
        world.actor("one", lambda: world.step("one"))

    assert len(simharness.explore(scenario).outcomes) == 1


@pytest.mark.alone
def test_everything_is_put_back_after_a_simulation_and_after_an_error():
    def identities():
        found = [random.random, random.choice, random.seed, random.Random.seed, os.urandom, os.getpid, os.getppid]
        names = [tempfile._gettempdir, tempfile._RandomNameSequence.__next__]
        return [*found, *names, uuid.uuid1, uuid.uuid4, uuid.getnode, bound_choice, bound_uuid4]

    before, pid, folder = identities(), os.getpid(), tempfile.gettempdir()
    outcomes(draw_everything)
    assert all(a == b for a, b in zip(before, identities(), strict=True))

    def broken(world):
        raise LookupError("set-up")

    with pytest.raises(simharness.Misuse):
        simharness.explore(broken)
    assert all(a == b for a, b in zip(before, identities(), strict=True))
    assert (os.getpid(), tempfile.gettempdir()) == (pid, folder)
    random.seed(5)
    assert random.random() == random.Random(5).random()
    random.seed()


def test_a_simulation_leaves_the_real_generators_state_alone():
    random.seed(5)
    state = random.getstate()
    outcomes(draw_everything)
    assert random.getstate() == state
    random.seed()
