"""Written programs over executors, each about one race: the modelled pool has the outcomes of the genuine one."""

from __future__ import annotations

import concurrent.futures
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import simharness
from tests.test_random_pools import GenuineExecutor, agree, explored

PROGRAMS = {}
"""What a program calls with a class of executors and the world; the result is the outcome."""


def program(function):
    PROGRAMS[function.__name__] = function
    return function


@program
def running_race(make, world):
    with make(1) as p:
        f = p.submit(int)
        g = p.submit(int)
        return (f.running(), g.running(), f.done())


@program
def cancel_second(make, world):
    with make(1) as p:
        f = p.submit(int)
        g = p.submit(int)
        c = g.cancel()
        return (c, f.done(), g.done(), g.cancelled())


@program
def cancel_in_callback(make, world):
    with make(1) as p:
        f = p.submit(int)
        g = p.submit(int)
        out = []
        f.add_done_callback(lambda _: out.append(g.cancel()))
    return (out, g.cancelled())


@program
def submit_in_callback(make, world):
    c = world.shared(0, "c")
    with make(1) as p:
        f = p.submit(int)
        out = []

        def cb(_):
            try:
                p.submit(c.add, 1)
            except RuntimeError as e:
                out.append(str(e))

        f.add_done_callback(cb)
    return (out, c.get())


@program
def callback_order(make, world):
    c = world.shared((), "c")
    with make(1) as p:
        f = p.submit(int)
        t = threading.Thread(target=lambda: f.add_done_callback(lambda _: c.set((*c.get(), 1))))
        t.start()
        f.add_done_callback(lambda _: c.set((*c.get(), 2)))
        t.join()
    return c.get()


@program
def wait_cancelled(make, world):
    with make(1) as p:
        e = threading.Event()
        p.submit(e.wait)
        g = p.submit(int)
        c = g.cancel()
        d, _ = concurrent.futures.wait([g], 0.5)
        e.set()
        return (c, len(d))


@program
def two_submitters(make, world):
    c = world.shared((), "c")
    with make(1) as p:

        def sub(n):
            p.submit(lambda: c.set((*c.get(), n)))

        t = threading.Thread(target=sub, args=(1,))
        t.start()
        sub(2)
        t.join()
    return c.get()


@program
def shutdown_race(make, world):
    p = make(1)
    out = []

    def sub():
        try:
            out.append(p.submit(int).result())
        except RuntimeError:
            out.append("refused")

    t = threading.Thread(target=sub)
    t.start()
    p.shutdown()
    t.join()
    return out


@program
def shutdown_nowait_result(make, world):
    p = make(1)
    f = p.submit(int)
    p.shutdown(wait=False)
    return (f.done(), f.result())


@program
def exc_first(make, world):
    with make(2) as p:
        fs = [p.submit(int, "x"), p.submit(int)]
        d, _n = concurrent.futures.wait(fs, return_when=concurrent.futures.FIRST_EXCEPTION)
        return [f in d for f in fs]


@program
def sleepers(make, world):
    with make(1) as p:
        fs = [p.submit(time.sleep, 1.0), p.submit(time.sleep, 1.0)]
        try:
            fs[1].result(timeout=1.5)
        except TimeoutError:
            return ("timeout", fs[0].done(), fs[1].running())
        return "ok"


@program
def map_close(make, world):
    c = world.shared(0, "c")
    with make(1) as p:
        it = p.map(lambda n: c.add(1), range(2))
        next(it)
        it.close()
    return c.get()


@program
def repr_race(make, world):
    with make(1) as p:
        f = p.submit(int)
        return repr(f).split("state=")[1]


@program
def two_pools(make, world):
    with make(1) as p, make(1) as q:
        f = p.submit(lambda: q.submit(int).result())
        return f.result()


@program
def cross_deadlock(make, world):
    with make(1) as p, make(1) as q:
        f = p.submit(lambda: q.submit(lambda: p.submit(int).result()).result())
        return f.result()


@program
def exception_waits(make, world):
    with make(2) as p:
        f = p.submit(int, "x")
        g = p.submit(lambda: f.exception() is not None)
        return g.result()


@program
def ac_cancel(make, world):
    with make(1) as p:
        fs = [p.submit(int) for _ in range(2)]
        c = fs[1].cancel()
        return (c, [fs.index(f) for f in concurrent.futures.as_completed(fs)])


@program
def a_daemon(make, world):
    cell = world.shared(0, "cell")
    threading.Thread(target=cell.add, args=(10,), daemon=True).start()
    with make(1) as pool:
        pool.submit(cell.add, 1)
    return cell.get()


SLOW = frozenset({"exc_first", "exception_waits", "a_daemon"})
"""Programs with hundreds of orderings of the genuine workers."""


def compare(name, lateness):
    """Explore with both classes."""

    def scenario(make):
        @simharness.scenario(allow_deadlock=True, max_delay=lateness)
        def tried(world):
            kept = []
            world.actor("a", lambda: kept.append(PROGRAMS[name](make, world)))
            world.at_end(lambda: world.outcome(str(kept.pop())))

        return tried

    agree(explored(scenario(ThreadPoolExecutor), "dpor", 5_000), explored(scenario(GenuineExecutor), "dpor", 5_000), name)


@pytest.mark.parametrize("name", sorted(PROGRAMS.keys() - SLOW))
def test_written_programs_have_the_outcomes_of_the_genuine_executor(name):
    compare(name, 0)


@pytest.mark.long
@pytest.mark.parametrize("name", sorted(PROGRAMS))
def test_written_programs_have_the_outcomes_of_the_genuine_executor_when_actors_are_late(name):
    compare(name, 2.0)
