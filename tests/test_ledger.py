"""The ledger: each report is found on the protocol that had it, with no smaller budget of faults, and its twin is verified."""

import re
from pathlib import Path

import pytest

import simharness
from hermes_state import PROTOCOLS
from scenarios import ledger
from simharness import Scenario, Verdict
from tests.replays import assert_identical

REPORTS = [value for value in vars(ledger).values() if isinstance(value, Scenario)]
SLOW = (ledger.error_is_success_63129, ledger.late_refresher_71790)
SAID = {
    "two_at_once_34351": "one_compression_child does not hold: the session has 2 compression children",
    "child_not_stored_33906": "the_conversation_goes_on does not hold: there is no session 20260101_",
    "late_contender_38727": "one_compression_child does not hold: the session has 2 compression children",
    "error_is_success_63129": "one_compression_child does not hold: the session has 2 compression children",
    "pruned_parent_68929": "the_conversation_goes_on does not hold: there is no session 20260101_",
    "write_after_end_71001": "no_write_to_a_closed_session does not hold: the message 'the build is green' went to session 'parent'",
    "late_refresher_71790": "the_lease_is_held does not hold: it did not hold within 70 s of virtual time after the last fault",
    "stuck_for_good_80337": "the_conversation_goes_on does not hold: no sessions of the conversation take messages",
}
"""How the failure of each report begins."""
PAGE = (Path(__file__).parent.parent / "docs" / "ledger.md").read_text()
COUNTED = {row[1]: row for row in re.findall(r"^\| (#\d+) \| `(\w+)` \| `(\w+)` \| (\S*) ?\| (\d+) \| (\d+) \|$", PAGE, re.MULTILINE)}
"""The rows of the table in docs/ledger.md, by scenario."""
reports = pytest.mark.parametrize(
    "report", [pytest.param(report, id=report.name, marks=pytest.mark.long if report in SLOW else ()) for report in REPORTS]
)


def explored(report, **changed):
    """Explore the case that had the bug, with these parameters changed."""
    return simharness.explore(report, parameters={**next(report.cases()), **changed})


def test_the_ledger_has_the_eight_reports_each_with_a_protocol_that_had_it_and_the_reference():
    assert [report.name for report in REPORTS] == list(SAID)
    for report in REPORTS:
        number = report.name.rpartition("_")[2]
        assert report.about.startswith(f"#{number}: ")
        assert [report.expected(case) for case in report.cases()] == ["violated", "verified"]
        protocol, twin = report.matrix["protocol"]
        faults = "".join(f"`{model}`" for model in report.matrix.get("faults", ()))
        assert twin == "fenced"
        assert COUNTED[report.name][:4] == (f"#{number}", report.name, protocol, faults)


@reports
def test_a_report_is_found_on_the_protocol_that_had_it_and_its_counterexample_replays(report):
    result = explored(report)
    assert result.as_expected
    assert result.counterexample.failure.startswith(SAID[report.name])
    assert_identical(report, result.counterexample)


@reports
def test_the_twin_of_a_report_is_verified_within_the_same_budget(report):
    result = explored(report, protocol="fenced")
    assert result.verdict is Verdict.VERIFIED, result.bounds
    assert f"all {result.executions} orderings" in result.bounds
    assert result.deadlocks == result.blocked == 0


@pytest.mark.parametrize("report", [report for report in REPORTS if "faults" in report.matrix], ids=lambda report: report.name)
def test_a_report_that_takes_a_fault_is_not_found_without_it(report):
    result = explored(report, faults=None)
    assert result.verdict is Verdict.VERIFIED, result.bounds
    assert "no faults" in result.bounds


def test_one_compression_alone_breaks_nothing_without_faults_on_any_protocol():
    def alone(world, protocol):
        conversation = ledger.Conversation(world, protocol)
        conversation.contend("main_turn")
        conversation.goes_on()

    for protocol in (*PROTOCOLS, "lease_closed"):
        assert simharness.explore(Scenario(alone, {"protocol": [protocol]})).verdict is Verdict.VERIFIED


def test_a_parent_that_is_looked_at_again_answers_the_report_of_the_late_contender():
    assert explored(ledger.late_contender_38727, protocol="lease_recheck").verdict is Verdict.VERIFIED


def test_a_closed_session_that_refuses_messages_has_none_written_to_it_but_refuses_some_that_have_nowhere_to_go():
    failure = explored(ledger.write_after_end_71001, protocol="lease_closed").counterexample.failure
    assert "SessionClosedError: session parent has ended: no live session continues it" in failure


@pytest.mark.long
def test_an_acquisition_that_fails_closed_answers_the_report_of_one_that_did_not():
    assert explored(ledger.error_is_success_63129, protocol="lease_recheck").verdict is Verdict.VERIFIED


@pytest.mark.long
def test_the_page_says_how_many_orderings_each_report_and_its_twin_take():
    for report in REPORTS:
        counted = tuple(str(explored(report, protocol=protocol).executions) for protocol in report.matrix["protocol"])
        assert COUNTED[report.name][4:] == counted, f"docs/ledger.md, {report.name}: {counted}"
