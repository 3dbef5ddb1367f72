"""The scenario files come out as they say: every quick case, the numbers that can be reasoned, and brute force beside the reduction.

Counting. Under `unlocked` each contender does two transactions of the one store (it ends the parent, it inserts the child), and nothing
else that another could see; so the orderings of n contenders are those of n times two critical sections: (2n)! / 2!^n, 6 for two
contenders and 90 for three.

`tutorial.py::unguarded`: each contender gets (G), and if the session was open sets (S) and adds (A). If one sees the other's S, it makes no
further step: 2 orderings, by who was first. If both see it open, both G come before both S; the two S can come in either order and
so can the two A: 2 x 2 orderings. Together 6. As interleavings: in the overlapping case 4 G/S/A pairs give 2 orders of the G and,
after them, C(4, 2) = 6 of S, A and S, A, together 12; a second G may come after the first's S or after its A: 2 x 2. Together 16.
"""

from __future__ import annotations

import itertools

import pytest

import simharness
from hermes_state import PROTOCOLS, SessionDB
from hermes_state.store import SessionClosedError
from scenarios import compression_fork, fault_tutorial, tutorial
from simharness import Verdict
from tests.replays import assert_identical

PROPERTIES = tuple(compression_fork.CASTS)


def cases(*scenarios):
    """The cases of these scenarios as pytest's parameters."""
    return [
        pytest.param(scenario, dict(case), id="-".join([scenario.name, *map(str, case.values())]))
        for scenario in scenarios
        for case in scenario.cases()
    ]


SMALL = cases(
    compression_fork.two_contenders,
    compression_fork.event_turn,
    compression_fork.late_contender,
    compression_fork.long_compression,
    tutorial.guarded,
    tutorial.unguarded,
    fault_tutorial.one_child,
    fault_tutorial.given_back,
)
LARGE = cases(compression_fork.three_contenders)
UNDER_FAULTS = cases(
    compression_fork.under_faults,
    compression_fork.holder_used_twice,
    compression_fork.abandoned_lease,
    compression_fork.refreshed_lease,
)
QUICK_UNDER_FAULTS = {
    ("lease_recheck", "one_compression_child", "stall=1"),
    ("lease_recheck", "no_ended_parent_without_a_child", "crash=1"),
    ("lease_fail_open", "one_compression_child", compression_fork.FAULTS[-1]),
    ("fenced", "one_compression_child", "stall=1"),
    ("fenced", "no_ended_parent_without_a_child", "crash=1"),
    ("fenced", "lock_released", "clock_jump=1"),
    ("fenced", "loser_unchanged", "lost_ack=1"),
}
"""The cases that tell the lease from the fence, and where it takes a fault; all others are long."""
LONG = {
    ("lease", "lock_released"),
    *itertools.product(
        ("lease_recheck", "lease_fail_open"),
        ("one_compression_child", "lock_released", "loser_unchanged", "routing_follows_the_live_session"),
    ),
    *(("fenced", name) for name in PROPERTIES if name not in ("one_compression_child", "no_message_lost")),
}
"""The large cases that take seconds or minutes; two of the fenced ones are not left out."""


def check(scenario, case):
    result = simharness.explore(scenario, parameters=case)
    assert result.verdict == result.expected, result.bounds
    assert result.as_expected
    if result.verdict is Verdict.VIOLATED:
        assert_identical(scenario, result.counterexample)
        assert result.counterexample.failure.startswith(case.get("property", ""))
        assert " does not hold: " in result.counterexample.failure
    else:
        assert result.deadlocks == result.blocked == 0
        assert f"all {result.executions} orderings" in result.bounds
    return result


@pytest.mark.parametrize(("scenario", "case"), SMALL)
def test_a_small_cell_comes_out_as_its_author_expects_and_its_counterexample_replays(scenario, case):
    check(scenario, case)


@pytest.mark.parametrize(("scenario", "case"), [found for found in LARGE if tuple(found.values[1].values()) not in LONG])
def test_a_cell_of_three_contenders_comes_out_as_its_author_expects_and_its_counterexample_replays(scenario, case):
    check(scenario, case)


@pytest.mark.long
@pytest.mark.parametrize(("scenario", "case"), [found for found in LARGE if tuple(found.values[1].values()) in LONG])
def test_a_large_cell_of_three_contenders_comes_out_as_its_author_expects(scenario, case):
    check(scenario, case)


def is_quick(parameters):
    return tuple(parameters.values[1].values()) in QUICK_UNDER_FAULTS


@pytest.mark.parametrize(("scenario", "case"), [found for found in UNDER_FAULTS if is_quick(found)])
def test_a_cell_that_tells_the_lease_from_the_fence_comes_out_as_its_author_expects(scenario, case):
    check(scenario, case)


@pytest.mark.long
@pytest.mark.parametrize(("scenario", "case"), [found for found in UNDER_FAULTS if not is_quick(found)][::4])
def test_a_cell_under_faults_comes_out_as_its_author_expects(scenario, case):
    """Every fourth one: `make explore` runs all."""
    check(scenario, case)


def test_under_faults_the_reference_keeps_every_property_and_one_child_parts_the_rungs_as_the_ladder_says():
    """What is expected is looked at here; that it comes out so, above."""
    scenario = compression_fork.under_faults
    expected = {tuple(case.values()): scenario.expected(case) for case in scenario.cases()}
    assert {verdict for (protocol, *_), verdict in expected.items() if protocol == "fenced"} == {"verified"}
    forks = {
        str(faults).partition("=")[0]: [protocol for protocol in PROTOCOLS if expected[protocol, PROPERTIES[0], faults] == "violated"]
        for faults in compression_fork.FAULTS
    }
    late, rechecked = ["unlocked", "lease"], ["lease_recheck", "lease_fail_open"]
    assert forks["None"] == forks["crash"] == late
    assert forks["stall"] == forks["clock_jump"] == late + rechecked
    assert forks["db_error"] == forks["lost_ack"] == forks["error"] == [*late, "lease_fail_open"]
    assert expected["lease_recheck", "no_ended_parent_without_a_child", "crash=1"] == "violated"


def test_every_property_is_expected_to_hold_under_fenced_and_the_strictest_under_fenced_only():
    """What is expected is looked at here; that it comes out so, above."""
    scenario = compression_fork.three_contenders
    expected = {tuple(case.values()): scenario.expected(case) for case in scenario.cases()}
    assert set(expected) == {(protocol, name) for protocol in PROTOCOLS for name in PROPERTIES}
    assert {expected["fenced", name] for name in PROPERTIES} == {"verified"}
    for name in ("no_message_lost", "no_write_to_a_closed_session"):
        assert [protocol for protocol in PROTOCOLS if expected[protocol, name] == "verified"] == ["fenced"]
    forks = [protocol for protocol in PROTOCOLS if expected[protocol, "one_compression_child"] == "violated"]
    assert forks == ["unlocked", "lease"]


# Numbers


@pytest.mark.parametrize(
    ("scenario", "case", "orderings"),
    [
        (tutorial.guarded, {}, 2),
        (tutorial.unguarded, {}, 6),
        (fault_tutorial.one_child, {}, 1),
        (fault_tutorial.one_child, {"faults": "crash=1@owner"}, 3),
        (fault_tutorial.one_child, {"faults": "stall=1@owner"}, 7),
        (fault_tutorial.one_child, {"guard": "conditional", "faults": "stall=1@owner"}, 7),
        (fault_tutorial.given_back, {"faults": "crash=1"}, 4),
        (fault_tutorial.given_back, {"faults": "crash=1", "recovery": True}, 4),
        (compression_fork.two_contenders, {"protocol": "unlocked", "property": "lock_released"}, 6),
        (compression_fork.three_contenders, {"protocol": "unlocked", "property": "lock_released"}, 90),
        (compression_fork.long_compression, {"protocol": "fenced", "property": "one_compression_child"}, 1),
    ],
)
def test_the_orderings_are_as_many_as_counting_by_hand_gives(scenario, case, orderings):
    result = simharness.explore(scenario, parameters=case, stop_on_first=False)
    assert (result.executions, result.redundant) == (orderings, 0)


@pytest.mark.long
def test_a_forked_session_shows_in_the_number_of_children_and_a_guarded_one_never_does():
    def children(scenario, **case):
        return simharness.explore(scenario, parameters=case or None, stop_on_first=False).outcomes

    assert children(tutorial.guarded) == {1}
    assert children(tutorial.unguarded) == {1, 2}
    one = {"property": "one_compression_child"}
    assert children(compression_fork.two_contenders, protocol="unlocked", **one) == {2}
    assert children(compression_fork.two_contenders, protocol="lease", **one) == {1, 2}
    for protocol in ("lease_recheck", "lease_fail_open", "fenced"):
        assert children(compression_fork.two_contenders, protocol=protocol, **one) == {1}
    assert children(compression_fork.three_contenders, protocol="unlocked", **one) == {3}
    assert children(compression_fork.three_contenders, protocol="fenced", **one) == {1}


# Brute force


def same_both_ways(scenario, case):
    """Explore a case by both exhaustive strategies; outcomes and verdicts must be the same."""
    reduced = simharness.explore(scenario, "dpor", parameters=case, stop_on_first=False)
    brute = simharness.explore(scenario, "exhaustive", parameters=case, stop_on_first=False)
    assert reduced.outcomes == brute.outcomes
    assert reduced.verdict == brute.verdict
    assert (reduced.deadlocks, reduced.blocked, reduced.redundant) == (0, 0, 0)
    assert reduced.executions <= brute.executions
    return reduced.executions, brute.executions


@pytest.mark.parametrize(("scenario", "interleavings"), [(tutorial.guarded, 4), (tutorial.unguarded, 16)])
def test_every_interleaving_of_the_tutorial_gives_what_its_orderings_give(scenario, interleavings):
    assert same_both_ways(scenario, {})[1] == interleavings


@pytest.mark.parametrize("protocol", ["unlocked", "lease", "fenced"])
@pytest.mark.long
def test_every_interleaving_of_two_contenders_gives_what_their_orderings_give(protocol):
    same_both_ways(compression_fork.two_contenders, {"protocol": protocol, "property": "one_compression_child"})


@pytest.mark.long
@pytest.mark.parametrize("protocol", ["lease_recheck", "lease_fail_open"])
def test_every_interleaving_of_two_contenders_in_between_gives_what_their_orderings_give(protocol):
    same_both_ways(compression_fork.two_contenders, {"protocol": protocol, "property": "one_compression_child"})


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_interleaving_of_two_stores_on_one_file_gives_what_their_orderings_give(protocol):
    """Two processes: each its own connection, so it is SQLite's write lock that keeps their transactions apart, not the store's."""

    @simharness.scenario
    def two_processes(world):
        path = world.path("state.db")
        stores = [SessionDB(path, protocol=protocol) for _ in range(2)]
        stores[0].create_session("parent", source="cli")

        def writes():
            try:
                stores[1].append_message("parent", "user", "hello")
            except SessionClosedError:
                world.outcome("refused")

        world.actor("ends", stores[0].end_session, "parent", "compression")
        world.actor("writes", writes)

        @world.at_end
        def told():
            world.outcome(len(stores[0].get_messages("parent")))

    same_both_ways(two_processes, {})


def test_checks_at_the_end_teach_nothing_about_what_is_a_scheduling_point():
    scenario = compression_fork.two_contenders
    case = {"protocol": "lease", "property": "one_compression_child"}
    found = simharness.explore(scenario, parameters=case).counterexample
    assert found.token.count(":") == 3, "the store's lock protects its connection: its statements are no points"
    assert len(found.steps) < 40
