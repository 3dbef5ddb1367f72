"""What comes from outside is shown visibly, by one function, on every way out."""

import asyncio
import json
import shutil
import subprocess
import sys
import unicodedata
from importlib.resources import files

import pytest
from rich.console import Console
from typer.testing import CliRunner

import simharness
from simharness.cli import main as cli
from simharness.cli.exits import errors
from simharness.errors import Misuse
from simharness.pytest_plugin.reporting import _escaped
from simharness.report import html_report, json_report, page
from simharness.report.table import Shown, report
from simharness.settings import Settings
from simharness.step.lines import Lines
from simharness.step.screen import Screen
from simharness.step.stepper import Stepper
from simharness.timeline.render import render
from simharness.visible import escaped, shortened, visible, visible_lines
from tests.outside.hostile import NASTY, is_visible

pytest_plugins = ("pytester",)
EVERYTHING = " ".join(NASTY.values())


@pytest.mark.parametrize("kind", NASTY)
def test_a_nasty_text_becomes_one_visible_line_that_stays_the_same(kind):
    text = visible(NASTY[kind])
    assert text.isprintable()
    assert text.encode()
    assert visible(text) == text


def test_every_character_becomes_visible_and_those_that_are_stay_as_they_are():
    for code in range(sys.maxunicode + 1):
        character = chr(code)
        text = visible(character)
        assert text.isprintable()
        assert (text == character) == (not text.isascii() or (character.isascii() and character.isprintable()))
    for text in ("plain", "é 漢字 → ✓ 😀", "[red]<b>", "C:\\new"):
        assert visible(text) == text
    assert visible("\x1b[31m\n\t\u202e\ud800\U000e0041\x9b") == r"\x1b[31m\n\t\u202e\ud800\U000e0041\x9b"


def test_a_long_text_is_shortened_and_lines_of_ours_stay_lines():
    assert shortened("a\n" * 1_000) == "a\\n" * 100 + "…"
    assert visible_lines("a\x1b\nb\r") == "a\\x1b\nb\\r"


def test_json_keeps_every_text_and_has_nothing_in_it_that_is_not_visible():
    document = {**NASTY} | {"all": list(NASTY.values())}
    text = json_report.as_text(document)
    assert is_visible(text)
    assert json.loads(text) == document
    assert json.loads(escaped(json.dumps(document, ensure_ascii=False))) == document


def nasty_scenario(nasty=EVERYTHING):
    """A scenario in which everything that has a name or a value has a nasty one."""

    def scenario(world, **parameters):
        cell = world.shared(0, f"cell {nasty}")
        world.show(f"shown {nasty}", lambda: f"{cell.get()} {nasty}")

        def work():
            import logging

            seen = cell.get()
            logging.getLogger(f"logger {nasty}").info("logged %s", nasty)
            world.step(f"step {nasty}")
            cell.set(seen + 1)

        for name in ("a", "b"):
            world.actor(f"{name} {nasty}", work, process=f"process {name} {nasty}")

        @world.at_end
        def both_counted():
            assert cell.get() == 2, f"failed {nasty}"

    scenario.__name__ = scenario.__qualname__ = "nasty"
    scenario.__doc__ = f"About {nasty}"
    made = simharness.Scenario(scenario, {"parameter": [f"value {nasty}"]})
    made.address = f"file {nasty}.py::nasty"
    return made


@pytest.fixture(scope="module")
def violated():
    result = simharness.explore(nasty_scenario(), parameters={"parameter": f"value {EVERYTHING}"})
    assert result.verdict == "violated"
    return result


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("width", [60, 100, 10_000])
def test_a_timeline_is_visible_and_its_colours_are_ours(violated, full, width):
    trace = violated.counterexample.trace
    plain = render(trace, width, full=full)
    assert is_visible(plain)
    assert "\\x1b[31m" in render(trace, 10_000, full=True)
    coloured = render(trace, width, colour=True, full=full)
    for code in {part.partition("m")[0] for part in coloured.split("\x1b[")[1:]}:
        assert all(number.isdigit() for number in code.split(";"))
    assert "\x07" not in coloured
    assert all(len(line) <= width for line in plain.splitlines() if "nasty:" not in line)  # a token stays in one piece


@pytest.mark.parametrize("by_scenario", [False, True])
def test_tables_and_what_follows_them_are_visible_and_markup_in_them_is_text(violated, by_scenario, capsys):
    console = Console(file=sys.stdout, width=400, highlight=False, color_system=None)
    about = {"nasty": f"About {EVERYTHING}"} if by_scenario else None
    report(console, [violated, violated], {"nasty": f"file {EVERYTHING}"}, Shown(about=about))
    output = capsys.readouterr().out
    assert is_visible(output)
    assert "[red]x[/red]" in output.replace("\n", "")


def test_the_page_holds_texts_as_data_in_which_nothing_ends_or_hides(violated):
    text = html_report.of_results([violated], {"nasty": f"file {EVERYTHING}"})
    assert is_visible(text.replace("\t", ""))
    data = text.partition('<script type="application/json" id="data">')[2].partition("</script>")[0]
    assert "<" not in data
    assert json.loads(data)["cases"][0]["counterexample"]["failure"] == violated.counterexample.failure
    assert text.count("<script") == 2
    assert "<img" not in text
    assert "\\x1b" in text.partition("<title>")[2].partition("</title>")[0]


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
def test_the_page_makes_texts_visible_as_python_does():
    script = files(page).joinpath("data.js").read_text(encoding="utf-8")
    function = script[script.index("const UNSEEN") : script.index("// The state is")]
    texts = [chr(code) for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code)) != "Cn"]
    print_all = "console.log(JSON.stringify(JSON.parse(require('fs').readFileSync(0, 'utf8')).map(visible)))"
    done = subprocess.run(["node", "-e", f"{function}\n{print_all}"], input=json.dumps(texts), capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == list(map(visible, texts))


def test_an_error_of_the_command_is_one_visible_line(capsys):
    with pytest.raises(BaseException) as raised, errors():
        raise Misuse(f"this is wrong: {EVERYTHING}")
    assert raised.value.exit_code == 2
    output = capsys.readouterr().err
    assert is_visible(output)
    assert output.count("\n") == 1


def test_commands_that_name_what_is_nasty_are_visible(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli.app, ["list", EVERYTHING.replace("\0", "")])
    assert done.exit_code == 2
    assert is_visible(done.output)
    done = CliRunner().invoke(cli.app, ["explore", "--nothing" + EVERYTHING])
    assert done.exit_code == 2
    assert is_visible(done.output)
    assert done.stderr.count("\n") == 1


def test_stepping_line_by_line_shows_everything_visibly(tmp_path):
    class Written:
        text = ""

        def write(self, text):
            self.text += text

        def flush(self):
            pass

    class Typed:
        lines = iter(["?", "1", "w", "r", "l", "", "", "", "", "\x1b[31m", "²", "9" * 5_000, "g ²", "g 99", "b", "t", "j", "l", "w", "q"])

        def readline(self):
            return f"{next(self.lines)}\n"

        def isatty(self):
            return False

    written = Written()
    stepper = Stepper(nasty_scenario(), {"parameter": f"value {EVERYTHING}"}, None, Settings())
    Lines(stepper, Typed(), written, 100).run()
    assert is_visible(written.text)
    assert "logged" in written.text


def test_stepping_on_a_terminal_shows_everything_visibly():
    async def texts():
        screen = Screen(Stepper(nasty_scenario(), {"parameter": f"value {EVERYTHING}"}, None, Settings()))
        async with screen.run_test(size=(200, 60)) as pilot:
            shown = []
            for key in ("1", "1", "1", "1", "j", "left"):
                await pilot.press(key)
                await pilot.pause()
                shown += [screen.query_one(f"#{name}").render() for name in ("top", "failure", "timeline", "state")]
                moves = screen.query_one("#next")
                shown += [moves.get_option_at_index(rank).prompt for rank in range(moves.option_count)]
            return [str(text) for text in shown]

    shown = asyncio.run(texts())
    assert all(map(is_visible, shown))
    assert any("\\x1b[31m" in text for text in shown)


def test_an_annotation_is_one_command_whatever_it_says():
    for text in NASTY.values():
        title, message = _escaped(text, True), _escaped(text)
        assert title.isprintable()
        assert message.isprintable()
        assert not set(title) & set(":,")


NASTY_TEST = """
import threading
import pytest

NASTY = {nasty!r}

@pytest.mark.parametrize("value", [1], ids=["case " + NASTY.replace("\\0", "")])
@pytest.mark.interleave
def test_nasty(value):
    seen = []

    def work():
        length = len(seen)
        seen.append(length)

    threads = [threading.Thread(target=work, name=f"{{name}} {{NASTY}}") for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [0, 1], "failed"
"""


def test_the_plugins_summary_annotations_and_junit_report_are_visible(pytester, monkeypatch):
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    pytester.makepyfile(test_nasty=NASTY_TEST.format(nasty=EVERYTHING.replace(NASTY["lone surrogates"], "")))
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "--junitxml=report.xml", "-q")
    result.assert_outcomes(failed=1)
    output = result.stdout.str()
    ours = [line for line in output.splitlines() if "ordering" in line or "::error" in line or "│" in line]
    assert len(ours) > 5
    for line in ours:
        assert line.isprintable(), line
    assert sum(line.lstrip().startswith("::error") for line in output.splitlines()) == 1
    report = (pytester.path / "report.xml").read_text(encoding="utf-8")
    properties = [line for line in report.replace("<property ", "\n<property ").splitlines() if line.startswith("<property ")]
    assert len(properties) >= 5
    assert all(line.isprintable() for line in properties)
