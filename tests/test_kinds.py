"""A primitive is added in one place: this file declares two, and everything that speaks of steps knows them from their declarations."""

import pickle

import pytest

import simharness
from simharness import Settings, Verdict
from simharness.engine.kernel import current
from simharness.engine.kinds import ALONE, Border, Family, Kind, Role, Sends, called, declared
from simharness.engine.operations import Operation
from simharness.report.recorded import recorded
from simharness.timeline.render import render

LATCH = Family("latch", in_memory=True)
COUNT_DOWN = Kind(LATCH, "count_down", Role.SIGNALS, calls=("count_down",))
PASS = Kind(LATCH, "pass", Role.AWAITS, blocked="{name} stands at {state}", calls=("pass_through",))

GATE = Family("gate", in_memory=True, held="{name} is occupied by {holder}")
ENTER = Kind(GATE, "enter", Role.OPENS, enabled_by=Sends.HAND_OVER, calls=("enter",))
LEAVE = Kind(GATE, "leave", Role.CLOSES, calls=("leave",))

QUICK = Settings(confirm=False)


class Latch:
    """Lets actors pass once it has been counted down."""

    def __init__(self, name, count):
        self.kernel = current()
        self.resource = self.kernel.resource(f"latch {name}", count)

    def count_down(self):
        self.kernel.step(Operation(COUNT_DOWN, self.resource, writes=self.resource.bit))
        self.kernel.put(self.resource, self.resource.state - 1)

    def pass_through(self):
        self.kernel.step(Operation(PASS, self.resource, reads=self.resource.bit, enabled=lambda count: count <= 0))


class Gate:
    """Holds one actor at a time."""

    def __init__(self, name):
        self.kernel = current()
        self.resource = self.kernel.resource(f"gate {name}", None, lock=True)

    def enter(self):
        self.kernel.step(Operation(ENTER, self.resource, writes=self.resource.bit, enabled=lambda holder: holder is None))
        self.kernel.put(self.resource, self.kernel.actor.name)

    def leave(self):
        self.kernel.step(Operation(LEAVE, self.resource, writes=self.resource.bit))
        self.kernel.put(self.resource, None)


def counted(world, count=2, process="main"):
    latch = Latch("door", count)
    world.actor("a", latch.count_down)
    world.actor("b", latch.count_down, process=process)
    world.actor("waiter", latch.pass_through)
    return latch


def failing(scenario, **options):
    """Explore; return the failure."""
    result = simharness.explore(scenario, settings=QUICK, **options)
    assert result.counterexample is not None
    return result.counterexample


@pytest.mark.parametrize("strategy", ["dpor", "exhaustive"])
def test_a_new_primitive_is_explored_under_all_orderings(strategy):
    def scenario(world):
        latch = counted(world)

        @world.at_end
        def passed():
            assert latch.resource.state == 0

    result = simharness.explore(scenario, strategy=strategy, settings=QUICK)
    assert result.verdict is Verdict.VERIFIED
    assert result.executions == 2


def test_its_steps_have_lines_in_a_timeline():
    def scenario(world):
        counted(world)

        @world.at_end
        def never():
            raise AssertionError

    text = render(failing(scenario).trace, full=True)
    assert "│ count-down latch door" in text
    assert "│ pass latch door" in text


def test_a_deadlock_names_what_is_waited_for():
    found = failing(lambda world: counted(world, 3))
    assert "waiter waits for latch.pass latch door" in found.failure
    text = render(found.trace)
    assert "waits: pass latch door" in text
    assert "deadlock: waiter waits (pass latch door); no actor can move" in text


def test_a_deadlock_names_the_holder_of_what_is_held():
    def scenario(world):
        one, two = Gate("one"), Gate("two")
        for name, first, second in (("a", one, two), ("b", two, one)):
            world.actor(name, lambda first=first, second=second: (first.enter(), second.enter(), second.leave(), first.leave()))

    found = failing(scenario)
    assert "a waits for gate.enter gate two, held by b" in found.failure
    assert "b waits for gate.enter gate one, held by a" in found.failure
    assert "deadlock: a waits for b, b waits for a; no actor can move" in render(found.trace)
    assert [move.why_not for move in found.trace.moves] == ["gate two is occupied by b", "gate one is occupied by a"]


def test_a_move_that_is_not_possible_says_why():
    found = failing(lambda world: counted(world, 3))
    [before] = [move.why_not for move in found.trace.steps[0].moves if move.actor == "waiter"]
    [at_end] = [move.why_not for move in found.trace.moves]
    assert (before, at_end) == ("latch door stands at 3", "latch door stands at 1")


def visits(world, check):
    """Two actors go through a gate, which has its own step inside; the check is that of the end."""
    gate = Gate("north")

    def visit():
        gate.enter()
        world.step("looks around")
        gate.leave()

    world.actor("a", visit)
    world.actor("b", visit)
    world.at_end(check)


def never():
    raise AssertionError


def messages(scenario):
    return [(message.kind, message.name) for message in failing(scenario).trace.messages]


def test_what_an_actor_receives_is_a_message():
    def handed(world):
        gate = Gate("north")
        world.actor("a", lambda: (gate.enter(), gate.leave()))
        world.actor("b", lambda: (world.step("comes"), gate.enter()))
        world.at_end(never)

    assert messages(handed) == [("hand-over", "gate north")]
    assert messages(lambda world: visits(world, never)) == [("wake-up", "gate north")]

    def counts(world):
        latch = Latch("door", 1)
        world.actor("a", latch.count_down)
        world.actor("b", lambda: (world.step("comes"), latch.pass_through()))
        world.at_end(never)

    assert messages(counts) == [("signal", "latch door")]


def test_a_pair_that_nobody_interrupts_is_folded():
    trace = failing(lambda world: visits(world, never)).trace
    assert "enter gate" not in render(trace)
    assert "leave gate" not in render(trace)
    assert "enter gate north" in render(trace, full=True)

    def empty(world):
        gate = Gate("north")
        world.actor("a", lambda: (gate.enter(), gate.leave(), world.step("x")))
        world.at_end(never)

    assert "enter, leave gate north" in render(failing(empty).trace)


def test_it_is_memory_that_processes_do_not_share():
    with pytest.raises(simharness.Misuse, match=r"process other uses latch door, .* processes share no memory"):
        simharness.explore(lambda world: counted(world, process="other"), settings=QUICK)


def test_points_that_no_ordering_reaches_are_known_by_its_methods():
    def scenario(world):
        gate, cell = Gate("north"), world.shared(0, "cell")

        def work():
            if cell.get() > 5:
                gate.enter()

        world.actor("a", work)

    result = simharness.explore(scenario, settings=Settings(confirm=False, reached=True))
    assert [point.rpartition(": ")[2] for point in result.never_reached] == ["gate.enter"]


def test_json_holds_the_text_of_kinds():
    trace = failing(lambda world: counted(world, 3)).trace
    assert [step["kind"] for step in recorded(trace)["steps"]] == ["latch.count_down"] * 2


def test_kinds_and_traces_can_be_sent_to_other_processes():
    trace = failing(lambda world: counted(world, 3)).trace
    for kind in declared().values():
        again = pickle.loads(pickle.dumps(kind))
        assert (again, hash(again), str(again)) == (kind, hash(kind), str(kind))
    assert pickle.loads(pickle.dumps(trace)) == trace
    assert render(pickle.loads(pickle.dumps(trace))) == render(trace)


def test_a_kind_says_in_words_what_it_is():
    assert (str(COUNT_DOWN), COUNT_DOWN.phrase("latch door"), COUNT_DOWN.phrase("")) == (
        "latch.count_down",
        "count-down latch door",
        "count-down latch",
    )
    assert Kind(Family("thread", said=False), "join").phrase("a") == "join a"
    assert Kind(ALONE, "nap").phrase("5 s") == "nap 5 s"
    assert Kind(ALONE, "nap").why_not("", None) == "nap does not allow it"
    assert Kind(ALONE, "waits", awaited="its turn").wanted("x") == "its turn"


@pytest.mark.parametrize(
    ("verb", "border"),
    [("BEGIN", Border.BEGINS), ("COMMIT", Border.COMMITS), ("END", Border.COMMITS), ("ROLLBACK", Border.UNDOES), ("SELECT", None)],
)
def test_borders_of_transactions_are_known_by_their_verbs(verb, border):
    from simharness.runtimes.sqlite import kinds

    assert kinds.of_verb(verb).border is border
    assert kinds.waiting(verb).border is border
    assert str(kinds.of_verb(verb)) == f"sqlite.{verb.lower()}"


def test_methods_that_make_steps_are_those_that_kinds_name():
    from simharness.runtimes import control  # noqa: F401  # declares the kinds of all runtimes

    names, without_arguments = called()
    assert {"acquire", "put", "submit", "execute", "commit", "wait_until", "enter", "pass_through"} <= names
    assert without_arguments == {"get", "join", "start", "result"}
    assert not names & {"get", "join", "add", "append"}
