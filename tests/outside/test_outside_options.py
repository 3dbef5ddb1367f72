"""Tokens and options that are wrong in any way end in one line and status 2, never in a traceback."""

import os
import random
from pathlib import Path

import pytest
from typer.testing import CliRunner

import simharness
from simharness.cli import main as cli
from simharness.errors import Misuse, SimharnessError
from simharness.search.tokens import LONGEST, MOST_STEPS
from tests.outside.hostile import NASTY, SEAT, SHOP, a_database, at_most, damaged, is_visible

pytest_plugins = ("pytester",)
ROOT = Path(__file__).resolve().parents[2]


@simharness.scenario(size=[1, 2], label=["plain", "a:b, c=d/é"], faults=[None, "crash=1"])
def cells(world, size, label):
    cell = world.shared(0, "cell")

    def work():
        for _ in range(size):
            cell.set(cell.get() + 1)
        if world.choose([1, 2]) == 2:
            world.step(label)

    world.actor("a", work, process="one")
    world.actor("b", work, process="two")

    @world.at_end
    def all_counted():
        assert cell.get() == 2 * size


@pytest.fixture(scope="module")
def valid_tokens():
    tokens = []
    for case in cells.cases():
        result = simharness.explore(cells, parameters=case)
        assert result.counterexample is not None
        tokens.append(result.counterexample.token)
        why = result.counterexample.trace.why
        if why is not None and why.passing is not None:
            tokens.append(why.passing.token)
    return tokens


TOKEN_PIECES = (
    "=",
    ":",
    ",",
    ".",
    "!",
    "crash.0.",
    "!crash.999.1",
    ".99999.",
    "a=70000",
    "9" * 20,
    "²",
    "%",
    "%ff",
    "%ed%a0%80",
    "t",
    "facts1=",
)


def changed(token, seed):
    """Return the token with a few random changes of its characters."""
    if seed % 3 == 0:
        return damaged(token.encode(), seed).decode(errors="surrogateescape")
    draw = random.Random(seed)
    made = list(token)
    for _ in range(draw.randint(1, 3)):
        at = draw.randrange(len(made) + 1)
        change = draw.randrange(4)
        if change == 0:
            made[at : at + draw.randint(1, 5)] = []
        elif change == 1:
            made[at:at] = draw.choice(TOKEN_PIECES)
        elif change == 2:
            made[at : at + 1] = draw.choice("ab0123456789=:.!t,%")
        else:
            made[at:at] = made[at : at + draw.randint(1, 8)] * draw.choice([1, 100])
    return "".join(made)


def _fuzzed(valid_tokens, seeds):
    for seed in seeds:
        token = changed(valid_tokens[seed % len(valid_tokens)], seed)
        with at_most(20):
            try:
                simharness.replay(cells, token)
            except Misuse as error:
                text = str(error)
                if len(text) > 2_000:
                    raise AssertionError((seed, text[:200])) from error


def test_two_hundred_damaged_tokens_are_replayed_or_refused(valid_tokens):
    _fuzzed(valid_tokens, range(200))


@pytest.mark.long
def test_two_thousand_damaged_tokens_are_replayed_or_refused(valid_tokens):
    _fuzzed(valid_tokens, range(200, 2_200))


CASE = "size=1,label=plain,faults=None"


@pytest.mark.parametrize(
    ("token", "said"),
    [
        ("x" * (LONGEST + 1), "longer than 1,000,000 characters"),
        (f"cells:{CASE}:a9999999:0", f"none has more than {MOST_STEPS:,}"),
        (f"cells:{CASE}:" + "a999999" * 1_000 + ":0", "none has more than"),
        (f"cells:{CASE}:a99999999999:0", "is not a replay token"),
        (f"cells:{CASE}:a²:0", "is not a replay token"),
        (f"cells:{CASE}:a=65536:0", "is mangled: a step takes alternative 65536"),
        (f"cells:{CASE}:a=99999:0", "is mangled: a step takes alternative 99999"),
        (f"cells:{CASE}:!crash.999999.1:0", "does not fit"),
        (f"cells:{CASE}:!nothing_such.0.1:0", "does not fit"),
        (f"cells:{CASE}:.999999.1:0", "an actor that does not exist"),
        ("cells:size=%ff:a1:0", "is not UTF-8"),
        ("%ff:size=1:a1:0", "is not UTF-8"),
        ("cells:size=1,label=plain,faults=crash%3D" + "9" * 5_000 + ":a1:0", "must be a number"),
        ("cells:size=1,label=plain,faults=None,other=" + "%28" * 5_000 + ":a1:0", "no parameter"),
        (f"cells:{CASE}:a1:0:facts" + "9" * 9 + "=x", "of their notation"),
        (f"cells:{CASE}:a1:0:{'x' * 100_000}", "says neither"),
    ],
)
def test_a_token_beyond_the_bounds_is_refused_with_what_is_wrong(token, said):
    with at_most(20), pytest.raises(Misuse, match=said) as raised:
        simharness.replay(cells, token)
    assert len(str(raised.value)) < 1_000


def test_a_parameter_that_is_not_utf_8_has_a_token():
    @simharness.scenario(text=["\ud800 \udcff"])
    def odd(world, text):
        world.actor("a", world.step, text)

        @world.at_end
        def never():
            raise AssertionError

    token = simharness.explore(odd).counterexample.token
    assert token.isascii()
    assert simharness.replay(odd, token).failure is not None


def test_a_value_that_only_reads_like_a_literal_warns_about_nothing():
    for text in ("'\\d'", "1or 2", "0x1for x", "(" * 5_000, "9" * 5_000, "-" * 5_000 + "1"):
        with pytest.raises(SimharnessError):
            simharness.replay(cells, f"cells:size=1,label=plain,other={text.replace(',', '')}:a1:0")


def command(*arguments):
    with at_most(60):
        return CliRunner().invoke(cli.app, arguments)


GUARDED = "scenarios/tutorial.py::guarded"
WRONG = [
    *(("explore", GUARDED, "--max-seconds", value) for value in ("nan", "inf", "1e400", "-1", "x")),
    *(("explore", GUARDED, "--max-executions", value) for value in ("0", "x", "9" * 5_000)),
    *(("explore", GUARDED, "--seed", value) for value in ("x", "9" * 5_000)),
    *(("explore", GUARDED, "--depth", value) for value in ("0", "9" * 12)),
    *(("explore", GUARDED, "--faults", value) for value in ("crash=²", "crash=" + "9" * 5_000, "clock_jump=1@nan", "error=1@:x", ",")),
    *(("explore", GUARDED, "--instrument", value) for value in ("", "a..b", "a/b.py")),
    *(("explore", GUARDED, "--json", value) for value in ("", ".", "/dev/null", "x" * 300)),
    *(("explore", value) for value in ("", "none.py::x", "/dev/null", "/dev/zero", "::", "pyproject.toml", "builtins::print", "x" * 5_000)),
    *(("replay", GUARDED, value) for value in ("", "x", ":::", "a:b:c:d", "guarded::a1:000000:py9.99", "guarded::a1b1a1:000000")),
    ("step", GUARDED, "guarded::a9999999999:0"),
    ("list", "/dev/null"),
    ("nothing",),
    ("explore",),
    ("incident",),
    ("replay", GUARDED),
]


@pytest.mark.parametrize(
    "arguments", [*WRONG, *(("explore", GUARDED, option, text) for option in ("--strategy", "--parameter") for text in NASTY.values())]
)
def test_a_wrong_command_ends_in_one_line_and_status_2(arguments, monkeypatch):
    monkeypatch.chdir(ROOT)
    done = command(*arguments)
    assert done.exit_code == 2, done.output
    lines = [line for line in done.stderr.splitlines() if not line.startswith("[1/1]")]  # the progress of a case that was begun
    assert len(lines) == 1
    assert lines[0].startswith("simharness: ")
    assert is_visible(done.output)


OF_INCIDENTS = [
    *(("--skew", value) for value in ("nan", "inf", "1e308", "-1")),
    *(("--max-seconds", value) for value in ("nan", "inf", "-1")),
    *(
        ("--format", value)
        for value in (
            "%(message)s",
            "{0}",
            "x" * 5_000,
            "{1a}{message}{asctime}",
            "%(asctime)s%(asctime)s%(message)s",
            "%(asctime)s%(message)s" * 50,
        )
    ),
    *(("--zone", value) for value in ("", "../../etc/passwd", "+99:99", "+24:00", "Europe", "a\0b", "\ud800", "x" * 5_000)),
    *((option, value) for option in ("--since", "--until") for value in ("noon", "9999-99-99 00:00:00", "9" * 5_000, "²")),
    *(("--db", value) for value in ("", ".", "/dev/zero", "shop.py", "shop.log", "none.db", "a\0b")),
    *((option, value) for option in ("--json", "--html", "--pytest") for value in ("", "/dev/stdout", "shop.log", "shop.py", "state.db")),
    ("--json", "a", "--html", "a"),
    ("--missing", "-1"),
]


@pytest.mark.alone
@pytest.mark.parametrize(
    "options",
    [*OF_INCIDENTS, *((option, text) for option in ("--zone", "--since", "--format", "--session", "--db") for text in NASTY.values())],
)
def test_a_wrong_question_about_an_incident_ends_in_one_line_and_status_2(tmp_path, monkeypatch, options):
    monkeypatch.chdir(tmp_path)
    Path("shop.py").write_text(SHOP)
    Path("shop.log").write_text(SEAT.format(number=1, who="zoe"))
    a_database("state.db")
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    done = command("incident", "shop.log", "--scenario", "shop.py::tickets", *(() if "--db" in options else ("--db", "state.db")), *options)
    assert done.exit_code == 2, done.output
    assert done.stderr.count("\n") == 1
    assert is_visible(done.output)
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_without_a_command_there_is_help_and_in_other_hands_the_mistake_is_raised():
    assert "Usage" in command().output
    with pytest.raises(Exception, match="No such command 'nothing'"):
        CliRunner().invoke(cli.app, ["nothing"], standalone_mode=False, catch_exceptions=False)


def test_a_token_of_a_stranger_is_refused_by_the_plugin_in_one_line(pytester):
    pytester.makepyfile(test_it="def test_it():\n    pass\n")
    for token in ("x\x1b[31m", "%ff::", "test_it::a9999999999:0"):
        result = pytester.runpytest("-p", "no:cacheprovider", f"--interleave-replay={token}")
        assert result.ret in (1, 4)
        assert "Traceback" not in result.stdout.str() + result.stderr.str()
        assert "INTERNALERROR" not in result.stdout.str() + result.stderr.str()


@pytest.mark.parametrize(
    "option",
    [
        "max_seconds=nan",
        "max_seconds=" + "(" * 5_000,
        "max_executions=[1]",
        "strategy=[1]",
        "seed=x",
        "instrument=5",
        "watchdog=x",
        "max_delay=x",
    ],
)
def test_a_wrong_option_of_pytests_configuration_is_named_and_nothing_is_explored(pytester, option):
    pytester.makepyfile(test_it="import pytest\n\n\n@pytest.mark.interleave\ndef test_it():\n    pass\n")
    result = pytester.runpytest("-p", "no:cacheprovider", "-o", f"interleave={option}")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*Misuse: test_it.py:4: *"])


def test_a_folder_of_scenarios_is_loaded_without_what_is_no_regular_file_in_it(tmp_path):
    os.mkfifo(tmp_path / "pipe.py")
    (tmp_path / "zero.py").symlink_to("/dev/zero")
    (tmp_path / "shop.py").write_text(SHOP)
    done = command("list", str(tmp_path))
    assert done.exit_code == 0
    assert "::tickets" in done.output
