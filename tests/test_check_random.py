"""Checks of random classes come to what running every interleaving of their steps comes to, program by program."""

import random

import pytest

from simharness import Settings
from simharness.check.checking import Checker
from simharness.check.declared import how_of, target_of
from simharness.check.programs import Program
from tests.random_classes import drawn_operations, drawn_program, source, violations

NAMES = {
    "serializable": ("serializable", "no deadlock"),
    "linearizable": ("linearizable", "no deadlock"),
    "no-lost-update": ("no lost update",),
    "no-deadlock": ("no deadlock",),
}


def compared(folder, numbers):
    """Compare random programs; return how many violate each specification, and how many none."""
    counts = dict.fromkeys([*NAMES, "fine"], 0)
    draws = {number: random.Random(number) for number in numbers}
    drawn = {number: drawn_operations(draw) for number, draw in draws.items()}
    file = folder / f"drawn_{numbers[0]}.py"
    file.write_text("import threading\n\n" + "\n\n".join(source(f"C{number}", operations) for number, operations in drawn.items()))
    with checker_of(file, numbers[0], "serializable").opened():
        for number, operations in drawn.items():
            calls = drawn_program(draws[number], operations)
            word = draws[number].choice(sorted(NAMES))
            checker = checker_of(file, number, word)
            examined = checker.examine(Program(tuple(tuple(f"{name}()" for name in each) for each in calls)))
            expected = violations(operations, calls) & set(NAMES[word])
            assert examined.verdict == ("violated" if expected else "verified"), (number, word, operations, calls, expected, examined)
            counts[word if expected else "fine"] += 1
    return counts


def checker_of(file, number, word):
    target = target_of(f"{file}:C{number}", (), {"spec": word, "strategy": "dpor"})
    return Checker(target, how_of(target, Settings(shrink=0, confirm=False)))


def test_random_programs_violate_what_some_interleaving_of_their_steps_violates(tmp_path):
    counts = compared(tmp_path, range(30))
    assert min(counts.values()) >= 1, counts


@pytest.mark.long
@pytest.mark.parametrize("block", range(6))
def test_more_random_programs_violate_what_some_interleaving_of_their_steps_violates(tmp_path, block):
    counts = compared(tmp_path, range(1_000 + block * 100, 1_100 + block * 100))
    assert min(counts.values()) >= 1, counts
