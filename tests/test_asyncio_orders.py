"""The three orders on random programs: the genuine loop = loop ⊆ arrivals ⊆ any; dpor = brute force = a model without the runtime."""

import pytest
from asyncio_programs import PLAIN, TIMED, Program, TooMany, every
from asyncio_threads import ThreadedProgram

import simharness
from simharness import Settings, Verdict

MOST = 150
SHORT, LONG = (0, 3), range(4, 40)


def explored(program, order, strategy="dpor", most=MOST, late=0.0):
    """Return the logs of a program, and how many executions that took; no number if there are too many."""
    logs = set()

    @simharness.scenario(max_delay=late)
    def scenario():
        logs.add(" ".join(program()))

    limits = Settings(max_executions=most, shrink=0, confirm=False, asyncio_order=order)
    result = simharness.explore(scenario, strategy=strategy, settings=limits)
    assert result.verdict is not Verdict.VIOLATED, (program.plans, result.counterexample.failure)
    return logs, result.executions if result.verdict is Verdict.VERIFIED else None


def agrees_with_brute_force(program, order, late=0.0):
    logs, executions = explored(program, order, late=late)
    if executions is not None:
        brute, number = explored(program, order, "exhaustive", 4 * MOST, late)
        if number is not None:
            assert logs == brute, program.plans
            assert executions == number or isinstance(program, ThreadedProgram), program.plans  # brute force swaps steps of threads, too
    return logs, executions is not None


def agrees_with_the_model(program, order, logs):
    try:
        model = every(program, order, 5 * MOST)
    except TooMany:
        return
    assert logs == model, program.plans


def check(program, plain):
    loop, whole = agrees_with_brute_force(program, "loop")
    if plain:
        assert loop == {" ".join(program())}, program.plans
    elif whole:
        agrees_with_the_model(program, "loop", loop)
    arrivals, all_arrivals = agrees_with_brute_force(program, "arrivals")
    if all_arrivals:
        agrees_with_the_model(program, "arrivals", arrivals)
        assert loop <= arrivals, program.plans
    unordered, all_of_any = agrees_with_brute_force(program, "any")
    if all_of_any and all_arrivals:
        assert arrivals <= unordered, program.plans


@pytest.mark.parametrize("seed", SHORT)
def test_the_genuine_loop_is_loop_which_lies_within_arrivals_which_lies_within_any(seed):
    check(Program(seed, PLAIN, leaves=True), plain=True)


@pytest.mark.parametrize("seed", SHORT)
def test_with_timers_timeouts_and_cancellation_reduction_brute_force_and_model_agree(seed):
    check(Program(seed, TIMED, tasks=(2,), leaves=True), plain=False)


@pytest.mark.long  # some 40 s of processor time
@pytest.mark.parametrize("seed", LONG)
def test_many_programs_without_timers_agree(seed):
    check(Program(seed, PLAIN, leaves=True), plain=True)


@pytest.mark.long  # some 40 s of processor time
@pytest.mark.parametrize("seed", LONG)
def test_many_programs_with_timers_agree(seed):
    check(Program(seed, TIMED, tasks=(2,), leaves=True), plain=False)


@pytest.mark.parametrize("seed", [1])
def test_with_threads_reduction_and_brute_force_agree(seed):
    agrees_with_brute_force(ThreadedProgram(seed), "arrivals")


@pytest.mark.long  # some 40 s of processor time
@pytest.mark.parametrize("seed", range(30))
def test_with_threads_many_programs_agree(seed):
    for order in ("loop", "arrivals"):
        agrees_with_brute_force(ThreadedProgram(seed), order)


@pytest.mark.long  # some 40 s of processor time
@pytest.mark.parametrize("seed", range(30))
def test_with_late_tasks_reduction_and_brute_force_agree(seed):
    program = Program(seed, TIMED, tasks=(2,), lengths=(1,), leaves=True)
    for order in ("loop", "arrivals", "any"):
        agrees_with_brute_force(program, order, late=1.5)
