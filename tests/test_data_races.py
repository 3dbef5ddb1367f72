"""Data races as failures: found without any assert, and compared with a search for neighbours in all interleavings."""

import queue
import random
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

import simharness
from simharness import Misuse, Settings
from simharness.authoring.loading import load

RACES = Settings(instrument=(__name__,), races="fail")


class Counter:
    def __init__(self):
        self.n = 0
        self.ready = False


def both(first, second):
    threads = [threading.Thread(target=first), threading.Thread(target=second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def counted_without_a_lock():
    counter = Counter()

    def count():
        counter.n += 1

    both(count, count)


def counted_under_a_lock():
    counter, lock = Counter(), threading.Lock()

    def count():
        with lock:
            counter.n += 1

    both(count, count)


def counted_under_two_locks():
    counter = Counter()

    def counting():
        lock = threading.Lock()

        def count():
            with lock:
                counter.n += 1

        return count

    both(counting(), counting())


def announced_by_a_flag():
    counter = Counter()

    def announces():
        counter.n = 1
        counter.ready = True

    def looks():
        if counter.ready:
            assert counter.n

    both(announces, looks)


def announced_by_an_event():
    counter, ready = Counter(), threading.Event()

    def announces():
        counter.n = 1
        ready.set()

    def looks():
        if ready.is_set():
            assert counter.n

    both(announces, looks)


def handed_over_in_a_queue():
    handed = queue.Queue()

    def makes():
        counter = Counter()
        counter.n = 1
        handed.put(counter)

    def takes():
        counter = handed.get()
        counter.n += 1

    both(makes, takes)


def handed_over_in_a_list():
    handed = []

    def makes():
        counter = Counter()
        counter.n = 1
        handed.append(counter)

    def takes():
        if handed:
            handed[0].n += 1

    both(makes, takes)


def appended_by_both():
    items = []
    both(lambda: items.append(1), lambda: items.append(2))


def changed_while_looped_over():
    items = [1]

    def loops():
        for item in items:
            str(item)

    both(lambda: items.append(2), loops)


def changed_while_copied():
    items = [1]
    both(lambda: items.append(2), lambda: list(items))


def made_lazily():
    holder = Counter()

    def get():
        if not holder.ready:
            holder.ready = True

    both(get, get)


def checked_twice():
    holder, lock = Counter(), threading.Lock()

    def get():
        if not holder.ready:
            with lock:
                if not holder.ready:
                    holder.ready = True

    both(get, get)


def checked_under_the_lock():
    holder, lock = Counter(), threading.Lock()

    def get():
        with lock:
            if not holder.ready:
                holder.ready = True

    both(get, get)


def used_before_and_after_a_thread():
    counter = Counter()

    def count():
        counter.n += 1

    counter.n += 1
    for _ in range(2):
        thread = threading.Thread(target=count)
        thread.start()
        thread.join()
    counter.n += 1


def used_while_a_thread_runs():
    counter = Counter()

    def count():
        counter.n += 1

    thread = threading.Thread(target=count)
    thread.start()
    counter.n += 1
    thread.join()


def passed_through_futures():
    counter = Counter()

    def count():
        counter.n += 1

    with ThreadPoolExecutor(2) as pool:
        pool.submit(count).result()
        pool.submit(count).result()
    counter.n += 1


def counted_in_a_pool():
    counter = Counter()

    def count():
        counter.n += 1

    with ThreadPoolExecutor(2) as pool:
        pool.submit(count)
        pool.submit(count)


total = 0


def counted_in_a_variable():
    def count():
        global total
        total += 1

    both(count, count)


def ordered_by_a_barrier():
    counter, barrier = Counter(), threading.Barrier(2)

    def writes():
        counter.n = 1
        barrier.wait()

    def reads():
        barrier.wait()
        assert counter.n == 1

    both(writes, reads)


def ordered_by_commits(world):
    counter, path = Counter(), world.path("done.db")
    keeper = sqlite3.connect(path)
    keeper.execute("CREATE TABLE done (n)")
    keeper.close()

    def writes():
        counter.n = 1
        own = sqlite3.connect(path)
        own.execute("INSERT INTO done VALUES (1)")
        own.commit()
        own.close()

    def reads():
        own = sqlite3.connect(path)
        if own.execute("SELECT n FROM done").fetchone():
            assert counter.n == 1
        own.close()

    world.actor("writes", writes)
    world.actor("reads", reads)


RACY = {
    counted_without_a_lock: "Counter.n",
    counted_under_two_locks: "Counter.n",
    announced_by_a_flag: "Counter.ready",
    changed_while_looped_over: "items",
    made_lazily: "Counter.ready",
    checked_twice: "Counter.ready",
    used_while_a_thread_runs: "Counter.n",
    counted_in_a_pool: "Counter.n",
    counted_in_a_variable: "test_data_races.total",
}
FREE = (
    counted_under_a_lock,
    announced_by_an_event,
    handed_over_in_a_queue,
    handed_over_in_a_list,
    appended_by_both,
    changed_while_copied,
    checked_under_the_lock,
    used_before_and_after_a_thread,
    passed_through_futures,
    ordered_by_a_barrier,
    ordered_by_commits,
)


@pytest.mark.parametrize("program", RACY, ids=lambda program: program.__name__)
def test_a_data_race_fails_without_any_assert_and_its_token_repeats_it(program):
    result = simharness.explore(program, settings=RACES)
    assert result.verdict == "violated"
    found = result.counterexample
    assert found.failure.startswith(f"data race on {RACY[program]}: ")
    assert found.failure.endswith(", and nothing orders them")
    assert found.failure.count("test_data_races.py:") == 2, "both places"
    assert found.violates == ("data race", f"data race on {RACY[program]}")
    again = simharness.replay(program, found.token, settings=Settings(instrument=(__name__,)))
    assert again.failure == found.failure, "the token says what is asked for"


@pytest.mark.parametrize("program", FREE, ids=lambda program: program.__name__)
def test_what_locks_events_queues_joins_and_atomic_operations_order_is_no_race(program):
    assert simharness.explore(program, settings=RACES).verdict == "verified"


@pytest.mark.parametrize("program", RACY, ids=lambda program: program.__name__)
def test_without_the_setting_a_data_race_alone_is_no_failure(program):
    assert simharness.explore(program, settings=Settings(instrument=(__name__,))).verdict == "verified"


def test_a_race_on_purpose_is_allowed_with_its_reason_and_orders_what_is_around_it():
    reason = "Counter.ready: a stale flag is seen later"
    allowed = Settings(instrument=(__name__,), races="fail", allowed_races=(reason,))
    result = simharness.explore(announced_by_a_flag, settings=allowed)
    assert result.verdict == "verified"
    assert f"data races fail, but not on {reason}" in result.bounds
    assert simharness.explore(counted_without_a_lock, settings=allowed).verdict == "violated", "another location"


@pytest.mark.parametrize("options", [{"races": "report"}, {"allowed_races": ("Counter.n",)}, {"allowed_races": (": reason",)}])
def test_a_setting_for_races_that_means_nothing_is_refused(options):
    with pytest.raises(Misuse, match=next(iter(options))):
        Settings(**options)


def test_tasks_of_one_loop_are_one_thread():
    import asyncio

    def program():
        counter = Counter()

        async def count():
            counter.n += 1
            await asyncio.sleep(0)
            counter.n += 1

        async def main():
            await asyncio.gather(count(), count())

        asyncio.run(main())

    assert simharness.explore(program, settings=RACES).verdict == "verified"


def test_a_worker_thread_of_a_loop_is_another_thread():
    import asyncio

    def program():
        counter = Counter()

        def count():
            counter.n += 1

        async def main():
            thread = asyncio.create_task(asyncio.to_thread(count))
            await asyncio.sleep(0)
            count()
            await thread

        asyncio.run(main())

    assert simharness.explore(program, settings=RACES).counterexample.violates[0] == "data race"


# Random programs, against neighbours in all interleavings


class Shared:
    def __init__(self):
        self.a = self.b = self.c = 0
        self.locks = [threading.Lock(), threading.Lock()]
        self.event = threading.Event()
        self.items = []


def drawn(source, depth=0):
    """Return what a thread does: accesses, under a lock, or only if an attribute is not 0, an event is set, a list not empty."""
    steps = []
    for _ in range(source.randint(1, 3 - depth)):
        kind = source.choice(["read", "write", "write", "set", "append", "lock", "if", "if set", "if item"])
        if kind in ("read", "write"):
            steps.append((kind, source.choice("abc")))
        elif kind in ("set", "append"):
            steps.append((kind, None))
        elif depth < 2:
            about = source.randrange(2) if kind == "lock" else source.choice("abc")
            steps.append((kind, about, drawn(source, depth + 1)))
    return tuple(steps)


def run_steps(shared, steps):
    for step in steps:
        kind, about = step[:2]
        if kind == "read":
            getattr(shared, about)
        elif kind == "write":
            setattr(shared, about, 1)
        elif kind == "set":
            shared.event.set()
        elif kind == "append":
            shared.items.append(1)
        elif kind == "lock":
            with shared.locks[about]:
                run_steps(shared, step[2])
        elif (
            (kind == "if" and getattr(shared, about))
            or (kind == "if set" and shared.event.is_set())
            or (kind == "if item" and shared.items)
        ):
            run_steps(shared, step[2])


def neighbours(threads):
    """Return the attributes that two threads can access next, one of them writing, in any state that is reached."""
    found, seen = set(), set()
    start = (tuple(threads), frozenset(), (None, None), False, False)
    waiting = [start]
    while waiting:
        state = waiting.pop()
        if state in seen:
            continue
        seen.add(state)
        rests = state[0]
        accesses = [_access(rest) for rest in rests]
        for i, one in enumerate(accesses):
            for other in accesses[i + 1 :]:
                if one and other and one[0] == other[0] and (one[1] or other[1]):
                    found.add(one[0])
        for index, rest in enumerate(rests):
            if rest:
                waiting.extend(_after(state, index, rest[0], rest[1:]))
    return found


def _access(rest):
    if not rest or rest[0][0] not in ("read", "write", "if"):
        return None
    return rest[0][1], rest[0][0] == "write"


def _after(state, index, step, rest):
    rests, written, held, is_set, appended = state
    kind, about = step[:2]
    if kind == "write":
        written = written | {about}
    elif kind == "set":
        is_set = True
    elif kind == "append":
        appended = True
    elif kind == "lock":
        if held[about] is not None:
            return  # not even by this thread: the lock is not reentrant
        held = tuple(index if number == about else holder for number, holder in enumerate(held))
        rest = (*step[2], ("release", about), *rest)
    elif kind == "release":
        held = tuple(None if number == about else holder for number, holder in enumerate(held))
    elif (kind == "if" and about in written) or (kind == "if set" and is_set) or (kind == "if item" and appended):
        rest = (*step[2], *rest)
    yield (*rests[:index], rest, *rests[index + 1 :]), written, held, is_set, appended


def compare(seed):
    source = random.Random(seed)
    threads = [drawn(source) for _ in range(source.choice([2, 2, 3]))]

    @simharness.scenario(instrument=(__name__,), allow_deadlock=True)
    def scenario(world):
        shared = Shared()
        for number, steps in enumerate(threads):
            world.actor(f"t{number}", lambda steps=steps: run_steps(shared, steps))

    expected = neighbours(threads)
    result = simharness.explore(scenario, "dpor", settings=Settings(races="fail", shrink=0))
    assert result.verdict != "inconclusive" or "no actor ever made a step" in result.bounds
    assert (result.verdict == "violated") is bool(expected), (seed, threads, expected)
    if expected:
        location = result.counterexample.violates[1].rpartition(".")[2]
        assert location in expected, (seed, threads, expected, result.counterexample.failure)


@pytest.mark.parametrize("part", range(4))
def test_a_race_is_found_in_just_the_random_programs_in_which_accesses_can_be_neighbours(part):
    for seed in range(part * 40, part * 40 + 40):
        compare(seed)


@pytest.mark.long
@pytest.mark.parametrize("part", range(4))
def test_a_race_is_found_in_just_the_random_programs_in_which_accesses_can_be_neighbours_more_of_them(part):
    for seed in range(1000 + part * 400, 1400 + part * 400):
        compare(seed)


def test_a_race_is_found_with_the_marker_and_on_the_command_line(pytester, tmp_path):
    body = """
import threading
import pytest

class Counter:
    n = 0

@pytest.mark.interleave(races="fail"{allowed})
def test_counts():
    counter = Counter()
    def count():
        counter.n += 1
    threads = [threading.Thread(target=count) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
"""
    pytester.makepyfile(
        test_it=body.format(allowed=""), test_other=body.format(allowed=", allowed_races='Counter.n: a rough count is enough'")
    )
    result = pytester.runpytest("-p", "no:cacheprovider")
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(
        ["data race on Counter.n: *writes it at test_it.py:*", "FAILED test_it.py::test_counts - Failed: data race on Counter.n: *"]
    )


def test_the_shipped_scenario_with_a_lost_update_has_a_race_and_its_locked_twin_has_none():
    (scenario,) = load("scenarios/plain_objects.py::lost_update")
    verdicts = [
        simharness.explore(scenario, parameters={"guard": guard}, settings=Settings(races="fail", confirm=False))
        for guard in ("none", "lock")
    ]
    assert [result.verdict for result in verdicts] == ["violated", "verified"]


pytest_plugins = ["pytester"]
