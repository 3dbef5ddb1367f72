"""Text that is printed, logged or warned, and read by the code under test: the order of two actors' lines shows."""

from __future__ import annotations

import contextlib
import io
import itertools
import logging
import logging.handlers
import os
import random
import subprocess
import sys
import threading
import traceback
import unittest
import warnings
from collections import deque
from pathlib import Path

import pytest

import simharness
from simharness import Verdict

ROOT = Path(__file__).resolve().parents[1]


def both(work, *more):
    threads = [threading.Thread(target=function, args=(name,)) for function, name in zip((work, *(more or (work,))), "ab", strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def printed():
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        both(print)
    return text.getvalue().split()


def printed_by_name():
    text = io.StringIO()
    both(lambda name: print(name, file=text))
    return text.getvalue().split()


def written():
    text = io.StringIO()
    with contextlib.redirect_stderr(text):
        both(lambda name: sys.stderr.write(f"{name}\n"))
    return text.getvalue().split()


def raised():
    text = io.StringIO()

    def fails(name):
        try:
            raise ValueError(name)
        except ValueError:
            traceback.print_exc(file=text)

    both(fails)
    return [line[-1] for line in text.getvalue().splitlines() if line.startswith("ValueError")]


@contextlib.contextmanager
def listening(handler):
    log = logging.getLogger("shop")
    log.addHandler(handler)
    yield lambda name: log.warning("%s", name)
    log.removeHandler(handler)


def streamed():
    text = io.StringIO()
    with listening(logging.StreamHandler(text)) as say:
        both(say)
    return text.getvalue().split()


def kept():
    handler = logging.handlers.MemoryHandler(100)
    with listening(handler) as say:
        both(say)
    return [record.getMessage() for record in handler.buffer]


def handed_on():
    handler = logging.handlers.MemoryHandler(1, target=logging.handlers.MemoryHandler(100))
    with listening(handler) as say:
        both(say)
    return [record.getMessage() for record in handler.target.buffer]


class Last(logging.Handler):
    def __init__(self):
        super().__init__()
        self.lines = deque()

    def emit(self, record):
        self.lines.append(record.getMessage())


def own():
    handler = Last()
    with listening(handler) as say:
        both(say)
    return list(handler.lines)


def asserted():
    with unittest.TestCase().assertLogs("shop") as heard:
        both(lambda name: logging.getLogger("shop").warning("%s", name))
    return [line[-1] for line in heard.output]


def warned():
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        both(lambda name: warnings.warn(name, stacklevel=1))
    return [str(warning.message) for warning in heard]


DOORS = [printed, printed_by_name, written, raised, streamed, kept, handed_on, own, asserted, warned]


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.__name__)
@pytest.mark.parametrize("ordered", [True, False])
def test_who_reads_what_two_actors_have_written_finds_both_orders(door, ordered):
    @simharness.scenario(instrument=(__name__,))
    def scenario(world):
        def main():
            lines = door()
            assert lines == ["a", "b"] if ordered else sorted(lines) == ["a", "b"], lines

        world.actor("main", main)

    result = simharness.explore(scenario)
    assert result.verdict is (Verdict.VIOLATED if ordered else Verdict.VERIFIED), result.error
    assert ordered or result.executions == 2


@pytest.mark.parametrize("level", [logging.INFO, logging.WARNING])
def test_lines_for_people_are_no_conflict(level):
    @simharness.scenario(instrument=(__name__,))
    def scenario(world):
        def work(name):
            print(name)
            print(name, file=sys.stderr)
            logging.getLogger("shop").log(level, "%s", name)

        world.actor("a", work, "a")
        world.actor("b", work, "b")

    assert simharness.explore(scenario).executions == 1


@pytest.mark.parametrize("own", [True, False])
def test_two_actors_that_redirect_at_once_write_to_each_others_text(own):
    @simharness.scenario(instrument=(__name__,))
    def scenario(world):
        texts = {"a": io.StringIO(), "b": io.StringIO()}

        def work(name):
            if own:
                print(name, file=texts[name])
            else:
                with contextlib.redirect_stdout(texts[name]):
                    print(name)

        world.actor("main", lambda: both(work))

        @world.at_end
        def each_has_its_own():
            assert [text.getvalue() for text in texts.values()] == ["a\n", "b\n"]

    assert simharness.explore(scenario).verdict is (Verdict.VERIFIED if own else Verdict.VIOLATED)


@pytest.mark.parametrize("traced", [True, False])
def test_code_that_asks_whether_a_level_is_enabled_hears_the_same_where_a_trace_is_recorded(traced):
    @simharness.scenario(instrument=(__name__,))
    def scenario(world):
        box = {"n": 0}

        def work():
            log = logging.getLogger("quiet")
            if log.isEnabledFor(logging.INFO) or logging.LoggerAdapter(log, {}).isEnabledFor(logging.INFO):
                box["n"] += 10
            n = box["n"]
            log.info("as always")
            box["n"] = n + 1

        world.actor("a", work)
        world.actor("b", work)

        @world.at_end
        def counted():
            assert box["n"] == 2 if traced else box["n"] < 10

    result = simharness.explore(scenario)
    assert result.error is None
    assert result.verdict is (Verdict.VIOLATED if traced else Verdict.VERIFIED)
    assert not traced or any("as always" in line for step in result.counterexample.trace.steps for line in step.log)


def program(random_):
    """Return the lines of two or three actors, each with the door that it goes through."""
    doors = ("print", "by name", "write", "log", "lines")
    return [
        [(random_.choice(doors), f"{name}{number}") for number in range(random_.choice((1, 1, 2)))]
        for name in "abc"[: random_.choice((2, 2, 3))]
    ]


def explored(lines):
    """Return the texts that exploring the program finds."""

    @simharness.scenario(instrument=(__name__,))
    def scenario(world):
        def main():
            text = io.StringIO()
            with contextlib.redirect_stdout(text), listening(logging.StreamHandler(text)) as say:
                doors = {
                    "print": print,
                    "by name": lambda line: print(line, file=text),
                    "write": lambda line: sys.stdout.write(f"{line}\n"),
                    "lines": lambda line: text.writelines([f"{line}\n"]),
                    "log": say,
                }

                def work(mine):
                    for door, line in mine:
                        doors[door](line)

                threads = [threading.Thread(target=work, args=(mine,)) for mine in lines]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
            world.outcome(text.getvalue())

        world.actor("main", main)

    result = simharness.explore(scenario, stop_on_first=False)
    assert result.verdict is Verdict.VERIFIED, result.error
    return set(result.outcomes), result.executions


def merged(lines):
    """Return every text in which each actor's lines have their order."""
    movers = [index for index, mine in enumerate(lines) for _ in mine]
    texts = set()
    for order in set(itertools.permutations(movers)):
        left = [list(mine) for mine in lines]
        texts.add("".join(f"{left[index].pop(0)[1]}\n" for index in order))
    return texts


@pytest.mark.parametrize("seed", range(12))
def test_lines_that_go_to_one_text_through_different_doors_come_in_every_order(seed):
    lines = program(random.Random(seed))
    outcomes, executions = explored(lines)
    wanted = merged(lines)
    assert outcomes == wanted
    assert executions == len(wanted)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100, 108))
def test_more_lines_that_go_to_one_text_through_different_doors_come_in_every_order(seed):
    for part in range(12):
        lines = program(random.Random(f"{seed} {part}"))
        outcomes, executions = explored(lines)
        assert (len(outcomes), executions) == (len(merged(lines)), len(merged(lines)))


FIXTURES = """
import logging, sys, threading, warnings
import pytest

pytestmark = pytest.mark.interleave

def both(work):
    threads = [threading.Thread(target=work, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

def log(name):
    logging.getLogger("shop").info("%s", name)

def capsys_(capsys, caplog, recwarn):
    both(print)
    return capsys.readouterr().out.split()

def capfd_(capfd):
    both(print)
    return capfd.readouterr().out.split()

def stdout_(capsys):
    both(lambda name: sys.stdout.write(name))
    return list(capsys.readouterr().out)

def caplog_(caplog):
    caplog.set_level(logging.INFO)
    both(log)
    return caplog.messages

def recwarn_(recwarn):
    warnings.simplefilter("always")
    both(lambda name: warnings.warn(name))
    return [str(warning.message) for warning in recwarn]

def read_early(capsys):
    thread = threading.Thread(target=print, args=("a",))
    thread.start()
    early = capsys.readouterr().out
    thread.join()
    return [early.strip() or "b", "b"]

def cleared(caplog):
    thread = threading.Thread(target=logging.getLogger("shop").warning, args=("a",))
    thread.start()
    caplog.clear()
    thread.join()
    return [*caplog.messages, "a", "b"][:2]
"""


def test_what_fixtures_of_the_test_runner_capture_is_read_in_both_orders(tmp_path):
    names = ["capsys_", "capfd_", "stdout_", "caplog_", "recwarn_", "read_early", "cleared"]
    arguments = {"capsys_": "capsys, caplog, recwarn", "stdout_": "capsys", "read_early": "capsys", "cleared": "caplog"}
    source = FIXTURES
    for name in names:
        given = arguments.get(name, name[:-1])
        source += f"\ndef test_{name}({given}):\n    assert {name}({given}) == ['a', 'b']\n"
        source += f"\ndef test_{name}_in_any_order({given}):\n    assert set({name}({given})) <= set('ab')\n"
    (tmp_path / "test_captured.py").write_text(source)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_captured.py"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "120"}
    done = subprocess.run(command, check=False, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200)
    ends = {line.rpartition("::")[2]: line.split()[0] for line in done.stdout.splitlines() if " s  test_captured.py::" in line}
    assert ends == {f"test_{name}": "violated" for name in names} | {f"test_{name}_in_any_order": "verified" for name in names}, done.stdout
