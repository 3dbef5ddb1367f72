"""The checker of histories agrees with trying every order; examples from the literature have the answer that the literature gives."""

import itertools
import random
from dataclasses import replace

import pytest

from simharness import Misuse
from simharness.linearizability import Call, Model, check


def register(value, operation, *arguments):
    if operation == "write":
        return None, arguments[0]
    if operation == "swap":
        old, new = arguments
        return value == old, new if value == old else value
    return value, value


def queue(items, operation, *arguments):
    if operation == "put":
        return None, (*items, arguments[0])
    return None if not items else (items[0], items[1:])


def table(items, operation, key, *arguments):
    known = dict(items)
    if operation == "set":
        old, known[key] = known.get(key), arguments[0]
        return old, tuple(sorted(known.items()))
    return known.get(key), items


MODELS = {
    "register": (Model(0, register), [("write", (1,)), ("write", (2,)), ("swap", (1, 2)), ("read", ())]),
    "queue": (Model((), queue), [("put", (1,)), ("put", (2,)), ("get", ())]),
    "table": (
        Model((), table, key=lambda call: call.arguments[0]),
        [("set", (k, v)) for k in "ab" for v in (1, 2)] + [("get", (k,)) for k in "ab"],
    ),
}


def drawn(draw, name, model, operations):
    """A history of a correct object, in which a result is often changed afterwards; some calls do not return."""
    actors, calls, waiting, state, now = draw.randint(1, 3), [], {}, model.initial, 0
    for _ in range(draw.randint(4, 24)):
        now += draw.choice((0, 1, 1))
        actor = draw.randrange(actors)
        if actor not in waiting:
            waiting[actor] = [*draw.choice(operations), now, None, False]
            continue
        operation, arguments, begun, result, done = waiting[actor]
        if not done:
            effect = model.apply(state, operation, *arguments)
            if effect is not None:
                (result, state), waiting[actor][4] = effect, True
                waiting[actor][3] = result
        if waiting[actor][4] and draw.random() < 0.7:
            del waiting[actor]
            calls.append(Call(actor, operation, arguments, result, begun, now))
    calls += [Call(actor, operation, arguments, None, begun, None) for actor, (operation, arguments, begun, *_) in waiting.items()]
    for _ in range(draw.choice((0, 1, 2, 2)) if calls else 0):
        index = draw.randrange(len(calls))
        other = draw.choice([call.result for call in calls] + [1, 2])
        calls[index] = replace(calls[index], result=other)
    draw.shuffle(calls)
    return calls[:6] if len(calls) <= 6 else [call for call in calls if call.ended is not None][:6]


def by_trying(calls, model):
    """Every order of the calls that returned and of some of the others."""
    returned = [call for call in calls if call.ended is not None]
    others = [call for call in calls if call.ended is None]
    for number in range(len(others) + 1):
        for some in itertools.combinations(others, number):
            for order in itertools.permutations([*returned, *some]):
                if serial(order, model) and not backwards(order):
                    return True
    return False


def serial(order, model):
    state = model.initial
    for call in order:
        done = model.apply(state, call.operation, *call.arguments)
        if done is None or (call.ended is not None and done[0] != call.result):
            return False
        state = done[1]
    return True


def backwards(order):
    return any(later.ended is not None and later.ended < earlier.begun for earlier, later in itertools.combinations(order, 2))


def agree(numbers):
    answers = {True: 0, False: 0}
    for number in numbers:
        draw = random.Random(number)
        name = draw.choice(sorted(MODELS))
        model, operations = MODELS[name]
        calls = drawn(draw, name, model, operations)
        found = check(calls, model)
        assert found.linearizable == by_trying(calls, model), (number, calls)
        assert found.linearizable == check(calls, Model(model.initial, model.apply)).linearizable, "the key makes no difference"
        if found.linearizable:
            assert all(serial(order, model) and not backwards(order) for order in found.orders)
        answers[found.linearizable] += 1
    return answers


def test_the_checker_agrees_with_trying_every_order_on_random_histories():
    answers = agree(range(300))
    assert min(answers.values()) > 50


@pytest.mark.long
def test_the_checker_agrees_with_trying_every_order_on_ten_thousand_random_histories():
    answers = agree(range(1_000, 11_000))
    assert min(answers.values()) > 2_000


def test_a_queue_that_is_first_in_first_out_for_each_producer_only_is_not_linearizable():
    first, second = Call("a", "put", (1,), begun=0, ended=1), Call("b", "put", (2,), begun=2, ended=3)
    assert not check([first, second, Call("c", "get", result=2, begun=4, ended=5)], Model((), queue))
    assert check([first, second, Call("c", "get", result=1, begun=4, ended=5)], Model((), queue))


def test_a_call_that_has_not_returned_may_have_taken_effect_or_not():
    pending = Call("a", "write", (1,), begun=0)
    for value in (0, 1):
        assert check([pending, Call("b", "read", result=value, begun=1, ended=2)], Model(0, register))
    assert not check([pending, Call("b", "read", result=2, begun=1, ended=2)], Model(0, register))


def test_the_answer_names_the_key_that_has_no_order():
    calls = [Call("a", "set", ("x", 1), None, 0, 1), Call("b", "get", ("x",), 1, 2, 3), Call("b", "get", ("y",), 1, 4, 5)]
    found = check(calls, MODELS["table"][0])
    assert not found
    assert found.key == "y"


def test_many_calls_one_after_the_other_take_no_time_that_grows_with_their_orders():
    calls = [Call(number % 3, "write", (number % 2,), None, number, number + 2) for number in range(300)]
    assert check(calls, Model(0, register)).linearizable


@pytest.mark.parametrize(
    ("calls", "said"),
    [
        ([Call("a", "read", begun=2, ended=1)], "before it begins"),
        ([Call("a", "read", begun=0, ended=3), Call("a", "read", begun=1, ended=4)], "give each thread its own name"),
    ],
)
def test_an_impossible_history_is_refused_in_one_line(calls, said):
    with pytest.raises(Misuse, match=said):
        check(calls, Model(0, register))


def test_a_state_that_is_not_hashable_is_refused_in_one_line():
    with pytest.raises(Misuse, match="hashable"):
        check([Call("a", "put", (1,), begun=0, ended=1)], Model(0, lambda state, *_: (None, [])))
