"""What is told while exploring: how far it is, how much there may be to do, and what happens when a callback raises."""

import importlib
import io
import itertools
import math
import threading
import time

import pytest

import simharness
from simharness import Estimate, Settings
from simharness.report.live import LiveProgress, how_far
from simharness.search.estimate import FEWEST, Tree
from tests.programs import ROWS


class Told(simharness.Progress):
    """Keeps what it is told; `after` executions it raises."""

    def __init__(self, after=math.inf):
        self.reports = []
        self.after = after

    def advanced(self, executions, seconds, estimate):
        self.reports.append((executions, estimate))
        if executions >= self.after:
            raise KeyboardInterrupt

    @property
    def estimates(self):
        return [estimate for _, estimate in self.reports if estimate is not None]


@pytest.fixture
def told_each_time(monkeypatch):
    """Reports come when time has passed: let it, at every look at the clock."""
    clock = itertools.count().__next__
    for module in ("explore", "reporter"):
        monkeypatch.setattr(importlib.import_module(f"simharness.exploring.{module}"), "_monotonic", clock)


def known(name, parameter):
    return next(row for row in ROWS if (row.name, row.arguments) == (name, (parameter,)))


def total_order(world):
    for name in "abcde":
        world.actor(name, world.step, name, (), ["x"])


def walked(widths):
    """Walk a tree whose nodes at each depth have so many children; yield (tree, pending) after each leaf but the last."""
    tree = Tree()
    for path in list(itertools.product(*map(range, widths)))[1:]:
        depth = max(i for i, taken in enumerate(path) if taken)
        tree.branch(depth, [index << 16 for index in range(len(widths))])
        yield tree, [width - 1 - taken for width, taken in zip(widths, path, strict=True)][: depth + 1]


@pytest.mark.parametrize("widths", [(6, 5, 4), (2, 2, 2, 2, 2, 2), (1, 30, 1, 3)])
def test_of_a_regular_tree_whose_branches_are_known_the_estimate_is_exact(widths):
    for tree, pending in walked(widths):
        totals = tree.totals(pending, grows=False)
        assert (totals is None) == (tree.done < FEWEST)
        if totals is not None:
            low, best, high = totals
            assert low <= best <= high
            assert best == pytest.approx(math.prod(widths))


@pytest.mark.parametrize(("name", "parameter"), [("readers", 8), ("ainc", 5), ("casrot", 6), ("lockinc", 5), ("CoA", 3), ("lastzero", 5)])
def test_the_estimate_is_near_the_known_number_of_orderings_from_halfway_on(told_each_time, name, parameter):
    row, told = known(name, parameter), Told()
    result = simharness.explore(row.scenario, progress=told)
    assert result.executions == row.complete
    assert [executions for executions, _ in told.reports] == list(range(row.complete))
    late = [estimate for executions, estimate in told.reports if 2 * executions >= row.complete]
    assert all(row.complete / 3 <= estimate.total <= 3 * row.complete for estimate in late)
    assert all(estimate.low <= estimate.total <= estimate.high for estimate in told.estimates)
    inside = sum(estimate.low <= row.complete <= estimate.high for estimate in told.estimates)
    assert inside >= 0.6 * len(told.estimates)


def test_what_is_left_is_the_rest_of_the_estimate_at_the_speed_so_far(told_each_time):
    told = Told()
    simharness.explore(total_order, progress=told)
    executions, estimate = told.reports[60]
    assert estimate.seconds_low <= estimate.seconds_left <= estimate.seconds_high
    assert estimate.seconds_left == pytest.approx((estimate.total - executions) * estimate.seconds_high / (estimate.high - executions))


@pytest.mark.parametrize(("strategy", "limit", "total"), [("pct", None, 10_000), ("pos", 30, 30), ("random", 30, 30)])
def test_of_a_sampler_the_total_is_known(told_each_time, strategy, limit, total):
    told = Told(after=20)
    with pytest.raises(KeyboardInterrupt):
        simharness.explore(total_order, strategy, settings=Settings(max_executions=limit), progress=told)
    assert {(estimate.total, estimate.known) for estimate in told.estimates} == {(total, True)}


def test_no_estimate_goes_beyond_the_limit_of_executions(told_each_time):
    told = Told()
    simharness.explore(total_order, "exhaustive", settings=Settings(max_executions=50), progress=told)
    assert told.estimates
    assert all(estimate.high <= 50 for estimate in told.estimates)


def test_where_nothing_sensible_can_be_said_there_is_no_estimate(told_each_time):
    for strategy, options in (("random", {"max_seconds": 1e9}), ("dpor", {"preemptions": 2})):
        told = Told(after=20)
        with pytest.raises(KeyboardInterrupt):
            simharness.explore(total_order, strategy, settings=Settings(**options), progress=told)
        assert len(told.reports) > 20
        assert not told.estimates


# What raises


@pytest.mark.parametrize(
    ("strategy", "options"),
    [("dpor", {}), ("dpor", {"preemptions": 3}), ("exhaustive", {"delays": 9}), ("random", {}), ("pct", {}), ("pos", {})],
)
@pytest.mark.alone
def test_what_a_callback_raises_comes_out_with_the_standard_library_put_back(told_each_time, strategy, options):
    before = threading.Lock, threading.Thread, time.sleep, time.time
    with pytest.raises(KeyboardInterrupt):
        simharness.explore(total_order, strategy, settings=Settings(**options), progress=Told(after=15))
    assert before == (threading.Lock, threading.Thread, time.sleep, time.time)
    assert simharness.explore(total_order, settings=Settings(max_executions=5)).executions == 5


# In words


@pytest.mark.parametrize(
    ("estimate", "words"),
    [
        (Estimate(4_012, 3_123, 5_641, 12.3, 6.0, 15.2), "1,204 of about 4,000 (3,100–5,600), 6–15 s left"),
        (
            Estimate(87_000_000_000, 44_000_000_000, 171_000_000_000, 6e6, 4e6, 2e7),
            "1,204 of about 87 billion (44–170 billion), 46–231 days left",
        ),
        (Estimate(10**31, 10**30, 10**33, 60, 59.0, 300.0), "1,204 of about 10^31 (10^30–10^33), 59 s–5 min left"),
        (Estimate(10_000, 10_000, 10_000, 12.0, 12.0, 12.0), "1,204 of 10,000, 12 s left"),
        (None, "1,204 executions, 602/s"),
    ],
)
def test_how_far_an_exploration_is_in_words(estimate, words):
    assert how_far(1_204, 2.0, estimate) == words


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("width", [80, 120])
def test_the_live_line_fits_the_terminal_and_keeps_its_numbers(monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    scenario = simharness.Scenario(total_order)
    estimate = Estimate(4_012, 3_123, 5_641, 12.3, 6.0, 15.2)
    with LiveProgress(stream, 75) as progress:
        progress.started(scenario, {"protocol": "fenced lease with a refresher", "property": "one child of one parent"})
        progress.advanced(1_204, 3.0, estimate)
        lines = stream.getvalue().replace("\r", "\n").splitlines()
    line = next(line for line in lines if "1,204" in line)
    plain = line[line.index("[0/75]") :].split("\x1b")[0]
    assert len(plain) < width
    assert plain.endswith("…: 1,204 of about 4,000 (3,100–5,600), 6–15 s left")
    assert "total_order" in plain


def test_an_estimate_without_an_end_is_a_number_like_any_other():
    estimate = Estimate.of(3, (4.0, float("inf"), float("inf")), 1.0)
    assert (estimate.low, str(estimate)) == (4, "about 10^300 (4–10^300)")
