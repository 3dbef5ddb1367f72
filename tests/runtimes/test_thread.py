"""Threads as actors: starting, joining, names, identities, daemons, timers, thread-locals, uncaught exceptions."""

from __future__ import annotations

import _thread
import threading
import time
from threading import Thread as BoundThread
from threading import current_thread as bound_current_thread
from threading import get_ident as bound_get_ident

import pytest

import simharness
from tests.runtimes.exploring import actors, explore

module_local = threading.local()
module_thread_log = []


class EarlyLocal(threading.local):
    """A subclass made before any simulation."""

    def __init__(self):
        self.items = []

    def add(self, item):
        self.items.append(item)
        return tuple(self.items)


early_local = EarlyLocal()


class Worker(threading.Thread):
    """A subclass made before any simulation."""

    def __init__(self, cell):
        super().__init__(daemon=False)
        self.cell = cell

    def run(self):
        self.cell.set(self.cell.get() + 1)


def lost_update():
    """Plain threaded code, as in a test of the user's: no world."""
    total = {"value": 0}
    gate = threading.Lock()

    def bump():
        with gate:
            value = total["value"]
        with gate:
            total["value"] = value + 1

    threads = [threading.Thread(target=bump) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert total["value"] == 2


def test_plain_threaded_code_is_explored_and_its_lost_update_found():
    result = simharness.explore(lost_update)
    assert result.verdict == "violated"
    assert "Thread-1 (bump)" in result.counterexample.timeline


def test_two_threads_that_take_one_lock_have_two_orderings_however_they_are_started_and_joined():
    def scenario():
        lock = threading.Lock()

        def work():
            with lock:
                pass

        threads = [BoundThread(target=work), threading.Thread(target=work, name="other")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert explore(scenario).executions == 2


def test_a_thread_runs_beside_its_starter_until_it_is_joined():
    def scenario(world):
        cell = world.shared(0, "cell")

        def parent():
            child = threading.Thread(target=lambda: cell.set(1))
            child.start()
            early = cell.get()
            child.join()
            world.outcome((early, cell.get()))

        actors(world, parent)

    result = explore(scenario)
    assert (result.executions, result.outcomes) == (2, {(0, 1), (1, 1)})


def test_subclasses_of_thread_run_their_own_run():
    def scenario(world):
        cell = world.shared(0, "cell")

        def parent():
            workers = [Worker(cell), Worker(cell)]
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()
            world.outcome(cell.get())

        actors(world, parent)

    assert explore(scenario).outcomes == {1, 2}


def test_a_join_with_a_timeout_gives_up_in_virtual_time():
    def scenario(world):
        def parent():
            child = threading.Thread(target=world.clock.sleep, args=(10,))
            child.start()
            child.join(timeout=1)
            first = child.is_alive()
            child.join()
            world.outcome((first, child.is_alive(), world.clock.elapsed_ns() // 10**9))

        actors(world, parent)

    assert explore(scenario, max_delay=0).outcomes == {(True, False, 10)}


def test_misused_threads_raise_what_genuine_ones_raise():
    def errors():
        found = []
        thread = threading.Thread(target=lambda: None)
        become_daemon = lambda: setattr(thread, "daemon", True)  # noqa: E731
        for misuse in (thread.join, thread.start, thread.start, threading.current_thread().join, become_daemon):
            try:
                misuse()
            except RuntimeError as error:
                found.append(str(error))
            else:
                found.append(None)
        thread.join()
        return tuple(found)

    genuine = errors()
    result = explore(lambda world: world.actor("misuser", lambda: world.outcome(errors())))
    assert len(result.outcomes) == 1
    (found,) = result.outcomes
    assert found == genuine


def test_names_and_identifiers_are_the_same_in_every_ordering():
    def scenario(world):
        def parent():
            children = [threading.Thread(target=child, name=name) for name in (None, None, "named")]
            for thread in children:
                thread.start()
            for thread in children:
                thread.join()
            world.outcome(tuple((thread.name, thread.ident) for thread in children))

        def child():
            assert threading.get_ident() == threading.current_thread().ident == bound_get_ident()
            assert threading.get_native_id() == threading.current_thread().native_id
            world.step("child", writes=["something"])

        world.actor("first", parent)
        world.actor("second", parent)

    outcomes = simharness.explore(scenario).outcomes
    assert len(outcomes) == 2
    names = {name for outcome in outcomes for name, _ in outcome}
    assert names == {"named"} | {f"{parent}/Thread-{n} (child)" for parent in ("first", "second") for n in (1, 2)}
    assert len({ident for outcome in outcomes for _, ident in outcome}) == 6


def test_every_actor_is_a_thread_of_its_own_and_the_root_is_the_main_thread():
    def scenario(world):
        assert threading.current_thread() is threading.main_thread()
        assert threading.current_thread().name == "MainThread"

        def actor():
            me = bound_current_thread()
            assert me is threading.current_thread()
            assert me is not threading.main_thread()
            assert me.is_alive()
            assert me in threading.enumerate()
            world.outcome((me.name, me.daemon))

        world.actor("a", actor)
        world.actor("b", actor)

    assert explore(scenario).outcomes == {("a", False), ("b", False)}


def test_the_number_of_active_threads_is_a_reading_that_races_with_their_ends():
    def scenario():
        ended = threading.Event()
        thread = threading.Thread(target=ended.wait)
        assert threading.active_count() == 1
        thread.start()
        assert threading.active_count() == 2
        assert repr(thread).startswith("<Thread(Thread-1 (wait), started ")
        ended.set()
        thread.join()
        assert threading.active_count() == 1
        assert threading.current_thread() is threading.main_thread()

    assert explore(scenario).verdict == "verified"


def test_an_uncaught_exception_in_a_thread_is_the_failure():
    def scenario():
        def fail():
            raise LookupError("lost")

        thread = threading.Thread(target=fail)
        thread.start()
        thread.join()

    result = simharness.explore(scenario)
    assert "raised LookupError: lost" in result.counterexample.failure


def test_an_excepthook_of_the_users_hears_of_uncaught_exceptions_instead(monkeypatch):
    heard = []
    monkeypatch.setattr(threading, "excepthook", lambda args: heard.append((args.exc_type, args.thread.name)))

    def scenario():
        thread = threading.Thread(target=lambda: 1 / 0, name="divider")
        thread.start()
        thread.join()

    assert simharness.explore(scenario).verdict == "verified"
    assert set(heard) == {(ZeroDivisionError, "divider")}


def test_system_exit_ends_a_thread_silently():
    def scenario():
        thread = threading.Thread(target=_thread.exit)
        thread.start()
        thread.join()
        assert not thread.is_alive()

    assert explore(scenario).verdict == "verified"


def test_daemon_threads_are_inherited_as_such_and_do_not_keep_an_execution_going():
    def scenario(world):
        def parent():
            daemon = threading.Thread(target=forever, daemon=True)
            daemon.start()
            world.outcome(daemon.daemon)

        def forever():
            child = threading.Thread(target=lambda: None)
            assert child.daemon
            threading.Event().wait()

        actors(world, parent)

    result = explore(scenario)
    assert result.verdict == "verified"
    assert result.outcomes == {True}


def test_a_timer_fires_when_its_time_has_come_unless_it_is_cancelled():
    def scenario(world):
        fired = []

        def boss():
            timer = threading.Timer(30, fired.append, args=[1])
            timer.start()
            world.clock.sleep(30)
            timer.cancel()
            timer.join()
            world.outcome((len(fired), world.clock.elapsed_ns() // 10**9))

        actors(world, boss)

    began = time.monotonic()
    assert explore(scenario, max_delay=0).outcomes == {(0, 30), (1, 30)}
    assert time.monotonic() - began < 20


def test_a_raw_thread_of_the_low_level_module_is_an_actor_too():
    def scenario():
        done = threading.Event()
        ident = _thread.start_new_thread(done.set, ())
        assert isinstance(ident, int)
        done.wait()

    assert explore(scenario).executions == 1


@pytest.mark.parametrize("make", [threading.local, lambda: module_local])
def test_each_actor_has_its_own_values_in_a_thread_local(make):
    def scenario(world):
        local = make()
        assert not hasattr(local, "value")
        local.value = "of the set-up"

        def actor(name):
            assert not hasattr(local, "value")
            local.value = name
            world.step("switch", writes=["x"])
            assert local.value == name
            assert vars(local) == {"value": name}
            del local.value
            with pytest.raises(AttributeError):
                _ = local.value

        world.actor("a", actor, "a")
        world.actor("b", actor, "b")

        @world.at_end
        def unchanged():
            assert local.value == "of the set-up"

    assert explore(scenario).executions == 2
    assert not hasattr(module_local, "value")


@pytest.mark.alone
def test_subclasses_of_local_are_initialised_for_each_actor():
    class Late(threading.local):
        limit = 3

        def __init__(self, first):
            self.items = [first]

        def add(self, item):
            self.items.append(item)
            return tuple(self.items)

    def scenario(world):
        late = Late("x")
        another = EarlyLocal()

        def actor(name):
            world.outcome((late.add(name), early_local.add(name), another.add(name), late.limit))
            world.step("switch", writes=["x"])
            assert late.items == ["x", name]

        world.actor("a", actor, "a")
        world.actor("b", actor, "b")

    assert explore(scenario).outcomes == {(("x", "a"), ("a",), ("a",), 3), (("x", "b"), ("b",), ("b",), 3)}
    assert early_local.items == []


def test_the_main_threads_values_of_a_local_are_seen_by_the_root_actor_only():
    module_local.request = "outer"

    def scenario():
        assert module_local.request == "outer"
        thread = threading.Thread(target=lambda: seen.append(hasattr(module_local, "request")))
        seen = []
        thread.start()
        thread.join()
        assert seen == [False]
        module_local.request = "changed"

    try:
        assert explore(scenario).verdict == "verified"
        assert module_local.request == "outer"
    finally:
        del module_local.request


@pytest.mark.alone
def test_a_thread_made_outside_starts_in_every_execution():
    started = []
    thread = threading.Thread(target=lambda: started.append(1), name="early")

    def scenario():
        thread.start()
        thread.join()

    result = explore(scenario)
    assert result.verdict == "verified"
    assert len(started) > 1


@pytest.mark.alone
def test_threads_are_genuine_again_outside_a_simulation():
    explore(lambda world: world.actor("nobody", lambda: world.step("nothing")))
    seen = []
    thread = threading.Thread(target=lambda: seen.append((threading.get_ident(), threading.current_thread())))
    thread.start()
    thread.join()
    assert seen == [(thread.ident, thread)]
    assert thread.ident != threading.get_ident()
    assert threading.current_thread() is threading.main_thread()
    assert type(threading.local()) is _thread._local


def test_a_daemon_that_takes_a_lock_again_and_again_does_not_deadlock_those_who_wait_for_it():
    def program():
        stop, lock = threading.Event(), threading.Lock()

        def poll():
            while not stop.is_set():
                with lock:
                    pass

        threading.Thread(target=poll, daemon=True, name="poll").start()
        with lock:
            pass
        stop.set()

    result = simharness.explore(program)
    assert result.verdict == "verified"
    assert result.deadlocks == 0
    assert "loops that only look are waiting" in result.bounds
