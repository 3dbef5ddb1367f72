"""The pytest plugin: existing tests under every ordering, as a developer runs them."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import pathlib
import re
import shutil
import sys
import xml.etree.ElementTree as ElementTree

import pytest

import simharness.pytest_plugin.exploring
import simharness.timeline.render  # loaded here, since pytester unloads what a test run loads

pytest_plugins = ["pytester"]
ROOT = pathlib.Path(__file__).resolve().parent.parent
UPSTREAM = pathlib.Path("/work/shared/seed/test_compression_concurrent_fork.py")
INSTALLED = any(entry.value == "simharness.pytest_plugin" for entry in importlib.metadata.entry_points(group="pytest11"))

BANK = """
import threading
import time
import pytest

class Account:
    def __init__(self, balance):
        self.lock = threading.Lock()
        self.balance = balance

    def withdraw(self, amount):
        with self.lock:
            enough = self.balance >= amount
        if enough:
            with self.lock:
                self.balance -= amount

def both(work, *arguments):
    threads = [threading.Thread(target=work, args=arguments, name=name) for name in ("left", "right")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
"""
OVERDRAWN = """
@pytest.mark.interleave
def test_nobody_overdraws():
    account = Account(100)
    both(account.withdraw, 100)
    assert account.balance == 0
"""


@pytest.fixture
def run(pytester, monkeypatch):
    """Write a test module below the bank and run pytest on it, in this process."""
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    monkeypatch.setenv("COLUMNS", "80")

    def go(source, *arguments, bank=BANK):
        if source:
            pytester.makepyfile(test_it=bank + source)
        plugin = () if INSTALLED else ("-p", "simharness.pytest_plugin")
        return pytester.runpytest_inprocess(*plugin, "-p", "no:cacheprovider", *arguments)

    return go


def line(result, text):
    """Return the first line of the output that holds this text."""
    found = [found for found in result.outlines if text in found]
    assert found, f"{text!r} is not in\n" + "\n".join(result.outlines)
    return found[0]


def has(result, *texts):
    for text in texts:
        line(result, text)


def token_of(result):
    return re.search(r"--interleave-replay=(\S+)", line(result, "--interleave-replay=")).group(1)


# The verdict


def test_a_marked_test_fails_on_the_ordering_that_breaks_it_with_its_own_assert_a_timeline_and_the_replay_line(run):
    result = run(OVERDRAWN)
    result.assert_outcomes(failed=1)
    has(result, "E       assert -100 == 0", "the failing ordering", "✗ an assertion fails: assert -100 == 0 at test_it.py:")
    assert line(result, "violated").split()[-1] == "test_it.py::test_nobody_overdraws"
    assert line(result, "pytest test_it.py::test_nobody_overdraws --interleave-replay=test_nobody_overdraws::")
    timeline = result.outlines[result.outlines.index(line(result, "the failing ordering")) + 1 :]
    assert all(len(text) <= 80 for text in timeline[: timeline.index(line(result, "pytest test_it.py"))])
    assert "\x1b" not in "".join(result.outlines)
    assert not [text for text in result.outlines if "simharness/" in text]


def test_a_marked_test_that_holds_passes_and_the_summary_counts_its_orderings(run):
    result = run(
        """
@pytest.mark.interleave
def test_enough_for_both():
    account = Account(200)
    both(account.withdraw, 100)
    assert account.balance == 0
"""
    )
    result.assert_outcomes(passed=1)
    assert re.fullmatch(r"verified +6 orderings +\d+\.\d s  test_it.py::test_enough_for_both", line(result, "verified"))


def test_unmarked_tests_run_once_unless_interleave_is_asked_for(run):
    source = OVERDRAWN.replace("@pytest.mark.interleave", "") + "\ndef test_sequential():\n    assert Account(1).balance == 1\n"
    run(source).assert_outcomes(passed=2)
    result = run(None, "--interleave")
    result.assert_outcomes(failed=1, passed=1)
    has(result, "1 test has no threads: run once, as always")


COUNTER = """
class Counter:
    def __init__(self):
        self.n = 0

    def bump(self):
        self.n += 1

class Locked(Counter):
    lock = threading.Lock()

    def bump(self):
        with self.lock:
            super().bump()

N = 0

@pytest.mark.interleave
@pytest.mark.parametrize("kind", [Counter, Locked])
def test_attribute(kind):
    counter = kind()
    both(counter.bump)
    assert counter.n == 2

@pytest.mark.interleave
class TestVariables:
    def test_global(self):
        global N
        N = 0
        def bump():
            global N
            N += 1
        both(bump)
        assert N == 2

    def test_closure(self):
        n = 0
        def bump():
            nonlocal n
            n += 1
        both(bump)
        assert n == 2

def test_unmarked():
    counter = Counter()
    both(counter.bump)
    assert counter.n == 2
"""


def test_what_threads_share_in_the_tests_own_module_is_explored_and_its_asserts_explain_themselves_still(run, pytester):
    result = run(COUNTER, "--junit-xml=out.xml")
    result.assert_outcomes(failed=3, passed=2)
    assert re.match(r"violated +2 orderings .*\[Counter\]", line(result, "violated "))
    assert re.match(r"verified +2 orderings .*\[Locked\]", line(result, "verified "))
    has(result, "E       assert 1 == 2", "E        +  where 1 = <test_it.Counter object at", "write Counter.n: 1", "read test_it.N: 0")
    assert not [text for text in result.outlines if "times)" in text], "what explains a failed assert is no step"
    told = [
        found.get("value")
        for found in ElementTree.parse(pytester.path / "out.xml").iter("property")
        if found.get("name") == "interleave_bounds"
    ]
    assert len(told) == 4
    assert all("memory of test_it;" in bounds for bounds in told)


def test_a_module_that_other_tests_had_instrumented_announces_nothing_to_those_that_did_not_ask(run, pytester):
    pytester.makepyfile(test_helper=BANK + COUNTER)
    uses = """
from test_helper import Counter

@pytest.mark.interleave(instrument="test")
def test_not_asked():
    counter = Counter()
    both(counter.bump)

@pytest.mark.interleave(instrument=("test", "test_helper"))
def test_asked():
    counter = Counter()
    both(counter.bump)
"""
    alone = run(uses, "test_it.py")
    after = run(uses, "test_helper.py", "test_it.py")
    for result in (alone, after):
        assert re.match(r"verified +2 orderings ", line(result, "::test_not_asked"))
        assert "except for the memory of test_helper" in result.stdout.str()
        assert re.match(r"verified +4 orderings", line(result, "::test_asked"))


TTL = """
class Cache:
    def __init__(self, ttl):
        self.ttl, self.kept = ttl, {}

    def put(self, key):
        self.kept[key] = time.monotonic()

    def fresh(self, key):
        return time.monotonic() - self.kept[key] < self.ttl

@pytest.mark.interleave
def test_in_no_time():
    cache = Cache(1)
    cache.put("k")
    both(lambda: cache.fresh("k") and not cache.fresh("k") and pytest.fail("gone"))

@pytest.mark.interleave(timescales=1)
def test_about_a_second_later():
    cache = Cache(1)
    cache.put("k")
    both(lambda: cache.fresh("k") and not cache.fresh("k") and pytest.fail("gone"))

@pytest.mark.interleave(timescales=(1, 5))
def test_later_than_anybody_may_be():
    pass
"""


def test_what_expires_without_a_timer_expires_between_two_looks_where_a_timescale_says_so(run):
    result = run(TTL)
    result.assert_outcomes(failed=1, errors=1, passed=1)
    has(result, "Failed: gone", "timescales=(1, 5): each must be a positive number of seconds, less than max_delay=5")
    assert line(result, "verified").endswith("::test_in_no_time")
    assert line(result, "violated").endswith("::test_about_a_second_later")


def test_tracebacks_show_the_lines_of_the_code_under_test_and_nothing_of_what_announces_their_accesses(run):
    result = run("""
@pytest.mark.interleave
def test_missing():
    counts = {"k": 1}
    def work():
        counts["k"] += counts.pop("k")
    both(work)
""")
    has(result, '>       counts["k"] += counts.pop("k")', "E       KeyError: 'k'")
    assert not [text for text in result.outlines if "guards.py" in text or "simharness/" in text]


def test_sleeps_are_virtual(run):
    result = run(
        """
@pytest.mark.interleave
def test_a_day():
    began = time.monotonic()
    time.sleep(86_400)
    both(time.sleep, 86_400)
    assert time.monotonic() - began == 2 * 86_400
"""
    )
    result.assert_outcomes(passed=1)


def test_an_exploration_that_gives_up_fails_the_test_unless_it_says_otherwise(run):
    result = run(
        """
@pytest.mark.interleave(max_executions=2)
def test_strict():
    both(Account(200).withdraw, 100)

@pytest.mark.xfail
@pytest.mark.interleave(max_executions=2)
def test_not_taken_for_the_failure_that_is_expected():
    both(Account(200).withdraw, 100)

@pytest.mark.interleave(max_executions=2, inconclusive="pass")
def test_lenient():
    both(Account(200).withdraw, 100)

@pytest.mark.interleave
def test_without_threads():
    assert True
"""
    )
    result.assert_outcomes(failed=3, passed=1)
    has(result, "inconclusive: 2 executions; stopped at max_executions=2", "the test starts no thread")


def test_options_come_from_markers_closest_first_and_from_the_configuration(run, pytester):
    pytester.makeini("[pytest]\ninterleave = max_executions=1 inconclusive=pass")
    result = run(
        """
pytestmark = pytest.mark.interleave(strategy="exhaustive")

class TestAll:
    pytestmark = pytest.mark.interleave(max_executions=3)

    def test_class(self):
        both(Account(200).withdraw, 100)

    @pytest.mark.interleave(max_executions=4)
    def test_method(self):
        both(Account(200).withdraw, 100)

def test_module():
    both(Account(200).withdraw, 100)
"""
    )
    result.assert_outcomes(passed=3)
    counts = [line(result, f"::{name}").split()[1:3] for name in ("test_module", "TestAll::test_class", "TestAll::test_method")]
    assert counts == [["1", "execution"], ["3", "executions"], ["4", "executions"]]


@pytest.mark.parametrize(
    ("marker", "said"),
    [
        ("interleave(bogus=1)", "interleave has no option 'bogus'"),
        ("interleave('dpor')", "takes keywords only"),
        ("interleave(strategy='best')", "strategy"),
        ("interleave(inconclusive='maybe')", "'fail' or 'pass'"),
    ],
)
def test_a_marker_that_is_wrong_is_an_error_of_the_test_that_says_so(run, marker, said):
    result = run(f"\n@pytest.mark.{marker}\ndef test_it():\n    both(Account(200).withdraw, 100)\n")
    result.assert_outcomes(errors=1)
    has(result, "Misuse: test_it.py:", said)


# Fixtures

FIXTURES = """
import logging
import sys
sys.made = []  # no instrumented module leads to it: it is not put back

@pytest.fixture(scope="module")
def bank():
    sys.made.append("bank")
    yield "the bank"
    sys.made.append("bank closed")

@pytest.fixture
def account(bank, monkeypatch):
    monkeypatch.setattr(Account, "bank", bank, raising=False)
    account = Account(200)
    yield account
    with account.lock:
        sys.made.append("account closed")

@pytest.fixture(autouse=True)
def server():
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait, name="server")
    thread.start()
    yield
    stop.set()
    thread.join()
"""


def test_fixtures_of_function_scope_are_made_anew_for_each_execution_and_wider_ones_once(run):
    result = run(
        FIXTURES
        + """
@pytest.mark.interleave
@pytest.mark.parametrize("amount", [100, 50])
def test_all(account, amount, tmp_path, tmp_path_factory, capsys, caplog, request, monkeypatch):
    for folder in (tmp_path, tmp_path_factory.mktemp("more")):
        assert list(folder.iterdir()) == []
        (folder / "file").write_text("text")
    monkeypatch.setenv("IN_THE_TEST", "yes")
    print("printed")
    logging.getLogger("bank").warning("logged")
    assert capsys.readouterr().out == "printed\\n"
    assert caplog.messages == ["logged"]
    assert request.getfixturevalue("bank") is account.bank
    both(account.withdraw, amount)
    assert account.balance == 200 - 2 * amount

def test_afterwards():
    import os
    assert sys.made.count("bank") == 1
    assert "bank closed" not in sys.made
    assert sys.made.count("account closed") > 6
    assert not hasattr(Account, "bank")
    assert "IN_THE_TEST" not in os.environ
"""
    )
    result.assert_outcomes(passed=3)
    has(result, "test_it.py::test_all[100]", "test_it.py::test_all[50]")


def test_an_execution_that_deadlocks_leaves_nothing_of_its_fixtures_behind(run):
    result = run(
        """
@pytest.mark.interleave
def test_deadlock(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(Account, "left_over", 1, raising=False)
    one, two = threading.Lock(), threading.Lock()
    def work(first, second):
        with first, second:
            pass
    threads = [threading.Thread(target=work, args=pair, name=name) for name, pair in {"a": (one, two), "b": (two, one)}.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

def test_afterwards(capsys):
    print("seen")
    assert capsys.readouterr().out == "seen\\n"
    assert not hasattr(Account, "left_over")
"""
    )
    result.assert_outcomes(failed=1, passed=1)
    has(result, "deadlock: ", "✗ deadlock: MainThread waits (join a), a waits for b, b waits for a; no actor")


def test_a_wider_fixture_that_changes_between_executions_is_nondeterminism(run):
    result = run(
        """
@pytest.fixture(scope="module")
def shared():
    return Account(300)

@pytest.mark.xfail
@pytest.mark.interleave
def test_changes(shared):
    both(shared.withdraw, 100)
"""
    )
    result.assert_outcomes(failed=1)
    has(result, "Nondeterminism: not deterministic: ", "error  ")


def test_a_wider_fixture_that_is_first_asked_for_in_the_body_is_made_once_and_for_real(run):
    result = run(
        """
@pytest.fixture(scope="session")
def late():
    return threading.Lock()

@pytest.mark.interleave
def test_late(request):
    both(request.getfixturevalue("late").acquire, False)

def test_same(request):
    assert request.getfixturevalue("late") is request.getfixturevalue("late")
"""
    )
    result.assert_outcomes(passed=2)


def test_a_fixture_that_raises_fails_the_test_with_what_it_raised(run):
    result = run(
        """
@pytest.fixture
def broken():
    raise LookupError("no account")

@pytest.mark.interleave
def test_broken(broken):
    pass
"""
    )
    result.assert_outcomes(failed=1)
    has(result, "E       LookupError: no account")


# What a test may do


def test_classes_and_unittest_cases_have_an_instance_for_each_execution(run):
    result = run(
        """
import unittest

@pytest.mark.interleave
class TestPlain:
    def setup_method(self):
        self.account = Account(200)

    def test_fresh(self):
        assert not hasattr(self, "used")
        self.used = True
        both(self.account.withdraw, 100)
        assert self.account.balance == 0

@pytest.mark.interleave
class TestCase(unittest.TestCase):
    def setUp(self):
        self.account = Account(100)

    def tearDown(self):
        with self.account.lock:
            pass

    def test_overdrawn(self):
        both(self.account.withdraw, 100)
        self.assertEqual(self.account.balance, 0)

    def test_one(self):
        both(self.account.withdraw, 50)
        self.assertEqual(self.account.balance, 0)

    def test_skipped(self):
        self.skipTest("not today")
"""
    )
    result.assert_outcomes(passed=2, failed=1, skipped=1)
    has(result, "-100 != 0", "pytest test_it.py::TestCase::test_overdrawn --interleave-replay=TestCase.test_overdrawn::")


def test_skip_xfail_and_raises_behave(run):
    result = run(
        """
pytestmark = pytest.mark.interleave

def test_skips():
    pytest.skip("not here")

def test_expected_to_fail():
    pytest.xfail("known")

@pytest.mark.xfail(raises=AssertionError, strict=True)
def test_marked():
    account = Account(100)
    both(account.withdraw, 100)
    assert account.balance == 0

def test_raises():
    with pytest.raises(ZeroDivisionError):
        1 / 0
    both(Account(200).withdraw, 100)

def test_skips_in_some_orderings():
    order = []
    lock = threading.Lock()
    def work():
        with lock:
            order.append(threading.current_thread().name)
    both(work)
    if order[0] == "right":
        pytest.skip("right was first")

def test_exits():
    raise SystemExit(3)
"""
    )
    result.assert_outcomes(skipped=1, xfailed=2, passed=2, failed=1)
    has(result, "some orderings end in Skipped: right was first", "SystemExit: 3 at test_it.py:")


def test_a_thread_that_raises_fails_the_test_with_its_exception_and_its_own_frames(run):
    result = run(
        """
@pytest.mark.interleave
def test_thread():
    def work():
        raise LookupError("gone")
    both(work)
"""
    )
    result.assert_outcomes(failed=1)
    has(result, "E       LookupError: gone")
    assert not [text for text in result.outlines if "simharness/" in text]


def test_what_no_runtime_controls_is_refused_by_name_and_not_taken_for_the_failure_that_is_expected(run):
    result = run(
        """
import subprocess

@pytest.mark.xfail
@pytest.mark.interleave
def test_process():
    subprocess.run(["true"])

@pytest.mark.interleave
@pytest.mark.asyncio
async def test_async():
    pass
""",
        *("-p", "no:asyncio", "-W", "ignore::pytest.PytestUnknownMarkWarning"),
    )
    result.assert_outcomes(failed=2)
    has(result, "Refused: test_it.py:", "test_async is an async def for asyncio: its plugin of pytest is not installed")


def test_a_module_that_the_first_execution_imports_is_not_taken_for_nondeterminism(run, pytester):
    pytester.makepyfile(lately="import threading\nlock = threading.Lock()\nwith lock:\n    pass\n")
    result = run(
        """
@pytest.mark.interleave
def test_imports():
    def work():
        import lately
        with lately.lock:
            pass
    both(work)
"""
    )
    result.assert_outcomes(passed=1)


def test_output_is_shown_of_the_failing_execution_only(run):
    result = run(
        """
@pytest.mark.interleave
def test_prints():
    account = Account(100)
    both(account.withdraw, 100)
    print("the balance is", account.balance)
    assert account.balance == 0
"""
    )
    result.assert_outcomes(failed=1)
    assert [text for text in result.outlines if text.startswith("the balance is")] == ["the balance is -100"]


def test_what_an_execution_leaves_on_the_test_is_there_once(run, pytester):
    result = run(
        """
import unittest
import warnings

@pytest.mark.interleave
def test_leaves(record_property):
    record_property("mine", 1)
    warnings.warn("old")
    both(Account(200).withdraw, 100)

@pytest.mark.interleave
class TestCase(unittest.TestCase):
    def test_parts(self):
        for part in range(3):
            with self.subTest(part=part):
                both(Account(200).withdraw, 100)
                self.assertLess(part, 2)
""",
        "--junitxml=out.xml",
        "-Wdefault",
        "-ojunit_family=xunit1",
    )
    result.assert_outcomes(passed=1, failed=1)
    assert len([text for text in result.outlines if "UserWarning: old" in text]) == 1
    has(result, "AssertionError: 2 not less than 2")
    text = (pytester.path / "out.xml").read_text()
    assert text.count('name="mine"') == 1


def test_a_unittest_case_that_is_killed_in_a_deadlock_does_not_hide_the_failure_of_the_next_execution(run):
    result = run(
        """
import unittest

@pytest.mark.interleave(allow_deadlock=True)
class TestCase(unittest.TestCase):
    def test_order(self):
        one, two, order = threading.Lock(), threading.Lock(), []
        def work(first, second):
            with first, second:
                order.append(threading.current_thread().name)
        threads = [threading.Thread(target=work, args=pair, name=name) for name, pair in {"a": (one, two), "b": (two, one)}.items()]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                thread.join()
        finally:
            with one:
                pass
        self.assertEqual(order, ["a", "b"])
"""
    )
    result.assert_outcomes(failed=1)
    has(result, "E       AssertionError: Lists differ: ['b', 'a'] != ['a', 'b']")


# Faults


FAILS = """
def fetch():
    return 1

@pytest.mark.interleave(faults="error=1@fetch:OSError")
def test_all_is_counted():
    found = []
    both(lambda: found.append(fetch()))
    assert len(found) == 2
"""


def test_the_marker_takes_faults_and_the_failing_ordering_shows_the_one_that_strikes(run):
    result = run(FAILS)
    result.assert_outcomes(failed=1)
    has(result, "raises OSError", "OSError: fetch fails: a fault")
    run(None, f"--interleave-replay={token_of(result)}").assert_outcomes(failed=1)
    has(run(None), "violated             1 ordering")
    without = run(FAILS.replace('(faults="error=1@fetch:OSError")', ""))
    without.assert_outcomes(passed=1)
    has(without, "no longer fits this test and was dropped")


def test_a_test_whose_process_crashes_ends_there(run):
    result = run(
        """
@pytest.mark.interleave(faults="crash=1")
def test_enough_for_both(tmp_path):
    account = Account(200)
    both(account.withdraw, 100)
    assert account.balance == 0
"""
    )
    result.assert_outcomes(passed=1)
    assert int(line(result, "verified").split()[1]) > 6


def test_a_fault_model_that_there_is_not_is_refused_in_one_line(run):
    result = run(OVERDRAWN.replace(".interleave", ".interleave(faults='crsh=1')"))
    result.assert_outcomes(errors=1)
    has(result, "there is no fault 'crsh'; there are: crash, stall")


# Replaying and the corpus


def test_a_token_replays_the_one_execution_that_it_names(run):
    token = token_of(run(OVERDRAWN + "\ndef test_other():\n    pass\n"))
    result = run(None, f"--interleave-replay={token}")
    result.assert_outcomes(failed=1, deselected=1)
    has(result, "E       assert -100 == 0", "the failing ordering", "violated             1 ordering")
    result = run(OVERDRAWN.replace("== 0", "< 0"), f"--interleave-replay={token}")
    result.assert_outcomes(passed=1)
    has(result, "replayed             1 ordering", "the replayed execution does not fail")


def test_a_token_that_belongs_to_no_test_or_no_longer_fits_says_so(run):
    result = run(OVERDRAWN, "--interleave-replay=test_that_is_not_there::a1:000000")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "the token belongs to test_that_is_not_there" in "".join(result.errlines)
    result = run(None, "--interleave-replay=test_nobody_overdraws::a2b1:000000")
    result.assert_outcomes(failed=1)
    has(result, "TokenError: ", "has the code changed?")


def test_a_failing_token_is_kept_tried_first_and_dropped_when_it_no_longer_fits(run, pytester):
    source = """
@pytest.mark.interleave
def test_order():
    order, lock = [], threading.Lock()
    def work():
        with lock:
            order.append(threading.current_thread().name)
    both(work)
    assert order == ["left", "right"]
"""
    has(run(source), "violated            2 orderings")
    [kept] = (pytester.path / ".simharness").glob("*.txt")
    assert kept.read_text().splitlines()[0] == "test_it.py::test_order"
    assert (pytester.path / ".simharness" / ".gitignore").read_text() == "*\n"
    has(run(None), "violated             1 ordering")
    result = run(source.replace("    both(work)", "    both(work)\n    both(work)").replace("assert order ==", "assert order[:0] != "))
    has(result, "the ordering kept from an earlier failure no longer fits this test and was dropped")
    result = run(source.replace('["left", "right"]', "order"))
    result.assert_outcomes(passed=1)
    assert not kept.exists()


def test_the_corpus_stays_small(tmp_path):
    from simharness.pytest_plugin.corpus import MOST_FILES, MOST_TOKENS, Corpus

    for number in range(MOST_FILES + 3):
        Corpus(tmp_path, f"test_it.py::test_{number}").remember("token")
    assert len(list(tmp_path.glob("*.txt"))) == MOST_FILES
    corpus = Corpus(tmp_path, "test_it.py::test_many")
    for number in range(MOST_TOKENS + 3):
        corpus.remember(f"token {number}")
    assert corpus.tokens()[0] == f"token {MOST_TOKENS + 2}"
    assert len(corpus.tokens()) == MOST_TOKENS


# Other tools


@pytest.mark.long
def test_pdb_stops_once_inside_the_failing_execution(pytester, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pytester.makepyfile(test_it=BANK + OVERDRAWN + OVERDRAWN.replace("nobody", "again"))
    plugin = () if INSTALLED else ("-p", "simharness.pytest_plugin")
    commands = b"p 'balance', account.balance, account.lock.locked()\nc\nq\n"
    result = pytester.run(sys.executable, "-m", "pytest", *plugin, "--pdb", stdin=commands)
    has(result, "entering PDB in the failing execution", "('balance', -100, False)", "Exit: Quitting debugger")
    assert len([text for text in result.outlines if "entering PDB" in text]) == 2


@pytest.mark.long
def test_a_breakpoint_stops_in_the_execution_that_is_replayed(pytester, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    plugin = () if INSTALLED else ("-p", "simharness.pytest_plugin")
    pytester.makepyfile(test_it=BANK + OVERDRAWN)
    token = token_of(pytester.run(sys.executable, "-m", "pytest", *plugin))
    pytester.makepyfile(test_it=BANK + OVERDRAWN.replace("    assert", "    breakpoint()\n    assert"))
    result = pytester.run(
        sys.executable, "-m", "pytest", *plugin, f"--interleave-replay={token}", stdin=b"p 'balance', account.balance\nc\n"
    )
    has(result, "(Pdb) ('balance', -100)", "E       assert -100 == 0")


def test_a_breakpoint_is_refused_while_exploring(run):
    result = run("\n@pytest.mark.interleave\ndef test_stops():\n    breakpoint()\n    both(Account(200).withdraw, 100)\n")
    result.assert_outcomes(failed=1)
    has(result, "Misuse: a breakpoint would stop in every ordering")


def test_junit_xml_carries_executions_verdict_and_bounds(run, pytester):
    run(OVERDRAWN, "--junitxml=out.xml")
    tree = ElementTree.parse(pytester.path / "out.xml")
    found = {found.get("name"): found.get("value") for found in tree.iter("property")}
    assert found["interleave_verdict"] == "violated"
    assert int(found["interleave_executions"]) >= 1
    assert "late by less than" in found["interleave_bounds"]
    assert found["interleave_token"].startswith("test_nobody_overdraws::")


def test_github_shows_where_a_test_fails(run, monkeypatch, pytester):
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(pytester.path))
    xfail = OVERDRAWN.replace("test_nobody", "test_expected").replace("@", "@pytest.mark.xfail\n@")
    result = run(OVERDRAWN + xfail)
    [annotation] = [text for text in result.outlines if text.startswith("::error ")]
    number = (BANK + OVERDRAWN).strip().splitlines().index("    assert account.balance == 0") + 1
    assert f"file=test_it.py,line={number},title=test_it.py%3A%3Atest_nobody_overdraws::" in annotation
    assert "%0Apytest test_it.py::test_nobody_overdraws --interleave-replay=" in annotation


def test_last_failed_and_exitfirst_work(run, pytester):
    source = OVERDRAWN + "\n@pytest.mark.interleave\ndef test_fine():\n    both(Account(200).withdraw, 100)\n"
    run(source + OVERDRAWN.replace("nobody", "again"), "-x").assert_outcomes(failed=1)
    plugin = () if INSTALLED else ("-p", "simharness.pytest_plugin")
    pytester.makepyfile(test_it=BANK + source)
    pytester.runpytest_inprocess(*plugin).assert_outcomes(failed=1, passed=1)
    pytester.runpytest_inprocess(*plugin, "--lf").assert_outcomes(failed=1)


@pytest.mark.skipif(importlib.util.find_spec("xdist") is None, reason="pytest-xdist is not installed")
@pytest.mark.long
def test_workers_of_xdist_explore_and_the_summary_is_the_same(pytester, monkeypatch):
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]))
    fine = "\n@pytest.mark.interleave\ndef test_fine():\n    account = Account(200)\n    both(account.withdraw, 100)\n"
    pytester.makepyfile(test_it=BANK + OVERDRAWN + fine)
    plugin = () if INSTALLED else ("-p", "simharness.pytest_plugin")
    result = pytester.runpytest_subprocess(*plugin, "-p", "xdist", "-n", "2")
    result.assert_outcomes(failed=1, passed=1)
    has(result, "the failing ordering", "verified            6 orderings", "--interleave-replay=test_nobody_overdraws::")


@pytest.mark.skipif(not UPSTREAM.exists(), reason="the upstream test is not there")
@pytest.mark.parametrize(("protocol", "failed", "passed"), [("lease", 1, 1), ("fenced", 0, 2)])
def test_the_upstream_test_fails_on_the_late_contender_under_a_lease_and_is_verified_when_fenced(
    pytester, monkeypatch, protocol, failed, passed
):
    monkeypatch.setenv("HERMES_STATE_PROTOCOL", protocol)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "tests" / "upstream")]))
    monkeypatch.setenv("COLUMNS", "100")
    shutil.copy(UPSTREAM, pytester.path)
    plugin = () if INSTALLED else ("-p", "simharness.pytest_plugin")
    result = pytester.runpytest_subprocess(*plugin, "--interleave", UPSTREAM.name)
    result.assert_outcomes(failed=failed, passed=passed)
    if failed:
        has(result, "E       assert 2 == 1", "--interleave-replay=test_concurrent_compression_does_not_fork_session::")
    else:
        assert re.search(r"verified +40 orderings", line(result, "test_concurrent_compression_does_not_fork_session"))


def test_a_summary_can_travel_between_processes():
    summary = simharness.pytest_plugin.exploring.Summary("test_it.py::test")
    assert json.loads(json.dumps(summary.plain()))["nodeid"] == "test_it.py::test"


HANDED_ON = """
import queue

{mark}
@pytest.mark.interleave
def test_the_caller_gets_the_error():
    answers = queue.Queue()
    def worker():
        try:
            raise OSError("cannot open")
        except OSError as problem:
            answers.put(problem)
            raise
    threading.Thread(target=worker, daemon=True).start()
    with pytest.raises(OSError):
        raise answers.get()
"""
IGNORED = "ignore::pytest.PytestUnhandledThreadExceptionWarning"


@pytest.mark.parametrize(
    ("mark", "arguments", "passes"),
    [
        (f"@pytest.mark.filterwarnings({IGNORED!r})", (), True),
        ("@pytest.mark.filterwarnings('ignore:Exception in thread:pytest.PytestUnhandledThreadExceptionWarning')", (), True),
        ("", ("-W", IGNORED), True),
        ("", (), False),
        ("@pytest.mark.filterwarnings('ignore')", (), False),
        ("@pytest.mark.filterwarnings('ignore:Another text:pytest.PytestUnhandledThreadExceptionWarning')", (), False),
        ("@pytest.mark.filterwarnings('error::pytest.PytestUnhandledThreadExceptionWarning')", ("-W", IGNORED), False),
    ],
)
def test_an_exception_that_ends_a_thread_is_allowed_as_pytest_allows_it(run, mark, arguments, passes):
    result = run(HANDED_ON.replace("{mark}", mark), *arguments)
    result.assert_outcomes(passed=int(passes), failed=int(not passes))
    if passes:
        has(result, "OSError in a thread: ignored, as the test's filterwarnings says")


def test_an_assertion_of_the_test_still_fails_where_the_exceptions_of_threads_are_ignored(run):
    result = run(f"pytestmark = pytest.mark.filterwarnings({IGNORED!r})\n" + OVERDRAWN)
    result.assert_outcomes(failed=1)


BY_ANOTHER_LIBRARY = """
import asyncio
import pytest

@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    if asyncio.iscoroutinefunction(pyfuncitem.function):
        asyncio.run(pyfuncitem.obj())
        return True
"""
ASYNC = """
@pytest.mark.asyncio
async def test_one():
    pass

@pytest.mark.asyncio
async def test_two():
    pass
"""


@pytest.mark.parametrize("threads", ["", OVERDRAWN.replace("@pytest.mark.interleave\n", "")], ids=["alone", "beside another"])
def test_interleave_says_how_many_tests_it_did_not_explore_and_why(run, pytester, threads):
    pytester.makeconftest(BY_ANOTHER_LIBRARY)
    options = ("-p", "no:asyncio", "-W", "ignore")
    result = run(ASYNC + threads, "--interleave", *options)
    result.assert_outcomes(passed=2, failed=int(bool(threads)))
    has(result, "= orderings =", "not explored: 2 tests of asyncio: run once, as always")
    assert "not explored" not in run(ASYNC + threads, *options).stdout.str(), "nobody asked"


def test_a_doctest_is_not_explored_and_that_is_said(run, pytester):
    pytester.makepyfile(documented='def one():\n    """\n    >>> one()\n    1\n    """\n    return 1\n')
    result = run("", "--interleave", "--doctest-modules")
    has(result, "not explored: 1 test without a test function (DoctestItem): run once, as always")


def test_the_summary_says_that_threads_never_met_and_that_nothing_is_checked(run):
    result = run(
        """
@pytest.mark.interleave
def test_apart():
    boxes = [[], []]
    threads = [threading.Thread(target=box.append, args=(1,), name=name) for name, box in zip(("left", "right"), boxes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
"""
    )
    result.assert_outcomes(passed=1)
    has(result, "    left and right never met: one ordering", "    nothing is checked: no assert, no check, no expect")


def test_a_violation_that_cannot_be_repeated_is_told_without_what_it_raised(run, monkeypatch):
    def fail(*_, **__):
        raise simharness.TokenError("does not fit")

    monkeypatch.setattr(simharness.pytest_plugin.exploring.Exploration, "_in_full", fail)
    result = run(OVERDRAWN)
    result.assert_outcomes(failed=1)
    has(result, "violated", "    the failing ordering could not be repeated: does not fit")


@pytest.mark.long
def test_asserts_that_pytest_has_rewritten_stay_under_python_o(pytester, monkeypatch):
    monkeypatch.setenv("PYTHONOPTIMIZE", "1")
    pytester.makepyfile(test_it=BANK + OVERDRAWN)
    plugin = () if INSTALLED else ("-p", "simharness.pytest_plugin")
    result = pytester.runpytest_subprocess(*plugin, "-p", "no:cacheprovider")
    result.assert_outcomes(failed=1)
    has(result, "assert -100 == 0")
    result = pytester.runpytest_subprocess(*plugin, "-p", "no:cacheprovider", "--assert=plain")
    result.assert_outcomes(failed=1)
    has(result, "Misuse: python -O removes assert statements")


def test_a_fixture_that_does_not_exist_is_a_mistake_and_no_violation(run):
    result = run(
        """
@pytest.mark.interleave
def test_it(no_such_fixture):
    pass
""",
        "test_it.py",
    )
    result.assert_outcomes(failed=1)
    assert "fixture 'no_such_fixture' not found" in result.stdout.str()
    assert "violated" not in result.stdout.str()
