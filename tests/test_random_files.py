"""Random programs of system calls: what exploring comes to, against every order of the real calls on a real folder."""

import pytest
from random_files import Program, outcomes_really, scenario

import simharness


def check(seed):
    program = Program(seed)
    really = outcomes_really(program)
    if really is None:
        return False
    result = simharness.explore(scenario(program), max_executions=100_000, strategy="dpor")
    assert result.verdict == "verified", (program, result.bounds)
    assert set(result.outcomes) == really, program
    return True


@pytest.mark.parametrize("seed", range(60))
def test_random_programs_on_files_come_to_what_real_calls_come_to(seed):
    check(seed)
