"""The table of protocol by fault model, with a section for each property, and which counterexamples are told in full."""

import io

import pytest

import simharness
from simharness.report.table import Shown, console_for, report

MODELS = [None, "crash=1@worker", "crash=1@worker,stall=1"]


@simharness.scenario(
    protocol=["careless", "careful"],
    property=["all_done", "not_too_much"],
    faults=MODELS,
    expect=lambda protocol, property, faults: "violated" if property == "all_done" and (protocol == "careless" or faults) else "verified",
)
def transfer(world, protocol, property):
    """One half is done, then the other; the careless one forgets the second."""
    done = world.shared(0, "done")

    def work():
        done.add(1)
        if protocol == "careful":
            done.add(1)

    world.actor("worker", work, process="worker")

    @world.at_end
    def check():
        assert done.get() == 2 if property == "all_done" else done.get() <= 2


@pytest.fixture(scope="module")
def results():
    return simharness.explore_all(transfer, settings=simharness.Settings(confirm=False))


def printed(results, width, **options):
    stream = io.StringIO()
    report(console_for(stream, width), results, {}, Shown(**options))
    return stream.getvalue()


def test_a_table_of_fault_models_has_a_section_for_each_property_and_says_how_many_orderings_were_run(results):
    text = printed(results, 80, timelines=False)
    assert [line.rstrip() for line in text.splitlines()][:11] == [
        "transfer: protocol by faults",
        "                                     crash +",
        "protocol   no fault     crash        stall",
        "───────────────────────────────────────────────",
        "",
        "all done",
        "careless   violated 1   violated 1   violated 1",
        "careful    verified 1   violated 2   violated 2",
        "",
        "not too much",
        "careless   verified 1   verified 2   verified 2",
    ]


@pytest.mark.parametrize("width", [34, 44, 60, 120])
def test_a_table_of_fault_models_keeps_to_the_width_by_marks_and_then_by_pieces(results, width):
    text = printed(results, width, timelines=False)
    grid = text.partition("in each cell")[0]
    assert all(len(line) <= width for line in grid.splitlines())
    assert ("✗ 1" in grid) == (width < 50)


def test_of_the_violated_cells_those_are_told_that_no_smaller_fault_model_explains_and_the_others_by_their_commands(results):
    text = printed(results, 80)
    told = [line.split("═")[2].split(":")[0].strip() for line in text.splitlines() if line.startswith("══ transfer")]
    assert told == [
        "transfer protocol=careless property=all_done faults=None",
        "transfer protocol=careful property=all_done faults=crash=1@worker",
    ]
    others = text.partition("similar to those above: 3")[2]
    assert others.count("simharness replay transfer") == 3
    assert printed(results, 80, every=True).count("══ transfer") == 5


def test_what_is_not_as_expected_is_always_told():
    @simharness.scenario(protocol=["careless"], property=["all_done"], faults=MODELS)
    def unexpected(world, protocol, property):
        transfer(world, protocol, property)

    found = simharness.explore_all(unexpected, settings=simharness.Settings(confirm=False))
    assert printed(found, 80).count("══ unexpected") == len(MODELS)
