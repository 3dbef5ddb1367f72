"""What others see of a thread, and when: whether it has started or ended, its attributes, the list of threads."""

from __future__ import annotations

import concurrent.futures
import re
import threading
from threading import Thread

import pytest

import simharness
from tests.runtimes.exploring import actors, explore

AGAIN = "threads can only be started once"


def nothing():
    """The work of a thread without a step of its own."""


def test_a_thread_without_a_step_of_its_own_can_be_seen_alive_and_over_after_its_start():
    def scenario(world):
        def looker():
            thread = Thread(target=nothing)
            thread.start()
            world.outcome(thread.is_alive())

        actors(world, looker)

    result = explore(scenario)
    assert (result.executions, result.outcomes) == (2, {True, False})


def test_what_a_thread_did_last_can_be_seen_before_its_end():
    def scenario(world):
        def looker():
            done = threading.Event()
            thread = Thread(target=done.set)
            thread.start()
            done.wait()
            world.outcome(thread.is_alive())

        actors(world, looker)

    assert explore(scenario).outcomes == {True, False}


def test_a_join_that_gives_up_can_leave_a_thread_without_a_step_of_its_own_alive():
    def scenario(world):
        def looker():
            thread = Thread(target=nothing)
            thread.start()
            thread.join(timeout=1)
            world.outcome((thread.is_alive(), world.clock.elapsed_ns() // 10**9))

        actors(world, looker)

    assert explore(scenario, max_delay=3).outcomes == {(True, 1), (False, 0), (False, 1)}


def test_how_long_a_join_waits_shows_that_a_thread_has_not_ended():
    def scenario(world):
        def looker():
            thread = Thread(target=nothing)
            thread.start()
            thread.join(timeout=1)
            world.outcome(world.clock.elapsed_ns() // 10**9)

        actors(world, looker)

    assert explore(scenario, max_delay=3).outcomes == {0, 1}
    assert explore(scenario, max_delay=1).executions == 1


def test_an_end_can_be_late_for_a_join_that_has_waited_almost_all_its_time():
    def scenario(world):
        def looker():
            thread = Thread(target=world.clock.sleep, args=(9,))
            thread.start()
            thread.join(timeout=10)
            world.outcome((world.clock.elapsed_ns() // 10**9, thread.is_alive()))

        actors(world, looker)

    assert explore(scenario, max_delay=5).outcomes == {(9, False), (10, False), (10, True)}


def test_a_thread_whose_last_step_is_due_when_a_join_gives_up_may_not_be_over():
    def scenario(world):
        def looker():
            thread = Thread(target=world.clock.sleep, args=(1,))
            thread.start()
            thread.join(timeout=1)
            world.outcome(thread.is_alive())

        actors(world, looker)

    assert explore(scenario, max_delay=0).outcomes == {False, True}


def test_a_thread_is_over_after_a_join_with_a_timeout_that_cannot_expire_and_that_adds_no_ordering():
    def scenario():
        threads = [Thread(target=nothing) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=30)
            assert not thread.is_alive()

    assert explore(scenario).executions == 1


def test_a_join_with_no_time_does_not_make_a_thread_be_over():
    def scenario(world):
        def looker():
            thread = Thread(target=nothing)
            thread.start()
            thread.join(0)
            world.outcome(thread.is_alive())

        actors(world, looker)

    assert explore(scenario).outcomes == {True, False}
    assert explore(scenario, max_delay=0).outcomes == {True, False}


def test_a_thread_is_over_once_it_is_joined_and_that_adds_no_ordering():
    def scenario():
        threads = [Thread(target=nothing) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
            assert not thread.is_alive()
            thread.join(timeout=5)
        assert [thread.is_alive() for thread in threads] == [False] * 3

    assert explore(scenario).executions == 1


def test_threads_that_nobody_looks_at_end_with_their_last_step():
    def scenario(world):
        cell = world.shared(0, "cell")

        def starter():
            threads = [Thread(target=cell.get, name=f"reader {number}") for number in range(3)]
            for thread in threads:
                assert thread.ident is None
                assert thread.name.startswith("reader")
                thread.start()
                assert thread.ident is not None
                assert not thread.daemon
            for thread in threads:
                thread.join()

        actors(world, starter)

    assert explore(scenario).executions == 1


def start_once(world, guard=None):
    thread = Thread(target=nothing, name="once")

    def starter():
        if guard is not None:
            guard.acquire()
        if not thread.is_alive() and thread.ident is None:
            thread.start()
        if guard is not None:
            guard.release()

    world.actor("a", starter)
    world.actor("b", starter)


def test_starting_a_thread_twice_is_a_race_that_is_found():
    result = simharness.explore(start_once)
    assert f"raised RuntimeError: {AGAIN}" in result.counterexample.failure
    assert "facts1=lifetime+thread+once+1" in result.counterexample.token


def test_starting_a_thread_under_a_lock_if_it_has_not_started_is_no_race():
    assert explore(lambda world: start_once(world, threading.Lock())).verdict == "verified"


def test_a_token_of_a_race_with_a_threads_start_replays():
    @simharness.scenario
    def scenario(world):
        start_once(world)

    token = simharness.explore(scenario).counterexample.token
    assert AGAIN in str(simharness.replay(scenario, token).failure)


def test_joining_a_thread_that_another_actor_starts_can_be_too_early():
    def scenario(world):
        thread = Thread(target=nothing)

        def joiner():
            try:
                thread.join()
            except RuntimeError as early:
                world.outcome(str(early))
            else:
                world.outcome(thread.is_alive())

        world.actor("starter", thread.start)
        actors(world, joiner)

    assert explore(scenario).outcomes == {"cannot join thread before it is started", False}


@pytest.mark.parametrize("look", ["ident", "native_id", "_started", "_is_stopped", "repr"])
def test_what_changes_with_the_start_and_the_end_is_seen_before_and_after(look):
    looks = {
        "ident": (lambda thread: thread.ident is not None, {False, True}),
        "native_id": (lambda thread: thread.native_id is not None, {False, True}),
        "_started": (lambda thread: thread._started.is_set(), {False, True}),
        "_is_stopped": (lambda thread: thread._is_stopped, {False, True}),
        "repr": (lambda thread: re.sub(r"[ 0-9]+\)", ")", repr(thread)), {f"<Thread(w, {s})>" for s in ("initial", "started", "stopped")}),
    }
    if not hasattr(Thread(), look) and look != "repr":
        pytest.skip("this version of Python has no such attribute")
    ask, answers = looks[look]

    def scenario(world):
        thread = Thread(target=nothing, name="w")
        world.actor("starter", thread.start)
        world.actor("looker", lambda: world.outcome(ask(thread)))

    assert explore(scenario).outcomes == answers


def test_waiting_for_the_event_of_a_start_waits_for_it():
    def scenario(world):
        thread = Thread(target=nothing)
        world.actor("looker", lambda: world.outcome((thread._started.wait(), thread.ident is not None)))
        world.actor("starter", thread.start)

    assert explore(scenario).outcomes == {(True, True)}


def test_a_name_that_another_actor_changes_is_a_location():
    def scenario(world):
        thread = Thread(target=lambda: world.outcome(threading.current_thread().name), name="old")

        def renamer():
            thread.name = "new"

        world.actor("starter", thread.start)
        actors(world, renamer)

    result = explore(scenario)
    assert result.outcomes == {"old", "new"}


def test_a_name_that_changes_after_the_start_is_in_a_race_with_the_thread():
    def scenario(world):
        cell = world.shared(0, "cell")

        def work():
            cell.get()
            world.outcome(threading.current_thread().name)

        def starter():
            thread = Thread(target=work, name="old")
            thread.start()
            thread.name = "new"

        actors(world, starter)

    assert explore(scenario).outcomes == {"old", "new"}


def test_actors_are_named_after_their_threads_whoever_renames_those_meanwhile():
    def scenario(world):
        cell = world.shared(0, "cell")
        thread = Thread(target=lambda: cell.add(1), name="old")

        def renamer():
            thread.name = "new"
            cell.add(1)

        def starter():
            cell.add(1)
            thread.start()
            thread.join()
            world.outcome(thread.name)

        actors(world, starter, renamer)
        world.actor("reader", lambda: world.outcome((thread.name, cell.get())))

    assert explore(scenario).outcomes >= {"old", "new"}


def test_a_name_that_only_its_maker_changes_adds_no_ordering():
    def scenario(world):
        def maker():
            threads = [Thread(target=lambda: world.outcome(threading.current_thread().name)) for _ in range(2)]
            for number, thread in enumerate(threads):
                thread.name = f"worker {number}"
                thread.start()

        actors(world, maker)

    result = explore(scenario)
    assert (result.executions, result.outcomes) == (1, {"worker 0", "worker 1"})


def test_a_daemon_flag_that_another_actor_sets_is_in_a_race_with_the_start():
    def scenario(world):
        thread = Thread(target=nothing)

        def setter():
            try:
                thread.daemon = True
            except RuntimeError as late:
                world.outcome(str(late))
            else:
                world.outcome(thread.daemon)

        world.actor("starter", thread.start)
        actors(world, setter)

    assert explore(scenario).outcomes == {"cannot set daemon status of active thread", True}


def test_a_target_that_another_actor_replaces_is_in_a_race_with_the_thread():
    def scenario(world):
        ran = []
        thread = Thread(target=ran.append, args=("old",))

        def replacer():
            thread._target, thread._args = ran.append, ("new",)

        world.actor("starter", lambda: (thread.start(), thread.join(), world.outcome(tuple(ran))))
        actors(world, replacer)

    assert explore(scenario).outcomes == {("old",), ("new",)}


def test_the_number_of_threads_is_in_a_race_with_starts_and_ends_of_other_actors():
    def scenario(world):
        def starter():
            Thread(target=nothing).start()

        actors(world, starter)
        world.actor("counter", lambda: world.outcome(threading.active_count()))

    # The main thread, the counter; the starter and its thread, unless they have ended or not begun.
    assert explore(scenario).outcomes == {2, 3, 4}


def test_a_start_is_in_a_race_with_the_question_how_many_threads_there_are():
    def scenario(world):
        counted = threading.Event()

        def starter():
            Thread(target=nothing).start()
            counted.wait()

        def counter():
            world.outcome(threading.active_count())
            counted.set()

        actors(world, counter, starter)

    assert explore(scenario).outcomes == {3, 4}


def test_the_number_of_threads_is_known_when_all_have_been_joined():
    def scenario():
        before = threading.active_count()
        threads = [Thread(target=nothing) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert threading.active_count() == before
        assert threading.enumerate() == [threading.current_thread()]

    assert explore(scenario).verdict == "verified"


def test_a_thread_leaves_the_list_of_threads_before_it_is_over():
    def scenario(world):
        def looker():
            thread = Thread(target=nothing)
            thread.start()
            world.outcome((thread in threading.enumerate(), thread.is_alive()))

        actors(world, looker)

    assert explore(scenario).outcomes == {(True, True), (True, False), (False, True), (False, False)}


def test_the_ends_of_threads_are_ordered_with_the_question_but_not_with_each_other():
    def scenario():
        threads = [Thread(target=nothing) for _ in range(3)]
        for thread in threads:
            thread.start()
        assert 1 <= threading.active_count() <= 4

    assert explore(scenario).executions == 2**3


@pytest.mark.parametrize("look", [lambda thread: not thread.is_alive(), lambda thread: threading.active_count() < 3])
def test_an_invariant_can_look_at_threads(look):
    def scenario(world):
        thread = Thread(target=nothing)
        world.actor("starter", thread.start)
        world.always(lambda: _hold(look(thread)))

    assert explore(scenario).verdict == "violated"


def _hold(condition):
    assert condition


@pytest.mark.parametrize("ask", [lambda thread: thread.ident is None, lambda thread: thread.name == "old"])
def test_an_actor_that_asks_until_another_has_done_something_lets_it_move(ask):
    def scenario(world):
        thread = Thread(target=nothing, name="old")

        def spinner():
            while ask(thread):
                pass

        def other():
            thread.name = "new"
            thread.start()

        actors(world, spinner, other)

    settings = simharness.Settings(max_executions=20, max_steps=300)
    assert simharness.explore(scenario, settings=settings).verdict == "verified"


def test_what_only_a_timeline_shows_of_threads_is_no_point():
    @simharness.scenario
    def scenario(world):
        thread = Thread(target=nothing)
        cell = world.shared(0, "cell")
        world.show("thread", lambda: (thread.is_alive(), thread.name, threading.active_count()))
        world.actor("starter", lambda: (cell.add(1), thread.start()))
        world.actor("other", lambda: cell.add(1))

        @world.at_end
        def fails():
            assert cell.get() == 1

    token = simharness.explore(scenario).counterexample.token
    assert "facts" not in token
    assert simharness.replay(scenario, token).failure is not None


def test_an_invariant_that_holds_of_threads_is_verified():
    def scenario(world):
        thread = Thread(target=nothing)
        world.actor("starter", thread.start)
        world.always(lambda: _hold(threading.active_count() <= 3 and (thread.ident is not None or not thread.is_alive())))

    assert explore(scenario).verdict == "verified"


def test_other_actors_see_when_an_actor_that_is_no_thread_ends():
    def scenario(world):
        known = []

        def shown():
            known.append(threading.current_thread())
            shared.set(1)

        def looker():
            shared.wait_until(lambda value: value == 1)
            world.outcome(known[0].is_alive())

        shared = world.shared(0, "shared")
        actors(world, shown, looker)

    assert explore(scenario).outcomes == {True, False}


def test_a_timer_is_cancelled_or_fires_and_its_function_can_be_replaced_until_then():
    def scenario(world):
        fired = []
        timer = threading.Timer(1, fired.append, ("old",))

        def changer():
            world.clock.sleep(1)
            timer.args = ("new",)
            timer.cancel()

        world.actor("starter", lambda: (timer.start(), timer.join(), world.outcome((tuple(fired), timer.finished.is_set()))))
        actors(world, changer)

    assert explore(scenario, max_delay=0).outcomes == {((), True), (("old",), True), (("new",), True)}


def test_the_states_of_a_future_are_points():
    def scenario(world):
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            future = pool.submit(nothing)
            world.outcome((future.running(), future.done(), future.cancel()))

    states = simharness.explore(scenario, stop_on_first=False, settings=simharness.Settings(max_executions=3_000)).outcomes
    assert {(False, False, True), (False, True, False), (True, False, False)} <= states


class Returning(Thread):
    """As people write it: the result of the target, for whoever joins."""

    def run(self):
        self.result = self._target(*self._args, **self._kwargs)

    def join(self, timeout=None):
        super().join(timeout)
        return self.result


class Elsewhere(Thread):
    """Keeps its arguments in an attribute of its own, and a name that is no text."""

    def __init__(self, *args):
        self.kept = args
        super().__init__(target=sum)
        self._name = 7

    @property
    def _args(self):
        return (self.kept,)

    @_args.setter
    def _args(self, args):
        pass

    def run(self):
        super().run()
        self.name = "eight"


def test_subclasses_that_use_what_is_behind_a_thread_add_no_ordering():
    def scenario(world):
        def starter():
            returning = [Returning(target=sum, args=((number, 1),)) for number in range(2)]
            elsewhere = Elsewhere(1, 2)
            for thread in (*returning, elsewhere):
                thread.start()
            world.outcome(tuple(thread.join() for thread in (*returning, elsewhere)))

        actors(world, starter)

    result = explore(scenario)
    assert (result.executions, result.outcomes) == (1, {(1, 2, None)})


def test_a_thread_looks_in_a_simulation_as_it_does_outside():
    def seen():
        found = []
        gate = threading.Event()
        thread = Thread(target=gate.wait, name="w", daemon=True)

        def look():
            known = (thread.ident is None, thread.native_id is None, thread.is_alive(), thread in threading.enumerate())
            found.append((*known, thread.name, thread.daemon, re.sub(r" \d+\)", " N)", repr(thread))))

        look()
        thread.start()
        look()
        thread.name = "renamed"
        for misuse in (thread.start, lambda: setattr(thread, "daemon", False)):
            with pytest.raises(RuntimeError) as raised:
                misuse()
            found.append(str(raised.value))
        look()
        gate.set()
        thread.join()
        look()
        thread.join()
        thread.name = 7
        found.append(thread.name)
        return tuple(found)

    genuine = seen()
    assert explore(lambda world: world.actor("looker", lambda: world.outcome(seen()))).outcomes == {genuine}
