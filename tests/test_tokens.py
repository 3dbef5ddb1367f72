"""Tokens: the whole input of an execution, tied to its scenario, its cell and its code."""

import pytest

import simharness
from simharness import TokenError


def racing(writes=2, name="counters", extra=False):
    def work(world, cell):
        for _ in range(writes):
            cell.set(cell.get() + 1)
        if extra:
            world.step("one more")

    def scenario(world):
        cell = world.shared(0, "cell")
        world.actor("a", work, world, cell)
        world.actor("b", work, world, cell)

        @world.at_end
        def all_counted():
            assert cell.get() == 2 * writes

    scenario.__name__ = name
    return scenario


@simharness.scenario(size=[1, 2], label=["plain", "a:b, c=d/é"])
def cells(world, size, label):
    cell = world.shared(0, "cell")
    for name in ("a", "b"):
        world.actor(name, lambda: cell.set(cell.get() + size))

    @world.at_end
    def added():
        world.outcome((size, label))
        assert cell.get() == 2 * size


def token_of(scenario, **parameters):
    return simharness.explore(scenario, parameters=parameters).counterexample.token


def test_a_token_names_scenario_and_runs_of_steps():
    name, cell, choices, check = token_of(racing()).split(":")
    assert (name, cell) == ("counters", "")
    assert set(choices) <= set("ab0123456789")
    assert len(check) == 6


def test_replaying_twice_gives_the_same_trace():
    scenario = racing()
    token = token_of(scenario)
    assert simharness.replay(scenario, token).timeline == simharness.replay(scenario, token).timeline
    assert simharness.replay(scenario, f"  {token}\n").failure


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("label", ["plain", "a:b, c=d/é"])
def test_a_token_holds_its_cell_whatever_its_values_look_like(size, label):
    token = token_of(cells, size=size, label=label)
    assert token.count(":") == 3
    again = simharness.replay(cells, token)
    assert again.trace.parameters == {"size": size, "label": label}
    assert again.failure


def test_a_token_of_another_cell_is_refused():
    token = token_of(cells, size=1, label="plain")
    with pytest.raises(TokenError, match="belongs to the case size=1,label=plain"):
        simharness.replay(cells, token, parameters={"size": 2})


def test_a_token_with_a_value_that_is_gone_is_refused():
    token = token_of(cells, size=1, label="plain").replace("size=1", "size=9")
    with pytest.raises(TokenError, match="size is one of 1, 2"):
        simharness.replay(cells, token)


def test_a_token_of_another_scenario_is_refused():
    with pytest.raises(TokenError, match="belongs to scenario 'counters', not to 'other'"):
        simharness.replay(racing(name="other"), token_of(racing()))


GARBAGE = ["", "x", "counters", "counters::", "counters::a1b1", "counters::!!:abcdef", "counters::a:abcdef", "🙂:::", "a:b:c:d:e"]


@pytest.mark.parametrize("garbage", GARBAGE)
def test_what_is_no_token_is_refused(garbage):
    with pytest.raises(TokenError):
        simharness.replay(racing(), garbage)


def test_a_token_that_no_longer_fits_changed_code_says_so():
    token = token_of(racing())
    for changed in (racing(writes=1), racing(writes=3), racing(extra=True)):
        with pytest.raises(TokenError, match=r"does not fit.*code.*changed"):
            simharness.replay(changed, token)


def test_a_token_for_an_actor_that_is_not_there_says_so():
    _, _, _, check = token_of(racing()).split(":")
    with pytest.raises(TokenError, match="does not fit: at step 1 it moves an actor that does not exist"):
        simharness.replay(racing(), f"counters::z1:{check}")


def test_changed_steps_under_the_same_choices_are_noticed():
    def version(words):
        def scenario(world):
            world.actor("a", world.step, words)

            @world.at_end
            def never():
                raise AssertionError

        return scenario

    with pytest.raises(TokenError, match="but lead to other steps"):
        simharness.replay(version("new words"), token_of(version("old words")))


def test_a_token_whose_check_does_not_fit_is_refused():
    with pytest.raises(TokenError, match="but lead to other steps"):
        simharness.replay(racing(writes=1), "counters::a2b2:000000")


def test_more_actors_than_letters_have_tokens_too():
    def crowd(world):
        cell = world.shared(0, "cell")
        for number in range(60):
            world.actor(f"actor {number}", cell.add, 1)

        @world.at_end
        def never():
            raise AssertionError

    token = token_of(crowd)
    assert simharness.replay(crowd, token).failure
