"""Facts: how they are learned, and that they come out of tokens as they went in."""

import contextlib
import dataclasses
import logging
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

import simharness
from simharness import TokenError
from simharness.engine.facts import Daemons, Fact, Learned, until_settled
from simharness.engine.kernel import Kernel
from simharness.engine.modes import Mode
from simharness.runtimes.logs import LOG_LINES
from simharness.runtimes.memory.facts import MadeBefore, SharedLocation, WrittenOnClass
from simharness.runtimes.sqlite.facts import Inspected, SeveralOn, Unprotected
from simharness.runtimes.trio.order import BATCHES
from simharness.search import stated


@dataclasses.dataclass(frozen=True)
class Pair(Fact, word="test-pair"):
    """Two fields, which no kind of fact has so far."""

    first: str
    second: str


KINDS = [kind for kind in Fact.known.values() if kind.in_tokens]
characters = st.sampled_from(":,+%/ ~=&ab\u00e9\udc80🙂") | st.integers(0, 0x10FFFF).map(chr)
texts = st.lists(characters, max_size=20).map("".join)
names = texts | st.sampled_from(["", "+", "a+b", "a b", "%2B", "x/y", "1:2,3"])
facts = st.sampled_from(KINDS).flatmap(lambda kind: st.builds(kind, *[names] * len(kind.fields)))


def kernel_that_knows(facts, modes=()):
    kernel = Kernel()
    kernel.turn_on(*modes)
    kernel.learned.know(facts)
    return kernel


@given(st.sets(facts), st.sets(st.sampled_from(list(Mode.known.values()))))
def test_facts_and_modes_come_out_of_a_token_as_they_went_in(facts, modes):
    parts = stated.write(kernel_that_knows(facts, modes))
    assert stated.read(parts) == (modes, facts)
    assert not any(":" in part for part in parts)
    assert all(part.isascii() and part.isprintable() and " " not in part for part in parts)


@given(facts, facts)
def test_different_facts_are_different_in_tokens(one, other):
    assert (stated.encode(one) == stated.encode(other)) == (one == other)


def test_facts_in_tokens_can_be_read_and_typed():
    parts = stated.write(kernel_that_knows([SharedLocation("Tickets 1.left"), SeveralOn("x.db"), MadeBefore()], [BATCHES, LOG_LINES]))
    assert parts == ["log=points", "trio=batches", "facts1=memory+Tickets+1.left,memory-made-before,several-on+x.db"]


def test_every_kind_of_fact_has_a_word_that_stays():
    assert sorted(kind.word for kind in Fact.known.values()) == [
        "asyncio-called-by-threads",
        "asyncio-steps-cannot-grow",
        "asyncio-steps-grow",
        "changes-outside",
        "checkpoints",
        "checks-of",
        "counts-commits",
        "daemons",
        "data-race-allowed",
        "data-races-fail",
        "file",
        "handled",
        "ids",
        "impatient",
        "inspected",
        "lifetime",
        "lock-in-turn",
        "lock-seen",
        "memory",
        "memory-as-a-whole",
        "memory-at-addresses",
        "memory-changed-by",
        "memory-made-before",
        "memory-of-classes",
        "memory-that-steps",
        "memory-within",
        "moved-cursors",
        "narrow",
        "open-cursors",
        "opened-queue",
        "polls",
        "polls-in-time",
        "several-on",
        "snapshots-of",
        "test-pair",
        "thread-attribute",
        "threads-listed",
        "time-matters",
        "time-seen",
        "time-seen-by-all",
        "trio-steps-cannot-grow",
        "trio-steps-grow",
        "unprotected",
        "unseen-change",
        "workers-seen",
    ]
    assert sorted(Mode.known) == ["asyncio=any", "asyncio=loop", "atomicity=gil", "atomicity=observed", "log=points", "trio=batches"]


def test_two_kinds_of_fact_cannot_have_one_word():
    with pytest.raises(TypeError, match=r"Again and Pair are both called 'test-pair' in tokens"):
        type("Again", (Fact,), {"__module__": "elsewhere", "__annotations__": {}}, word="test-pair")


REFUSED = {
    "facts1=no-such+thing": "rests on a fact that this version of simharness does not know (no-such)",
    "facts1=memory+a.b,no-such": "rests on a fact that this version of simharness does not know (no-such)",
    "facts1=daemons": "rests on a fact that this version of simharness does not know (daemons)",
    "facts2=memory+a.b": "facts are in version 2 of their notation; this version of simharness reads 1",
    "facts0=": "facts are in version 0 of their notation",
    "facts1=": "mangled: '' is no fact",
    "facts1=memory": "mangled: 'memory' does not say what 'memory' is about: location",
    "facts1=memory+a/b": "mangled: 'memory+a/b' does not say what 'memory' is about: location",
    "facts1=memory-made-before+x": "does not say what 'memory-made-before' is about: nothing",
    "facts1=memory+%zz": "mangled: 'memory+%zz' is no fact",
    "facts1=memory+%": "mangled: 'memory+%' is no fact",
    "facts1=memory+%FF": "mangled: 'memory+%FF' is not UTF-8",
    "facts1=memory+a,": "mangled: '' is no fact",
    "facts1=memory+é": "is no fact",
    "facts1=Memory+a": "is no fact",
    "facts=memory+a": "says neither facts1=",
    "facts1": "says neither facts1=",
    "memory+Tickets+1.left": "an older version wrote has to be found anew: explore again",
    "several+on+state.db": "says neither facts1=",
    "": "says neither facts1=",
    "trio=backwards": "was written with trio=backwards, which this version of simharness does not know",
}


def racing(world):
    cell = world.shared(0, "cell")
    world.actor("a", lambda: cell.set(cell.get() + 1))
    world.actor("b", lambda: cell.set(cell.get() + 1))

    @world.at_end
    def both():
        assert cell.get() == 2


@pytest.mark.parametrize("part", REFUSED)
@pytest.mark.parametrize("version", ["", ":py{}.{}".format(*sys.version_info)])
def test_what_a_token_states_and_cannot_be_read_is_refused_in_one_line(part, version):
    token = f"{simharness.explore(racing).counterexample.token}:{part}{version}"
    with pytest.raises(TokenError) as refused:
        simharness.replay(racing, token)
    assert REFUSED[part] in str(refused.value)
    assert "\n" not in str(refused.value)


@given(texts | st.lists(st.sampled_from([*(kind.word for kind in KINDS), *"+/,%2x"])).map("".join))
def test_any_other_text_in_the_place_of_facts_is_refused_as_a_token(text):
    try:
        read = stated.read([f"facts1={text}"])
    except TokenError:
        return
    assert stated.read(stated.write(kernel_that_knows(read.facts))) == read


def test_facts_can_be_read_by_a_process_that_has_only_what_replays():
    words = [stated.encode(kind(*["x"] * len(kind.fields))) for kind in KINDS if kind is not Pair]
    part = f"facts1={','.join(words)}"
    code = f"import simharness; simharness.replay; from simharness.search import stated; print(len(stated.read([{part!r}]).facts))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"{len(words)}\n"


# Learning


def test_what_is_learned_is_known_by_its_kind_and_by_what_it_is_about():
    learned = Learned()
    unprotected = learned.of(Unprotected)
    learned.learn(Unprotected("connection 1"))
    learned.learn(Pair("a", "b"))
    assert Unprotected("connection 1") in learned
    assert Inspected("connection 1") not in learned
    assert Pair("a", "b") in learned
    assert Pair("b", "a") not in learned
    assert dict(unprotected) == {"connection 1": Unprotected("connection 1")}
    assert learned.for_tokens() == {Unprotected("connection 1"), Pair("a", "b")}


def test_exploring_starts_over_for_what_is_new_and_only_for_that():
    learned = Learned()
    for teach in (
        lambda: learned.learn(MadeBefore()),
        lambda: learned.learn(WrittenOnClass("x")),
        lambda: learned.learn(Daemons()),
        lambda: learned.check_reads(6),
    ):
        mark = learned.mark()
        teach()
        assert not mark.holds
        mark.renew()
        teach()
        assert mark.holds
    learned.start_over()
    assert not mark.holds


def test_daemons_are_a_fact_that_stands_in_no_token():
    learned = Learned()
    assert not learned.daemons
    learned.learn(Daemons())
    assert learned.daemons
    assert not learned.for_tokens()


def test_what_a_timeline_looks_at_teaches_nothing():
    learned = Learned()
    learned.learn(SharedLocation("a"))
    mark, before = learned.mark(), learned.for_tokens()
    live = learned.of(SharedLocation)
    with contextlib.suppress(ZeroDivisionError), learned.unchanged():
        learned.learn(SharedLocation("b"))
        learned.learn(MadeBefore())
        learned.learn(Daemons())
        raise ZeroDivisionError
    assert mark.holds
    assert learned.for_tokens() == before
    assert list(live) == ["a"]
    assert not learned.daemons


def test_what_runs_until_it_is_settled_runs_again_after_each_thing_that_it_learns():
    learned, runs = Learned(), []

    def run(mark):
        runs.append(mark)
        if len(runs) < 4:
            learned.learn(SharedLocation(str(len(runs))))
        return len(runs)

    assert until_settled(learned, run) == 4
    assert [mark.holds for mark in runs] == [False, False, False, True]


def test_what_renews_its_mark_is_settled():
    learned = Learned()

    def run(mark):
        learned.learn(MadeBefore())
        mark.renew()
        return "enough"

    assert until_settled(learned, run) == "enough"


def test_a_replay_is_in_the_modes_that_its_token_states():
    def logs(world):
        world.actor("a", logging.getLogger("a").warning, "a line")

        @world.at_end
        def never():
            raise AssertionError

    token = simharness.explore(logs).counterexample.token
    assert simharness.replay(logs, token).failure
    with pytest.raises(TokenError, match="does not fit: it ends after 0 steps, but actors can still move"):
        simharness.replay(logs, f"{token}:log=points")
