"""Code that uses the mutex, the conditions or the container of a queue meets what it would meet on threads."""

from __future__ import annotations

import queue

import pytest

import simharness
from simharness.instrument.loader import compiled
from tests.runtimes.exploring import explore

HEAD = """
import operator
import queue
import threading

class Clearable(queue.Queue):
    def clear(self, notify=True):
        with self.mutex:
            count = len(self.queue)
            self.queue.clear()
            self.unfinished_tasks -= count
            if notify:
                self.not_full.notify_all()
        return count

class Unique(queue.Queue):
    def _init(self, maxsize):
        self.queue = set()

    def _put(self, item):
        self.queue.add(item)

    def _get(self):
        return self.queue.pop()

class Urgent:
    def __init__(self, rank):
        self.rank = rank

    def __lt__(self, other):
        return self.rank < other.rank

"""
module_queue = queue.Queue()
module_queue.put("early")
held_queue = queue.Queue()
held_queue.put(1)
held_mutex, held_items = held_queue.mutex, held_queue.queue
HOW = pytest.mark.parametrize("how", ["instrumented", "plain"])


def program(lines, how="instrumented"):
    """Return the scenario function of these lines."""
    text = f"{HEAD}\ndef program(world):\n" + "".join(f"    {line}\n" for line in lines)
    space = {"__name__": "queue_insides"}
    exec(compiled(text, "queue_insides.py") if how == "instrumented" else compile(text, "queue_insides_plain.py", "exec"), space)
    return space["program"]


def drain(mutex):
    """A program in which one actor takes everything out under the mutex, and another takes one item, if there is any."""
    return (
        "items, got = queue.Queue(), []",
        "items.put(1)",
        "def drain():",
        f"    with {mutex}:",
        "        got.extend(items.queue)",
        "        items.queue.clear()",
        "def take():",
        "    try: got.append(items.get_nowait())",
        "    except queue.Empty: world.outcome('empty')",
        "    else: world.outcome('taken')",
        "world.actor('drainer', drain)",
        "world.actor('taker', take)",
        "@world.at_end",
        "def once(): assert got == [1]",
    )


@HOW
@pytest.mark.parametrize("mutex", ["items.mutex", "items.not_empty", "items.not_full", "items.all_tasks_done"])
def test_what_is_taken_out_under_the_mutex_is_taken_once(mutex, how):
    result = explore(program(drain(mutex), how))
    orderings = 3 if how == "instrumented" else 2  # `got` is memory, too
    assert (result.verdict, result.executions, result.outcomes, result.remarks) == ("verified", orderings, {"empty", "taken"}, ())


@HOW
@pytest.mark.parametrize("kind", ["Queue", "LifoQueue", "PriorityQueue"])
@pytest.mark.parametrize("look", ["items.queue", "len(items.queue)", "not items.empty()", "getattr(items, 'queue')", "items._qsize()"])
def test_an_item_that_is_seen_without_the_mutex_may_be_gone_when_it_is_taken(kind, look, how):
    lines = (
        f"items = queue.{kind}()",
        "items.put(1)",
        "def take():",
        f"    if {look}:",
        "        items.get_nowait()",
        "world.actor('a', take)",
        "world.actor('b', take)",
    )
    result = explore(program(lines, how))
    assert result.verdict == "violated"
    assert "raised Empty" in result.counterexample.failure
    assert simharness.replay(program(lines, how), result.counterexample.token).failure


def test_an_item_that_is_seen_and_taken_under_the_mutex_is_there():
    result = explore(
        program(
            (
                "items = queue.Queue()",
                "items.put(1)",
                "def take():",
                "    with items.mutex:",
                "        if items.queue: world.outcome(items.queue.popleft())",
                "world.actor('a', take)",
                "world.actor('b', take)",
            )
        )
    )
    assert (result.verdict, result.executions, result.outcomes) == ("verified", 2, {1})


@HOW
def test_counting_and_clearing_under_the_mutex_is_one_act(how):
    lines = (
        "items = queue.Queue()",
        "items.put(1)",
        "def clear():",
        "    with items.mutex:",
        "        count = len(items.queue)",
        "        items.queue.clear()",
        "    world.outcome(count)",
        "world.actor('a', clear)",
        "world.actor('b', items.put, 2)",
        "@world.at_end",
        "def rest(): assert items.qsize() <= 1",
    )
    result = explore(program(lines, how))
    assert (result.verdict, result.executions, result.outcomes, result.remarks) == ("verified", 2, {1, 2}, ())


@pytest.mark.parametrize("notify", [True, False])
def test_an_item_that_is_added_by_hand_wakes_a_getter_only_if_it_is_notified(notify):
    result = explore(
        program(
            (
                "items = queue.Queue()",
                "def add():",
                "    with items.mutex:",
                "        items.queue.append(1)",
                f"        {'items.not_empty.notify()' if notify else 'pass'}",
                "world.actor('adder', add)",
                "world.actor('getter', lambda: world.outcome(items.get()))",
            )
        )
    )
    assert (result.outcomes, bool(result.deadlocks)) == ({1}, not notify)
    if not notify:
        assert "getter waits for condition.wake not_empty of queue queue_insides.py" in result.counterexample.failure


@pytest.mark.parametrize("notify", [True, False])
def test_room_that_a_subclass_makes_wakes_a_putter_only_if_it_is_notified(notify):
    result = explore(
        program(
            (
                "items = Clearable(1)",
                "items.put(1)",
                f"world.actor('clearer', items.clear, {notify})",
                "world.actor('putter', items.put, 2)",
                "@world.at_end",
                "def tasks(): assert items.unfinished_tasks == items.qsize() == 1",
            )
        )
    )
    assert (result.verdict, bool(result.deadlocks)) == ("verified" if notify else "violated", not notify)


@HOW
def test_the_count_of_unfinished_tasks_is_read_as_it_is(how):
    lines = (
        "items = queue.Queue()",
        "items.put(1)",
        "def work(): items.get(); items.task_done()",
        "def look():",
        "    if items.unfinished_tasks: world.outcome(items.unfinished_tasks)",
        "world.actor('worker', work)",
        "world.actor('looker', look)",
    )
    assert explore(program(lines, how)).outcomes == {0, 1}


def test_a_join_waits_until_the_mutex_is_free():
    result = explore(
        program(
            (
                "items, inside = queue.Queue(), []",
                "def hold():",
                "    with items.mutex:",
                "        inside.append(1)",
                "        inside.pop()",
                "world.actor('holder', hold)",
                "world.actor('joiner', lambda: (items.join(), world.outcome(0)))",
            )
        )
    )
    assert (result.verdict, result.executions) == ("verified", 2)


def test_a_condition_made_with_the_mutex_excludes_the_queues_operations():
    result = explore(
        program(
            (
                "items, woken = queue.Queue(), []",
                "changed = threading.Condition(items.mutex)",
                "def wait():",
                "    with changed:",
                "        while not woken: changed.wait()",
                "        before = len(items.queue)",
                "        assert before == len(items.queue)",
                "def put():",
                "    items.put(1)",
                "    with changed:",
                "        woken.append(1)",
                "        changed.notify()",
                "world.actor('waiter', wait)",
                "world.actor('putter', put)",
                "world.actor('getter', items.get)",
            )
        )
    )
    assert (result.verdict, result.deadlocks) == ("verified", 0)


def test_a_loop_over_the_items_without_the_mutex_meets_a_change():
    lines = ("items = queue.Queue()", "items.put(1); items.put(2)", "def walk():", "    for item in items.queue: world.outcome(item)")
    lines = (*lines, "world.actor('walker', walk)", "world.actor('getter', items.get)")
    assert "deque mutated during iteration" in explore(program(lines)).counterexample.failure
    plain = simharness.explore(program(lines, "plain"))
    assert plain.remarks == ("except for the memory of Queue.queue",)


def test_an_always_check_sees_the_items_while_an_actor_holds_the_mutex():
    lines = (
        "items = queue.Queue(2)",
        "@world.always",
        "def bounded(): assert len(items.queue) == items.qsize() <= {most}",
        "def add():",
        "    with items.mutex: items.queue.append(1)",
        "world.actor('adder', add)",
        "world.actor('putter', items.put, 2)",
    )
    for most in (2, 1):
        result = explore(program([line.replace("{most}", str(most)) for line in lines]))
        assert result.verdict == ("verified" if most == 2 else "violated")


def test_a_container_that_is_assigned_while_an_item_is_put_without_the_mutex_misses_the_item():
    lines = (
        "items = queue.PriorityQueue()",
        "items.put(7)",
        "def assign():",
        "    with items.mutex: items.queue = [3]",
        "world.actor('putter', items._put, 1)",
        "world.actor('getter', items.get_nowait)",
        "world.actor('assigner', assign)",
        "world.at_end(lambda: world.outcome(repr(items.queue)))",
    )
    assert explore(program(lines)).outcomes == {"[]", "[1]", "[3]", "[1, 3]"}


def test_what_only_a_final_check_looks_at_costs_nothing():
    lines = ("items = queue.Queue()", "items.put(0)", "world.actor('a', items.get)", "world.actor('b', items.task_done)")
    look = "world.at_end(lambda: world.outcome((len(items.queue), items.unfinished_tasks, items.mutex.locked())))"
    result = explore(program((*lines, look)))
    assert (result.executions, result.outcomes) == (1, {(0, 0, False)})


def test_the_container_and_the_count_are_read_one_after_the_other():
    lines = (
        "items = Unique()",
        "world.actor('a', items.put, 'k')",
        "world.actor('b', items.put, 'k')",
        "world.actor('looker', lambda: world.outcome((len(items.queue), items.unfinished_tasks)))",
    )
    assert simharness.explore(program(lines), stop_on_first=False).outcomes == {(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)}


def test_a_heap_whose_items_compare_themselves_is_seen_half_changed():
    lines = (
        "items, urgent, later = queue.PriorityQueue(), Urgent(1), Urgent(2)",
        "items.put(later)",
        "world.actor('putter', items.put, urgent)",
        "world.actor('changer', lambda: setattr(urgent, 'rank', 1))",
        "world.actor('looker', lambda: world.outcome(['later' if item is later else 'urgent' for item in items.queue[:]].__repr__()))",
    )
    result = simharness.explore(program(lines), stop_on_first=False)
    assert result.outcomes == {"['later']", "['later', 'urgent']", "['urgent', 'later']"}
    # The change of the rank comes before or after the comparison; the look before, within or after the put.
    assert (result.executions, result.redundant) == (6, 0)


@pytest.mark.alone
def test_a_queue_made_before_is_opened_and_is_as_before_when_exploring_is_over():
    mutex, container = module_queue.mutex, module_queue.queue

    def scenario(world):
        def look():
            with module_queue.mutex:
                world.outcome(list(module_queue.queue).__repr__())
                module_queue.queue.clear()

        world.actor("looker", look)
        world.actor("putter", module_queue.put, "late")

    result = explore(scenario)
    assert (result.executions, result.outcomes) == (2, {"['early']", "['early', 'late']"})
    assert module_queue.mutex is mutex
    assert list(module_queue.queue) == list(container) == ["early"]
    assert not hasattr(queue.Queue, "mutex")


@pytest.mark.alone
def test_insides_that_were_taken_from_a_queue_before_are_still_its_own():
    def guarded(world):
        def drain():
            with held_mutex:
                count = len(held_items)
                assert count == len(held_items)
                held_items.clear()
            world.outcome(count)

        world.actor("drainer", drain)
        world.actor("putter", held_queue.put, 2)

    result = explore(guarded)
    assert (result.verdict, result.executions, result.outcomes) == ("verified", 2, {1, 2})

    def unguarded(world):
        def take():
            if held_items:
                held_queue.get_nowait()

        world.actor("a", take)
        world.actor("b", take)

    assert "raised Empty" in explore(unguarded).counterexample.failure
    assert held_queue.queue is held_items
    assert list(held_items) == [1]


def test_what_a_queue_does_not_have_is_missing_as_ever():
    def scenario(world):
        items = queue.Queue()

        def look():
            del items.not_full
            for owner, name in ((items, "not_full"), (queue.Queue, "mutex")):
                with pytest.raises(AttributeError, match=f"has no attribute '{name}'"):
                    getattr(owner, name)
            world.outcome(hasattr(queue.Queue, "queue"))

        world.actor("looker", look)

    assert explore(scenario).outcomes == {False}
