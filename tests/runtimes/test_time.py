"""Virtual time: what the time and datetime modules give inside a simulation, and that they are as before outside it."""

from __future__ import annotations

import dataclasses
import datetime
import logging
import pickle
import time
from datetime import date
from datetime import datetime as bound_class
from time import monotonic as bound_monotonic
from time import sleep as bound_sleep
from time import time as bound_time

import pytest

import simharness
from simharness.engine.clock import BOOT, EPOCH, SECOND

START = EPOCH / SECOND
BOOTED = BOOT / SECOND
NOON = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


def run(*works, **options):
    """Explore actors that return values; return the set of (actor, value)."""

    def scenario(world):
        def actor(number, work):
            world.outcome((number, work()))
            world.step("done")

        for number, work in enumerate(works):
            world.actor(f"actor{number}", actor, number, work)

    result = simharness.explore(scenario, **options)
    assert result.verdict == "verified", result.bounds
    return {value for number, value in result.outcomes} if len(works) == 1 else result.outcomes


class Later(datetime.datetime):
    """A subclass made before any simulation."""


@dataclasses.dataclass
class Record:
    at: datetime.datetime = dataclasses.field(default_factory=datetime.datetime.now)
    seconds: float = dataclasses.field(default_factory=time.time)


class Timer:
    clock = time.monotonic

    def read(self, clock=time.time, *, wait=time.sleep):
        wait(1)
        return clock(), self.clock()


def test_every_clock_starts_at_its_constant_and_moves_with_sleep():
    def work():
        before = (time.time(), time.time_ns(), time.monotonic(), time.monotonic_ns(), time.perf_counter(), time.perf_counter_ns())
        cpu = (time.process_time(), time.process_time_ns(), time.thread_time(), time.thread_time_ns())
        time.sleep(2.5)
        return before, cpu, time.time() - before[0], time.monotonic_ns() - before[3], time.process_time()

    assert run(work) == {((START, EPOCH, BOOTED, BOOT, BOOTED, BOOT), (0.0, 0, 0.0, 0), 2.5, 2_500_000_000, 2.5)}


def test_clocks_asked_for_by_number_agree_with_the_others():
    def work():
        return time.clock_gettime(time.CLOCK_REALTIME), time.clock_gettime_ns(time.CLOCK_MONOTONIC), time.clock_gettime(2)

    assert run(work) == {(START, BOOT, 0.0)}


def test_conversions_without_an_argument_take_the_virtual_time_and_with_one_are_left_alone():
    def work():
        given = (time.gmtime(0)[:3], time.strftime("%Y", time.gmtime(0)), time.asctime(time.gmtime(0)))
        now = (time.gmtime()[:6], time.localtime() == time.localtime(START), time.ctime() == time.ctime(START))
        return given, now, time.strftime("%s") == str(int(START)), time.asctime() == time.ctime(START)

    ((given, now, seconds, text),) = run(work)
    assert given == ((1970, 1, 1), "1970", "Thu Jan  1 00:00:00 1970")
    assert now == ((2026, 1, 1, 0, 0, 0), True, True)
    assert seconds
    assert text


def test_datetimes_are_ordinary_ones_of_the_real_class_at_the_virtual_time():
    def work():
        now = datetime.datetime.now(datetime.UTC)
        assert type(now) is datetime.datetime
        assert isinstance(now, datetime.datetime)
        assert isinstance(NOON, datetime.datetime)
        assert issubclass(datetime.datetime, datetime.date)
        assert pickle.loads(pickle.dumps(now)) == now
        assert datetime.datetime.fromisoformat(now.isoformat()) == now
        assert now + datetime.timedelta(days=1) > now
        local = datetime.datetime.fromtimestamp(START)
        assert datetime.datetime.now() == datetime.datetime.today() == bound_class.now() == local
        assert datetime.datetime.utcnow() == NOON.replace(tzinfo=None)
        assert datetime.date.today() == date.today() == local.date()
        assert type(datetime.date.today()) is datetime.date
        return now

    (value,) = run(work)
    assert value == NOON
    assert isinstance(value, datetime.datetime)


@pytest.mark.alone
def test_a_subclass_of_datetime_made_before_reads_the_virtual_clock_and_gives_its_own_objects():
    def work():
        now = Later.now(datetime.UTC)
        assert type(now) is type(Later.today()) is type(Later.utcnow()) is Later
        return now == NOON

    assert run(work) == {True}


@pytest.mark.alone
def test_names_defaults_class_attributes_and_factories_bound_before_are_covered():
    def work():
        bound_sleep(1)
        record = Record()
        right = record.at == datetime.datetime.fromtimestamp(START + 1)
        return bound_time(), bound_monotonic(), Timer().read(), right, record.seconds

    assert run(work) == {(START + 1, BOOTED + 1, (START + 2, BOOTED + 2), True, START + 1)}


def test_each_reading_is_a_step_so_another_actors_sleep_can_end_before_or_after_it():
    outcomes = run(lambda: time.sleep(1), lambda: (time.time() - START, time.time() - START))
    assert {value for number, value in outcomes if number == 1} == {(0.0, 0.0), (0.0, 1.0), (1.0, 1.0)}


def test_a_sleep_of_zero_is_a_step_that_does_not_wait():
    log = []

    def scenario(world):
        cell = world.shared(0, "cell")

        def one():
            cell.set(1)
            time.sleep(0)
            cell.set(2)

        world.actor("one", one)
        world.actor("two", lambda: log.append(cell.get()))

    assert simharness.explore(scenario).verdict == "verified"
    assert set(log) == {0, 1, 2}


@pytest.mark.parametrize(("seconds", "error"), [(-1, ValueError), (float("nan"), ValueError), ("1", TypeError), (None, TypeError)])
def test_a_sleep_that_is_refused_outside_is_refused_with_the_same_error_inside(seconds, error):
    with pytest.raises(error) as outside:
        time.sleep(seconds)

    def work():
        with pytest.raises(error) as inside:
            time.sleep(seconds)
        return str(inside.value) == str(outside.value)

    assert run(work) == {True}


def test_a_sleep_in_set_up_moves_the_clock_at_once():
    def scenario(world):
        time.sleep(3)
        world.actor("reader", lambda: world.outcome(time.time() - START))

    assert simharness.explore(scenario).outcomes == {3.0}


def test_log_records_carry_the_virtual_time_and_are_no_steps():
    seen = []

    logger = logging.Logger("quiet")
    logger.addHandler(logging.NullHandler())
    logger.addFilter(lambda record: seen.append(record.created))

    def scenario(world):
        world.actor("sleeper", lambda: (time.sleep(1), logger.warning("late")))
        world.actor("talker", lambda: logger.warning("early"))

    result = simharness.explore(scenario)
    assert result.executions == 1
    assert set(seen) == {START, START + 1}


@pytest.mark.alone
def test_everything_is_put_back_after_a_simulation_and_after_an_error():
    def identities():
        names = ["sleep", "time", "time_ns", "monotonic", "perf_counter", "localtime", "gmtime", "ctime", "strftime", "asctime"]
        methods = [vars(datetime.datetime)["now"], vars(datetime.datetime)["utcnow"], vars(datetime.date)["today"]]
        return [getattr(time, name) for name in names] + methods + [datetime.datetime, bound_time, bound_sleep, Timer.clock]

    before = identities()
    real = time.time()
    run(lambda: time.time())  # noqa: PLW0108
    assert all(a is b for a, b in zip(before, identities(), strict=True))

    def broken(world):
        raise LookupError("set-up")

    with pytest.raises(simharness.Misuse):
        simharness.explore(broken)
    assert all(a is b for a, b in zip(before, identities(), strict=True))
    assert "today" not in vars(datetime.datetime)
    assert real <= time.time() < real + 3600
    assert real - 1 <= datetime.datetime.now().timestamp() < real + 3600
    assert isinstance(datetime.datetime.now(), datetime.datetime)


@pytest.mark.alone
def test_names_bound_during_a_simulation_give_real_time_outside_it():
    kept = []
    run(lambda: kept.append((time.time, datetime.datetime.now)))
    clock, now = kept[0]
    assert abs(clock() - time.time()) < 3600
    assert abs(now().timestamp() - time.time()) < 3600


def test_the_time_by_which_an_actor_is_passed_over_is_summed_over_the_execution():
    def scenario(world):
        moved = world.shared(False, "moved")

        def sleeper():
            time.sleep(3)
            world.outcome(("after one sleep", moved.get()))
            time.sleep(3)
            world.outcome(("after two", moved.get()))

        world.actor("sleeper", sleeper)
        world.actor("mover", moved.set, True)

    seen = simharness.explore(simharness.scenario(max_delay=5.0)(scenario), stop_on_first=False).outcomes
    assert ("after one sleep", False) in seen
    assert ("after two", False) not in seen


def test_a_reading_made_in_set_up_expires_passively_too_before_the_first_step():
    def scenario(world):
        world.timescale(1.0)
        world.clock.elapsed_ns()
        world.actor("reader", lambda: world.outcome(world.clock.elapsed_ns() > SECOND))

    for strategy in ("dpor", "exhaustive"):
        assert simharness.explore(scenario, strategy=strategy, stop_on_first=False).outcomes == {False, True}
