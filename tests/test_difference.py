"""Two runs side by side: within the width that was asked for, with what differs marked and shown from where it differs."""

from __future__ import annotations

import pytest

from simharness.simulation.difference import Entry, side_by_side
from simharness.simulation.repeating import differ
from simharness.simulation.transcript import Account


def account(*values, end="complete"):
    steps = [Entry(f"step {n}", (("step", f"main_turn set counter {n}"), ("values", value))) for n, value in enumerate(values, start=1)]
    return Account((*steps, Entry("at the end", (("status", end),))))


LONG = "a value that is longer than any column can be, " * 20


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("value", ["short", LONG])
def test_no_line_is_wider_than_asked_for(width, value):
    error = differ(account("same", value + "1"), account("same", value + "2"))
    lines = side_by_side(error.difference, width).splitlines()
    assert max(map(len, lines)) <= width
    assert [line for line in lines if "≠" in line]
    assert "…" in str(error) or value == "short"
    assert len(str(error)) < 700


def test_steps_before_the_difference_are_shown_shortly_and_equal_ones_counted():
    before, after = account(*"aaaaaa", "one", "z"), account(*"aaaaaa", "two", "z")
    assert side_by_side(differ(before, after).difference, 80).splitlines() == [
        "first run                                repeated",
        "──────────────────────────────────────   ──────────────────────────────────────",
        "… 3 equal                                …",
        "step 4: main_turn set counter 4          step 4: main_turn set counter 4",
        "step 5: main_turn set counter 5          step 5: main_turn set counter 5",
        "step 6: main_turn set counter 6          step 6: main_turn set counter 6",
        "step 7:                                  step 7:",
        "  step: main_turn set counter 7            step: main_turn set counter 7",
        "  values: one                          ≠   values: two",
        "step 8: main_turn set counter 8          step 8: main_turn set counter 8",
    ]


def test_a_run_that_ends_earlier_is_told_by_its_number_of_steps():
    error = differ(account("a", "b"), account("a"))
    assert "the run had 2 steps and, repeated with the same choices, 1" in str(error)
    assert "step 2:" in side_by_side(error.difference, 80)


def test_another_end_after_the_same_steps_is_told_by_what_differs():
    assert "the same steps ended with status «complete» and, repeated with the same choices, «deadlock»" in str(
        differ(account("a"), account("a", end="deadlock"))
    )


def test_equal_accounts_do_not_differ():
    assert differ(account("a"), account("a")) is None
    assert account("a").hash == account("a").hash != account("b").hash
