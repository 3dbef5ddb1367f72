"""Logs of strangers: read in linear time and bounded memory; what is no log ends in one line that says so."""

import contextlib
import gzip
import os
import zlib

import pytest
from typer.testing import CliRunner

from simharness.cli import main as cli
from simharness.errors import Misuse, OutOfTime
from simharness.incident import Log, Template
from simharness.incident.files import LONGEST_LINE
from simharness.incident.formats import read, unknown
from simharness.incident.layouts import Layout
from simharness.incident.records import MOST_NESTING
from simharness.incident.timeline import incident_of, rendered
from tests.outside.hostile import LOGS, NASTY, SEAT, SHOP, at_most, damaged, is_visible

LOG = Log(
    [Template("taken", "shop", "seat taken by {who}"), Template("moved", "shop", "{who} to {where} by {what}")], ids={"who": "session"}
)
TAGGED = "%(asctime)s %(levelname)s%(tag)s %(name)s: %(message)s"
LINE = SEAT.format(number=1, who="alice")


@pytest.fixture(autouse=True)
def without_fresh_processes(monkeypatch):
    monkeypatch.setattr("simharness.incident.answer.confirmed", lambda results, *_: list(results))


def put(folder, name, text):
    path = os.path.join(folder, name)
    with open(path, "wb") as file:
        file.write(text if isinstance(text, bytes) else text.encode(errors="surrogatepass"))
    return path


@pytest.mark.parametrize(
    ("layout", "line"),
    [
        (TAGGED, "2026-11-22 22:34:03 INFO" + " " * 200_000 + "x"),
        (TAGGED, "2026-11-22 22:34:03 INFO" + " a" * 100_000),
        (TAGGED, "2026-11-22 22:34:03 INFO " + "a" * 200_000),
        (TAGGED, "2026-11-22 22:34:03 INFO" + ": " * 100_000 + "]"),
        ("%(asctime)s %(levelname)s%(tag)s%(name)s: %(message)s", "2026-11-22 22:34:03 INFO" + "a" * 200_000),
        ("%(asctime)s %(tag)s.%(name)s: %(message)s [%(threadName)s] (%(process)s)", "2026-11-22 22:34:03 " + "." * 200_000),
        ("%(asctime)s %(a)s %(b)s %(c)s %(process)s %(message)s-%(d)s!", "2026-11-22 22:34:03 " + " 1 2" * 50_000),
        ("%(asctime)s %(a)s%(b)s%(process)s%(message)s-%(d)s!", "2026-11-22 22:34:03 " + "12-" * 50_000),
    ],
)
def test_a_line_that_fits_no_layout_is_given_up_in_linear_time(layout, line):
    with at_most(30):
        assert Layout(layout).match(line) is None


def test_a_message_that_fits_no_template_is_given_up_in_linear_time():
    with at_most(30):
        assert LOG.match("shop", "a to b by" * 50_000) is None
        assert LOG.match("shop", "a to b by " * 50_000) is not None


def test_a_line_of_two_hundred_thousand_blanks_is_read_at_once(tmp_path):
    path = put(tmp_path, "blanks.log", LINE + "2026-11-22 22:34:04 INFO" + " " * 200_000 + "x\n" + LINE)
    with at_most(30):
        assert len(read([path], LOG, TAGGED).lines) == 2


def _with(name, make):
    return pytest.param(make, id=name)


NO_LOGS = (
    _with("a FIFO", os.mkfifo),
    _with("a folder", os.mkdir),
    _with("a device", lambda path: os.symlink("/dev/zero", path)),
    _with("a device", lambda path: os.symlink("/dev/null", path)),
    _with("symbolic links", lambda path: os.symlink(path, path)),
)


@pytest.mark.parametrize("make", NO_LOGS)
def test_only_regular_files_are_read(tmp_path, request, make):
    path = str(tmp_path / "odd.log")
    make(path)
    with at_most(10), pytest.raises(Misuse, match=f"odd.log cannot be read: .*{request.node.callspec.id.rstrip('01')}"):
        read([path], LOG)


@pytest.mark.parametrize("name", ["", "logs/", "a\0b.log"])
def test_what_is_not_the_name_of_a_file_is_refused(name):
    with pytest.raises(Misuse, match="is not the name of a file"):
        read([name], LOG)


def test_any_name_that_a_file_can_have_is_read_as_a_log(tmp_path):
    names = ["(a+)+$.log.1", "new\nline.log", "\x1b[31m.log", os.fsdecode(b"\xff.log"), "...1.1.1", ".gz"]
    reading = read([put(tmp_path, name, LINE) for name in names], LOG)
    assert len(reading.lines) == len(names)


def test_a_line_longer_than_the_bound_is_refused_and_a_long_one_is_not(tmp_path):
    assert len(read([put(tmp_path, "long.log", LINE.replace("alice", "a" * 1_000_000))], LOG).lines) == 1
    with pytest.raises(Misuse, match=r"long.log:2 is longer than 4,000,000 characters: shorten it"):
        read([put(tmp_path, "long.log", LINE + "x" * (LONGEST_LINE + 1) + "\n")], LOG)


def test_a_small_file_that_unpacks_to_a_large_one_is_given_up_without_unpacking_it(tmp_path):
    packer = zlib.compressobj(9, wbits=31)
    bomb = b"".join(packer.compress(b"x" * 1_000_000) for _ in range(100)) + packer.flush()
    with at_most(20), pytest.raises(Misuse, match="longer than"):
        read([put(tmp_path, "bomb.log.gz", bomb)], LOG)


def test_the_size_of_the_logs_is_bounded_after_unpacking(tmp_path, monkeypatch):
    monkeypatch.setattr("simharness.incident.files.MOST_BYTES", 1_000_000)
    packed = gzip.compress(LINE.encode() * 40_000)
    assert len(packed) < 20_000
    with pytest.raises(Misuse, match="larger than 1,000,000 bytes, unpacked"):
        read([put(tmp_path, "large.log.gz", packed)], LOG)


def test_members_of_a_gzip_file_are_read_one_after_the_other_also_a_hundred_thousand_empty_ones(tmp_path):
    packed = gzip.compress(LINE.encode()) + gzip.compress(b"") * 20_000 + gzip.compress(LINE.encode())
    with at_most(20):
        assert len(read([put(tmp_path, "many.log.gz", packed)], LOG).lines) == 2


def test_the_number_of_records_is_bounded_and_since_and_until_help(tmp_path, monkeypatch):
    monkeypatch.setattr("simharness.incident.formats.MOST_RECORDS", 2)
    path = put(tmp_path, "many.log", LINE * 3)
    with pytest.raises(Misuse, match="more than 2 records: narrow them down with --since and --until"):
        read([path], LOG)


@pytest.mark.parametrize("deep", ["[" * 200_000, '{"a":' * 50_000, '{"a": [' * 101 + "]}" * 101])
def test_json_nested_beyond_the_bound_is_refused(tmp_path, deep):
    assert read([put(tmp_path, "a.json", '{"ts": 1763850843, "x": ' + "[" * 90 + "]" * 90 + "}\n")], LOG).lines
    text = '{"ts": 1763850843, "name": "shop", "msg": "seat taken by alice"}\n{"x": ' + deep + "}\n"
    with at_most(10), pytest.raises(Misuse, match=f"a.json:2: its JSON is nested more than {MOST_NESTING} levels deep"):
        read([put(tmp_path, "a.json", text)], LOG)


@pytest.mark.parametrize("text", ['"' + '\\"' * 400_000, '"\\' * 400_000, "\\" * 400_000, "[]" * 400_000, '{"a":1},' * 100_000])
def test_levels_of_json_are_counted_in_linear_time(tmp_path, text):
    with at_most(30):
        read([put(tmp_path, "a.json", '{"ts": 1763850843}\n{"x": ' + "{}[]" * 101 + text + "}\n")], LOG)


def test_brackets_in_texts_of_json_are_not_levels(tmp_path):
    text = '{"ts": 1763850843, "name": "shop", "msg": "' + '[{\\"' * 1_000 + '"}\n'
    assert len(read([put(tmp_path, "a.json", text)], LOG).lines) == 1


@pytest.mark.parametrize(
    "time", ["²", "9" * 17, "9" * 5_000, "1e400", '"' + "9" * 5_000 + '"', "NaN", '"9999-12-31 23:59:59-14:00"', "-1", '"²"']
)
def test_a_number_that_is_no_time_is_named(tmp_path, time):
    text = '{"ts": ' + (time if time != "²" else '"²"') + ', "name": "shop", "msg": "seat taken by alice"}\n'
    with pytest.raises(Misuse, match=r"a.json:1: .* is not a time of the years 1 to 9999"):
        read([put(tmp_path, "a.json", text)], LOG)


@pytest.mark.parametrize(
    "stamp", ["2026-13-45 22:34:03", "2026-11-22 22:34:03+99:99", "2026-11-22 22:34:03+24:00", "0001-01-01 00:00:00+14:00"]
)
def test_a_record_whose_time_is_none_is_not_used_and_that_is_said(tmp_path, stamp):
    reading = read([put(tmp_path, "a.log", LINE + f"{stamp} INFO shop: seat taken by bob\n")], LOG)
    assert len(reading.lines) == 1
    assert f"a.log:2: '{stamp}' is not a time" in reading.notes[0]


def test_reading_ends_when_the_time_is_over(tmp_path):
    path = put(tmp_path, "many.log", LINE * 5_000)
    with pytest.raises(OutOfTime, match="reading the logs took longer than --max-seconds 0"):
        read([path], LOG, seconds=0.0)


def test_a_file_without_any_record_is_given_up_before_its_end(tmp_path):
    with pytest.raises(Misuse, match="none of its 100,000 lines"):
        read([put(tmp_path, "a.log", "no\n" * 150_000)], LOG)


def _asked(path):
    """Everything that the command does with a log before it searches, as text."""
    reading = read([path], LOG)
    incident = incident_of(reading.lines, LOG, 1.0)
    shown = rendered(incident, LOG)
    return "\n".join([*shown, *(f"{reason}" for reason, _ in unknown(reading.lines, LOG))])


def _fuzzed(tmp_path, seeds):
    for seed in seeds:
        path = put(tmp_path, "fuzz.log", damaged(LOGS[seed % len(LOGS)], seed))
        with at_most(10), contextlib.suppress(Misuse):
            assert is_visible(_asked(path)), seed


def test_two_hundred_damaged_logs_are_read_or_refused(tmp_path):
    _fuzzed(tmp_path, range(200))


@pytest.mark.long
def test_two_thousand_damaged_logs_are_read_or_refused(tmp_path):
    _fuzzed(tmp_path, range(200, 2_200))


@pytest.mark.parametrize("kind", NASTY)
def test_the_command_shows_a_nasty_log_visibly_or_refuses_it_in_one_line(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    put(tmp_path, "shop.py", SHOP)
    nasty = NASTY[kind]
    path = put(
        tmp_path,
        f"{nasty[:30].encode(errors='replace').decode()}.log".replace("/", "_").replace("\0", "_"),
        LINE + f"garbage {nasty}\n" + LINE.replace("alice", nasty),
    )
    done = CliRunner().invoke(
        cli.app,
        ["incident", path, "--scenario", "shop.py::tickets", "--unknown", "--max-executions", "3", "--session", nasty.split("\n")[0]],
    )
    assert done.exit_code in (0, 1, 2, 3), done.output
    assert is_visible(done.output)
    assert "Traceback" not in done.output
    if done.exit_code == 2:
        assert done.stderr.count("\n") == 1
