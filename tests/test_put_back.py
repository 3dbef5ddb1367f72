"""Whatever ends an exploration, and whatever else explores: what it has replaced is put back, and no interrupt is lost."""

import _thread
import builtins
import datetime
import faulthandler
import functools
import gc
import importlib
import os
import queue
import random
import signal
import sqlite3
import sys
import threading
import time
import traceback
import uuid
import warnings

import pytest

import simharness
from simharness.engine.interrupts import INTERRUPTS
from simharness.runtimes.patching import Patches

pytestmark = pytest.mark.alone
MODULES = [_thread, builtins, datetime, functools, importlib, os, queue, random, signal, sqlite3, threading, time, uuid]
CLASSES = [threading.Thread, threading.Condition, threading.Event, queue.Queue, type(threading.Lock()), sqlite3.Connection]


def everything():
    """What can be compared: each attribute, the handlers of signals, hooks, filters, the state of the collector."""
    found = {(owner.__name__, name): value for owner in [*MODULES, *CLASSES] for name, value in list(vars(owner).items())}
    for name in ("__warningregistry__", "_dangling", "_active", "_shutdown_locks", "_shutdown_thread_locks", "_inst", "_limbo"):
        for owner in MODULES:
            found.pop((owner.__name__, name), None)
    found |= {("signal", int(number)): signal.getsignal(number) for number in signal.valid_signals()}
    hooks = (sys.excepthook, sys.unraisablehook, threading.excepthook, sys.displayhook, sys.breakpointhook, sys.gettrace(), sys.stdout)
    found |= {("hook", number): hook for number, hook in enumerate(hooks)}
    return {**found, "gc": gc.isenabled(), "filters": tuple(warnings.filters)}


@pytest.fixture(autouse=True)
def _as_before():
    random.Random("text")
    simharness.explore(lost_update)  # what the first one loads stays
    before = everything()
    yield
    after = everything()
    assert [name for name in before if after.get(name) is not before[name] and after.get(name) != before[name]] == []
    assert simharness.explore(lost_update).verdict == "violated"


def lost_update(world):
    cell = world.shared(0, "c")

    def bump():
        cell.set(cell.get() + 1)

    world.actor("a", bump)
    world.actor("b", bump)

    @world.at_end
    def both():
        assert cell.get() == 2


def many_orderings(world):
    for number in range(5):
        world.actor(f"a{number}", world.step, "x", (), ["x"])


class Stop(Exception):
    """Raised by a handler, like the time limit of another library."""


class Handler:
    """Handles a signal that this process sends itself, by raising; as Ctrl-C does, it comes from outside."""

    def __init__(self, kind):
        self.kind = kind
        self.called = 0
        self.where = ""

    def __enter__(self):
        self.before = signal.signal(signal.SIGALRM, self)
        return self

    def __exit__(self, *_):
        assert signal.getsignal(signal.SIGALRM) is self
        signal.signal(signal.SIGALRM, self.before)

    def __call__(self, number, frame):
        self.called += 1
        self.where = "".join(traceback.format_stack(frame)[-6:])
        raise self.kind


KINDS = [KeyboardInterrupt, Stop]


class SendsOnce:
    """Has a signal sent in the middle of what a method of `Patches` does, for the first one that replaces much."""

    def __init__(self, name):
        self.name = name
        self.genuine = getattr(Patches, name)
        self.sent = 0

    def __enter__(self):
        def sends(patches):
            if len(patches._attributes) > 50 and not self.sent:
                if self.name == "undo":
                    patches._undo.insert(len(patches._undo) // 2, self.send)
                else:
                    patches.change(self.send, bool)
            self.genuine(patches)

        setattr(Patches, self.name, sends)
        return self

    def send(self):
        self.sent += 1
        if self.sent == 1:
            _interrupt_from_outside()

    def __exit__(self, *_):
        setattr(Patches, self.name, self.genuine)
        assert self.sent


@pytest.mark.parametrize("kind", KINDS)
def test_an_interrupt_while_replacements_are_undone_comes_when_they_are_undone(kind):
    with Handler(kind) as handler, SendsOnce("undo"), pytest.raises(kind):
        simharness.explore(lost_update)
    assert handler.called == 1


@pytest.mark.parametrize("kind", KINDS)
def test_an_interrupt_while_replacements_are_made_comes_before_the_first_execution(kind):
    ran = []
    with Handler(kind), SendsOnce("apply"), pytest.raises(kind):
        simharness.explore(ran.append)
    assert not ran


@pytest.mark.parametrize("kind", KINDS)
def test_code_under_test_cannot_lose_an_interrupt_that_it_catches(kind):
    def scenario(world):
        def work():
            try:
                _interrupt_from_outside()
            except BaseException:
                world.step("goes on")

        world.actor("a", work)
        many_orderings(world)

    with Handler(kind) as handler, pytest.raises(kind):
        simharness.explore(scenario)
    assert handler.called == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_in_a_finaliser_is_not_lost(kind):
    class Last:
        def __del__(self):
            _interrupt_from_outside()

    def scenario(world):
        world.actor("a", lambda: Last() and None)

    with Handler(kind), pytest.raises(kind):
        simharness.explore(scenario)


def _interrupt_from_outside():
    """Send a signal past the replacement of `os.kill`, which refuses."""
    from simharness.runtimes import refused

    refused._kill(real_pid(), signal.SIGALRM)


def real_pid():
    from simharness.runtimes import randomness

    return randomness._getpid()


def test_an_interrupt_of_one_thread_s_exploration_does_not_end_another_s():
    verdicts = []
    with Handler(Stop), SendsOnce("undo"), pytest.raises(Stop):
        simharness.explore(lost_update)
    thread = threading.Thread(target=lambda: verdicts.append(simharness.explore(many_orderings).verdict))
    thread.start()
    thread.join(60)
    assert verdicts == ["verified"]


def test_code_that_sends_itself_a_signal_catches_what_its_handler_raises():
    def scenario(world):
        def work():
            with pytest.raises(Stop):
                signal.raise_signal(signal.SIGALRM)
            world.step("x", writes=["x"])

        world.actor("a", work)
        world.actor("b", world.step, "x", (), ["x"])

    with Handler(Stop):
        assert simharness.explore(scenario).verdict == "verified"


def test_a_restoration_that_fails_does_not_keep_the_others_from_being_made():
    class Owner:
        one = two = 1

    patches = Patches()
    patches.attribute(Owner, "one", 2)
    patches.change(lambda: None, lambda: 1 / 0)
    patches.attribute(Owner, "two", 2)
    patches.apply()
    with pytest.raises(ZeroDivisionError):
        patches.undo()
    assert (Owner.one, Owner.two) == (1, 1)


def test_an_exploration_inside_one_says_so_and_the_outer_one_goes_on():
    said = []

    def outer(world):
        def work():
            try:
                simharness.explore(lost_update)
            except simharness.Misuse as error:
                said.append(str(error))
            world.step("x", writes=["x"])

        world.actor("a", work)
        world.actor("b", world.step, "x", (), ["x"])

    assert simharness.explore(outer).verdict == "verified"
    assert said[0].startswith("an exploration inside an exploration: lost_update inside outer; explore from outside of actors")


def test_an_exploration_in_a_module_that_an_actor_imports_says_so(tmp_path, monkeypatch):
    (tmp_path / "explores_on_import.py").write_text("import simharness\nsimharness.explore(lambda world: world.actor('x', print))\n")
    monkeypatch.syspath_prepend(str(tmp_path))

    def scenario(world):
        world.actor("a", lambda: importlib.import_module("explores_on_import"))

    with pytest.raises(simharness.Misuse, match="an exploration inside an exploration"):
        simharness.explore(scenario)
    sys.modules.pop("explores_on_import", None)


def test_two_threads_that_explore_take_turns():
    verdicts = []

    def explores(scenario):
        verdicts.append(str(simharness.explore(scenario).verdict))

    for _ in range(5):
        threads = [threading.Thread(target=explores, args=(scenario,)) for scenario in (lost_update, many_orderings)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert sorted(verdicts) == ["verified"] * 5 + ["violated"] * 5


def test_a_thread_that_waits_too_long_for_its_turn_hears_who_explores():
    from simharness.simulation.turns import TURNS

    release, said = threading.Event(), []

    def first():
        with TURNS.taken("the_long_one", 10):
            release.wait(30)

    def second():
        try:
            simharness.explore(lost_update, settings=simharness.Settings(watchdog=0.2))
        except simharness.Misuse as error:
            said.append(str(error))
        release.set()

    threads = [threading.Thread(target=first, name="nightly"), threading.Thread(target=second)]
    threads[0].start()
    while TURNS._owner is None:
        pass
    threads[1].start()
    for thread in threads:
        thread.join(60)
    assert said == [
        "lost_update has waited 0.2 real seconds for its turn: the thread 'nightly' explores the_long_one; "
        "explore in one thread, or in processes"
    ]


def test_the_watchdog_leaves_signals_to_faulthandler_to_python_and_to_who_ignores_or_blocks_them(tmp_path):
    used = [signal.SIGUSR1, signal.SIGUSR2, signal.SIGRTMAX, signal.SIGRTMAX - 1]
    with open(tmp_path / "dump", "w+") as file:
        for number in used[1:]:
            faulthandler.register(number, file=file)
        before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        try:

            def scenario(world):
                world.actor("a", lambda: [_send(number) for number in used])
                many_orderings(world)

            explored = simharness.explore(scenario)
            assert explored.verdict == "verified"
            child = os.fork()  # a signal that nobody handles any more would end this process
            if not child:
                for number in used:
                    os.kill(os.getpid(), number)
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
        finally:
            signal.signal(signal.SIGUSR1, before)
            for number in used[1:]:
                faulthandler.unregister(number)
        file.seek(0)
        assert file.read().count("most recent call first") >= len(used[1:]) * (explored.executions + 1)


def _send(number):
    from simharness.runtimes import refused

    refused._kill(real_pid(), number)


@pytest.mark.parametrize("enabled", [True, False])
def test_the_collector_is_as_before_whatever_the_code_under_test_does_with_it(enabled):
    def scenario(world):
        world.actor("a", gc.enable)
        world.actor("b", gc.disable)

    (gc.enable if enabled else gc.disable)()
    try:
        simharness.explore(scenario)
        assert gc.isenabled() is enabled
    finally:
        gc.enable()


def test_outside_of_explorations_nothing_is_held():
    assert not INTERRUPTS._handlers
    assert not INTERRUPTS._waiting


@pytest.mark.long
def test_interrupts_at_random_moments_are_never_lost_and_leave_nothing_replaced():
    draw = random.Random(5)
    before = everything()
    for _ in range(200):
        scenario = draw.choice([lost_update, many_orderings])
        finished = False
        with Handler(KeyboardInterrupt) as handler:
            try:
                signal.setitimer(signal.ITIMER_REAL, draw.uniform(0.0005, 0.06))
                try:
                    simharness.explore(scenario)
                    finished = True
                finally:
                    signal.setitimer(signal.ITIMER_REAL, 0)
            except KeyboardInterrupt:
                finished = False
            assert finished == (not handler.called), handler.where
        after = everything()
        assert [name for name in before if after.get(name) is not before[name] and after.get(name) != before[name]] == []
