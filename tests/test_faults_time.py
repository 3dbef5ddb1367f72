"""Faults of time, and that time is right: lateness is bounded, a stall is not, and a lease expires where no timer is near."""

import threading
import time

import pytest

import simharness
from simharness import Verdict
from tests.replays import assert_identical

TTL = 300.0


def explore(scenario, faults=None, **options):
    return simharness.explore(scenario, faults=faults, stop_on_first=False, **options)


class Lease:
    """A lease row in miniature: a holder and when it expires, looked at and taken in one step."""

    def __init__(self, world):
        self.row = world.shared((None, 0.0), "lease")

    def acquire(self, me):
        while True:
            row = self.row.get()
            now = time.time()
            if row[0] is not None and now < row[1]:
                return False
            if self.row.compare_and_set(row, (me, now + TTL)):
                return True

    def refresh(self, me):
        row = self.row.get()
        return row[0] == me and self.row.compare_and_set(row, (me, time.time() + TTL))


def compression(world, seconds, refresh_every=None):
    """One actor works under a lease, with a refresher if wanted; a late contender of another process comes when it may."""
    lease = Lease(world)
    world.timescale(TTL)

    def compress():
        if not lease.acquire("main"):
            return
        over = threading.Event()

        def refresher():
            while not over.wait(refresh_every):
                if not lease.refresh("main"):
                    return

        if refresh_every:
            thread = threading.Thread(target=refresher)
            thread.start()
        time.sleep(seconds)
        holder = lease.row.get()[0]
        world.outcome("kept" if holder == "main" else "lost")
        assert holder == "main" or not refresh_every, "a live holder has lost its lease"
        over.set()
        if refresh_every:
            thread.join()

    def contend():
        time.sleep(310)
        lease.acquire("fork")

    world.actor("main", compress, process="agent")
    world.actor("fork", contend, process="other")


def test_a_400_s_compression_with_a_live_refresher_never_loses_its_lease_without_a_fault_and_does_with_a_stall():
    def refreshed(world):
        compression(world, 400, refresh_every=250)

    calm = explore(refreshed)
    assert calm.verdict is Verdict.VERIFIED
    assert calm.outcomes == {"kept"}
    stalled = simharness.explore(refreshed, faults="stall=1@agent")
    assert stalled.verdict is Verdict.VIOLATED
    assert "at most 1 stall of agent, at every place" in stalled.bounds
    assert stalled.counterexample.failure.startswith("an assertion fails in main: a live holder has lost its lease")


def test_a_400_s_compression_without_a_refresher_loses_its_lease():
    assert explore(lambda world: compression(world, 400)).outcomes == {"lost"}


def test_the_late_contender_is_found_though_somebody_could_always_move():
    def late(world):
        ended = world.shared(False, "ended")
        children = world.shared(0, "children")

        def compress(name):
            open_then = not ended.get()
            if name == "first":
                time.sleep(3)
            ended.set(True)
            if open_then:
                children.add(1)

        world.actor("first", compress, "first")
        world.actor("second", compress, "second")
        world.at_end(lambda: world.outcome(children.get()))

    def order(world):
        log = []

        def sleeps():
            time.sleep(3)
            log.append("sleeper")
            world.step("after the sleep", writes=["log"])

        def busy():
            world.step("before", writes=["log"])
            log.append("busy")
            world.step("after", writes=["log"])

        world.actor("sleeper", sleeps)
        world.actor("busy", busy)
        world.at_end(lambda: world.outcome(tuple(log)))

    assert explore(late).outcomes == {1, 2}
    assert explore(order).outcomes == {("busy", "sleeper"), ("sleeper", "busy")}


def test_a_fork_that_needs_more_lateness_than_a_fair_machine_has_is_not_reported():
    def starved(world):
        compression(world, 200, refresh_every=150)

    assert explore(starved).outcomes == {"kept"}


def test_a_lease_expires_passively_where_no_timer_is_near():
    def passive(world, seconds):
        world.timescale(seconds)
        written = time.time()
        world.actor("reader", lambda: world.outcome(time.time() < written + seconds))

    near, far = simharness.Scenario(passive, {"seconds": [2.0]}), simharness.Scenario(passive, {"seconds": [300.0]})
    assert explore(near).outcomes == {True, False}
    assert explore(far).outcomes == {True}
    assert explore(far, "stall=1").outcomes == {True, False}


def test_the_clock_is_only_ever_read_at_instants_those_that_are_pending_and_just_before_and_after_each_reading_plus_the_timescale():
    def reads(world):
        world.timescale(TTL)

        def reader():
            began = time.time()
            world.outcome(round(time.time() - began, 6))

        world.actor("reader", reader, process="P")
        world.actor("sleeper", time.sleep, 3, process="Q")

    assert explore(reads).outcomes == {0, 3}
    assert explore(reads, "stall=1@P").outcomes == {0, 3, TTL - 0.001, TTL + 0.001}
    assert explore(reads, "stall=1@P", strategy="exhaustive").outcomes == {0, 3, TTL - 0.001, TTL + 0.001}


def test_a_stall_holds_the_helpers_of_its_process_too_and_nobody_else():
    def helped(world):
        log = []

        def note(who, seconds):
            time.sleep(seconds)
            world.step(who, writes=["log"])
            log.append(who)

        world.actor("worker", note, "worker", 10, process="P")
        world.actor("helper", note, "helper", 20, process="P")
        world.actor("other", note, "other", 100, process="Q")
        world.at_end(lambda: world.outcome(tuple(log)))

    outcomes = explore(helped, "stall=1@P").outcomes
    assert ("other", "worker", "helper") in outcomes
    assert ("other", "helper", "worker") in outcomes
    assert explore(helped).outcomes == {("worker", "helper", "other")}


def reads_both(world):
    """Say how far the two clocks went over a sleep of ten seconds; somebody else sleeps for a hundred."""

    def work():
        wall, steady = time.time(), time.monotonic()
        time.sleep(10)
        world.outcome((round(time.time() - wall), round(time.monotonic() - steady)))

    world.actor("worker", work, process="P")
    world.actor("other", lambda: time.sleep(100), process="Q")


def test_in_a_stall_both_clocks_go_on_and_in_a_suspension_the_monotonic_one_stands_still():
    assert explore(reads_both, "stall=1@P").outcomes >= {(10, 10), (100, 100)}
    suspended = explore(reads_both, "suspend=1@P").outcomes
    assert (10, 10) in suspended
    assert (110, 10) in suspended
    assert {steady for _, steady in suspended} == {10}


def test_the_wall_clock_jumps_both_ways_at_every_reading_and_the_monotonic_one_does_not():
    result = explore(reads_both, "clock_jump=1")
    assert result.outcomes == {(10, 10), (3610, 10), (-3590, 10)}
    assert "at most 1 jump of the wall clock by 3600 s, forwards or backwards, before every reading" in result.bounds
    assert explore(reads_both, "clock_jump=1@60").outcomes == {(10, 10), (70, 10), (-50, 10)}
    assert {wall for wall, _ in explore(reads_both, "clock_jump=2@60").outcomes} == {10, 70, -50}


def test_a_jump_shows_in_the_timeline_and_a_stall_does():
    def impatient(world):
        began = time.time()

        def work():
            taken = time.time() - began
            assert -1 < taken < 50, taken

        world.actor("worker", work, process="P")
        world.actor("other", lambda: time.sleep(100), process="Q")

    jumped = simharness.explore(impatient, faults="clock_jump=1")
    assert jumped.verdict is Verdict.VIOLATED
    assert "the wall clock has jumped forwards by 3600 s" in jumped.counterexample.timeline
    stalled = simharness.explore(impatient, faults="stall=1")
    assert "P for 100 s: stalled" in stalled.counterexample.timeline
    assert "!stall.0.1" in stalled.counterexample.token
    assert_identical(impatient, stalled.counterexample)


@pytest.mark.parametrize("faults", [None, "stall=1", "crash=1", "suspend=1"])
def test_with_clocks_and_faults_every_interleaving_comes_to_the_same(faults):
    def short(world):
        lease = Lease(world)
        world.timescale(TTL)
        world.actor("one", lambda: world.outcome(("one", lease.acquire("one"))), process="P")
        world.actor("two", lambda: world.outcome(("two", lease.acquire("two"))), process="Q")

    assert explore(short, faults).outcomes == explore(short, faults, strategy="exhaustive").outcomes
