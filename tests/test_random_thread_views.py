"""Random programs of threads that start, look at, join and rename each other: reduction comes to what brute force comes to.

Both come to what a model of CPython's threads comes to that shares nothing with the engine (`thread_model.py`). Threads are made in
set-up, started by any, perhaps twice, and asked by any: whether they are alive, what they are called, which there are. A program is drawn
from a seed, so that a seed names it.
"""

import random
import threading
import time

import pytest

import simharness
from simharness.runtimes import control
from tests.thread_model import Model

LIMITS = simharness.Settings(max_executions=4_000, shrink=0, max_steps=200)
LOOKS = (
    "is_alive",
    "is_alive",
    "ident",
    "native_id",
    "repr",
    "join",
    "join",
    "timed join",
    "poll",
    "_started",
    *(["_is_stopped"] if "_is_stopped" in threading.Thread.__init__.__code__.co_names else []),
)
ATTRIBUTES = ("name", "name", "rename", "rename", "daemon", "retarget")
LISTS = ("active_count", "enumerate")


def draw(rng, names, most):
    """Draw what one actor does: (what, to which thread)."""
    return [(rng.choice(names), rng.randrange(2)) for _ in range(rng.randint(0, most))]


class Things:
    """The threads of one execution, and what each actor saw."""

    def __init__(self, world, programs):
        self.cell = world.shared(0, "cell")
        self.seen = {}
        self.numbers = {}
        self.programs = programs
        self.threads = [threading.Thread(target=self.run, args=(f"t{number}",), name=f"t{number}") for number in range(2)]

    def run(self, name):
        seen = self.seen.setdefault(name, [])
        for what, which in self.programs.get(name, ()):
            thread = self.threads[which]
            try:
                seen.append((what, self.one(what, thread)))
            except RuntimeError as refused:
                seen.append((what, str(refused)))

    def one(self, what, thread):
        calls = {
            "start": thread.start,
            "is_alive": thread.is_alive,
            "ident": lambda: thread.ident is not None,
            "native_id": lambda: thread.native_id is not None,
            "repr": lambda: repr(thread)[len("<Thread(") :].partition(" daemon")[0].rstrip(")> 0123456789"),
            "join": thread.join,
            "timed join": lambda: thread.join(1.0),
            "poll": lambda: thread.join(0),
            "_started": thread._started.is_set,
            "_is_stopped": lambda: thread._is_stopped,
            "name": lambda: thread.name,
            "rename": lambda: setattr(thread, "name", f"{thread.name}'"),
            "daemon": lambda: thread.daemon,
            "make daemon": lambda: setattr(thread, "daemon", True),
            "retarget": lambda: setattr(thread, "_target", None),
            "active_count": threading.active_count,
            "enumerate": lambda: tuple(sorted(self.threads.index(each) for each in threading.enumerate() if each in self.threads)),
            "me": lambda: (threading.current_thread().name, threading.current_thread().is_alive()),
            "add": lambda: self.cell.add(1),
            "sleep": lambda: time.sleep(1.0),
        }
        return calls[what]()


def drawn(seed):
    """Draw a program: what each actor and each thread does, and how late the clock may be."""
    rng = random.Random(seed)
    kinds = rng.choice([LOOKS, LOOKS, ATTRIBUTES, LISTS, LOOKS + ATTRIBUTES, LOOKS + LISTS])
    names = (*rng.sample(kinds, min(len(kinds), 3)), *rng.choice([("add",), (), ("make daemon",), ("sleep", "sleep")]))
    actors = rng.choice([1, 2, 2])
    programs = {f"a{number}": draw(rng, (*names, *names, "start", "start"), 4 if actors == 1 else 3) for number in range(actors)}
    programs["a0"].insert(0, ("start", 0))
    programs |= {f"t{number}": draw(rng, (*names, "me", "start"), rng.choice([0, 1, 1, 2])) for number in range(2)}
    return programs, rng.choice([0, 0, 2.0])


def scenario(programs, max_delay):
    """Return the scenario of a program."""

    @simharness.scenario(max_delay=max_delay, allow_deadlock=True)
    def program(world):
        things = Things(world, programs)
        for name in programs:
            if name.startswith("a"):
                world.actor(name, things.run, name)

        @world.at_end
        def what_was_seen():
            world.outcome(repr((sorted(things.seen.items()), things.cell.get())))

    return program


def compare(seed):
    """Explore both ways and compare; False when brute force would take too long."""
    programs, max_delay = drawn(seed)
    program = scenario(programs, max_delay)
    everything = simharness.explore(program, strategy="exhaustive", stop_on_first=False, settings=LIMITS)
    if "stopped at" in everything.bounds:
        return False
    reduced = simharness.explore(program, "dpor", stop_on_first=False, settings=LIMITS)
    assert reduced.outcomes == everything.outcomes, f"seed {seed}"
    assert (reduced.deadlocks > 0) == (everything.deadlocks > 0), f"seed {seed}"
    assert reduced.verdict == everything.verdict, f"seed {seed}"
    assert reduced.executions <= everything.executions, f"seed {seed}"
    if not any(what == "make daemon" or (max_delay and what in ("timed join", "sleep")) for todo in programs.values() for what, _ in todo):
        assert reduced.redundant == 0, f"seed {seed}"
        model = Model(programs, threads=2)
        model.explore()
        assert reduced.outcomes == model.outcomes, f"seed {seed}"
        assert (reduced.deadlocks > 0) == model.deadlock, f"seed {seed}"
    return True


def test_random_programs_of_threads_that_look_at_each_other_come_to_the_same_with_and_without_reduction():
    with control.installed():
        assert sum(compare(seed) for seed in range(30)) > 20


@pytest.mark.long
@pytest.mark.parametrize("first", range(10_000, 12_000, 250))
def test_many_random_programs_of_threads_that_look_at_each_other_come_to_the_same_with_and_without_reduction(first):
    with control.installed():
        assert sum(compare(seed) for seed in range(first, first + 250)) > 180
