"""Hostile and odd logs at the public door: what is in each is known, and the answer is never a confident wrong one."""

import json
import random
import sqlite3

import pytest
from typer.testing import CliRunner

from simharness.cli import main as cli
from simharness.incident import Log, Template
from simharness.incident.formats import read

pytestmark = pytest.mark.alone
SHOP = """
import logging
import sqlite3
import simharness
from simharness.incident import Log, Rows, Template

LOG = Log(
    [
        Template("asked", ("shop", "shop.old"), "{who} asks for a seat"),
        Template("taken", "shop", "seat taken by {who}"),
        Template("taken", "shop", "a seat goes to {who} now"),
        Template("sold out", "shop", "{who} finds no seat"),
    ],
    ids={"who": "person"},
    session="person",
    rows=[Rows("the sales", "SELECT count(*) AS n FROM sale"), Rows("the till", "SELECT sum(amount) AS n FROM till")],
    database="shop.db",
    free=[Template("greeting", "shop", "good morning {who}")],
)
log = logging.getLogger("shop")


@simharness.scenario(log=LOG, repaired=[False, True])
def tickets(world, repaired):
    seats = world.shared(1, "seats")
    db = sqlite3.connect(world.path("shop.db"))
    db.execute("CREATE TABLE sale (who TEXT)")
    db.execute("CREATE TABLE till (amount INTEGER)")
    db.commit()
    sold = []

    def book(who):
        log.info("%s asks for a seat", who)
        if seats.add(-1) > 0 if repaired else seats.get() > 0:
            if not repaired:
                seats.add(-1)
            sold.append(who)
            log.info("seat taken by %s", who)
        else:
            log.info("%s finds no seat", who)

    world.actor("alice", book, "alice")
    world.actor("bob", book, "bob")

    @world.at_end
    def never_overbooked():
        assert len(sold) <= 1
"""
LINES = ["zoe asks for a seat", "yan asks for a seat", "seat taken by zoe", "seat taken by yan"]
FORKED = ("--session", "zoe", "--session", "yan")
BROKEN, REPAIRED = ("--parameter", "repaired=False"), ("--parameter", "repaired=True")


def incident(*arguments):
    done = CliRunner().invoke(cli.app, ["incident", *map(str, arguments)])
    return done.exit_code, done.output


def stamped(messages, hour=22, logger="shop"):
    return [f"2026-11-22 {hour}:34:{number:02},000 INFO {logger}: {message}" for number, message in enumerate(messages)]


@pytest.fixture
def shop(tmp_path):
    """Ask about logs, given as lists of lines; return the status, the answer and what was printed."""
    (tmp_path / "shop.py").write_text(SHOP, encoding="utf-8")

    def ask(*logs, options=(), case=BROKEN, sessions=FORKED):
        paths = []
        for number, lines in enumerate(logs):
            paths.append(tmp_path / f"{'abcd'[number]}.log")
            paths[-1].write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        file = tmp_path / "answer.json"
        status, output = incident(*paths, "--scenario", f"{tmp_path / 'shop.py'}::tickets", *case, *sessions, "--json", file, *options)
        return status, json.loads(file.read_text(encoding="utf-8"))["answers"][0] if file.exists() else None, output

    return ask


def wrapped_in_docker(line):
    return json.dumps({"log": line + "\n", "stream": "stderr", "time": "2026-11-22T22:34:00.000000001Z"})


def with_time(line):
    return "2026-11-22T22:34:" + line[17:19] + ".123456789Z"


def timeless(line):
    return line[24:]


def telemetry(line):
    record = {
        "timeUnixNano": str(1795386840_000000000 + int(line[17:19]) * 10**9),
        "severityText": "INFO",
        "body": {"stringValue": line.partition("shop: ")[2]},
    }
    scopes = [{"scope": {"name": "shop"}, "logRecords": [record]}]
    return json.dumps({"resourceLogs": [{"resource": {"attributes": []}, "scopeLogs": scopes}]})


def span(line):
    start = 1795386840_000000000 + int(line[17:19]) * 10**9
    spans = [{"name": line.partition("shop: ")[2], "startTimeUnixNano": start, "endTimeUnixNano": start + 1, "traceId": "0af7"}]
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"scope": {"name": "shop"}, "spans": spans}]}]})


def dotted(line):
    stamp, message = line[:23].replace(",", "."), line.partition("shop: ")[2]
    return json.dumps({"@timestamp": stamp, "log.level": "info", "log.logger": "shop", "message": message, "process.pid": 7})


def nested(line):
    stamp, message = line[:23].replace(",", "."), line.partition("shop: ")[2]
    return json.dumps({"@timestamp": stamp, "log": {"level": "info", "logger": "shop"}, "message": message})


WRAPPED = {
    "journalctl": lambda line: f"Nov 22 22:34:{line[17:19]} host shopd[812]: {line}",
    "journalctl -o short-iso": lambda line: f"2026-11-22T22:34:{line[17:19]}+0000 host shopd[812]: {line}",
    "journald, without a time of its own": lambda line: f"Nov 22 22:34:{line[17:19]} host shopd[812]: {timeless(line)}",
    "syslog with its priority": lambda line: f"<14>Nov  2 22:34:{line[17:19]} host shopd: {timeless(line)}",
    "syslog of RFC 5424": lambda line: f"<14>1 {with_time(line)} host shopd 812 - - {timeless(line)}",
    "docker compose": lambda line: f"shop-1  | {line}",
    "docker logs --timestamps": lambda line: f"{with_time(line)} {timeless(line)}",
    "docker's JSON": wrapped_in_docker,
    "Kubernetes": lambda line: f"{with_time(line)} stderr F {line}",
    "kubectl logs --prefix": lambda line: f"[pod/shop-7d9/shop] {line}",
    "Kubernetes, around JSON": lambda line: f"{with_time(line)} stderr F {dotted(line)}",
    "OpenTelemetry's logs": telemetry,
    "OpenTelemetry's spans": span,
    "dotted keys": dotted,
    "keys in objects": nested,
}


@pytest.mark.parametrize("kind", ["journald, without a time of its own", "OpenTelemetry's logs"])
def test_logs_that_a_collector_has_wrapped_are_explained_without_a_format(shop, kind):
    status, answer, output = shop([WRAPPED[kind](line) for line in stamped(LINES)])
    assert (status, answer["verdict"]) == (0, "reproduced"), output


def in_pieces(draw, kind, stream, line):
    """Return a line as a collector writes it that cuts long lines."""
    ends = sorted(draw.sample(range(1, len(line)), draw.randrange(4)))
    pieces = [line[start:end] for start, end in zip([0, *ends], [*ends, len(line)], strict=True)]
    time = with_time(line)
    if kind == "Kubernetes":
        return [f"{time} {stream} {'F' if piece is pieces[-1] else 'P'} {piece}" for piece in pieces]
    spaced = None if draw.random() < 0.5 else (",", ":")
    broken = [*pieces[:-1], pieces[-1] + "\n"]
    return [json.dumps({"log": piece, "stream": stream, "time": time}, separators=spaced) for piece in broken]


@pytest.mark.parametrize("seed", range(40))
def test_lines_that_a_collector_has_cut_into_pieces_are_joined(tmp_path, seed):
    draw = random.Random(seed)
    kind = draw.choice(["Kubernetes", "docker"])
    texts = [f'said "{draw.choice("abc")}\\n" \\\\ n{number} \\' for number in range(6)]
    whole = [f"2026-11-22 22:34:0{number},000 INFO shop: {text}" for number, text in enumerate(texts)]
    streams = {"stdout": [], "stderr": []}
    for line in whole:
        stream = draw.choice(list(streams))
        streams[stream] += in_pieces(draw, kind, stream, line)
    written = []
    while any(streams.values()):
        written.append(draw.choice([rest for rest in streams.values() if rest]).pop(0))
    path = tmp_path / "pieces.log"
    path.write_text("".join(f"{line}\n" for line in written), encoding="utf-8")
    log = Log(templates=[Template("said", "shop", "said {text}")], format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    reading = read([str(path)], log)
    assert sorted(line.message for line in reading.lines) == sorted(texts)
    assert reading.continued == len(written) - len(whole)
    assert not reading.notes


def test_a_log_that_ends_in_a_piece_says_so(tmp_path):
    path = tmp_path / "pieces.log"
    line = "2026-11-22 22:34:00,000 INFO shop: said all"
    path.write_text(f"{with_time(line)} stderr F {line}\n{with_time(line)} stderr P {line}\n", encoding="utf-8")
    log = Log(templates=[Template("said", "shop", "said {text}")], format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    reading = read([str(path)], log)
    assert len(reading.lines) == 1
    assert "ends in a part of a line" in reading.notes[0]


@pytest.mark.parametrize("kind", WRAPPED)
def test_what_collectors_put_around_lines_is_recognised(tmp_path, kind):
    path = tmp_path / "wrapped.log"
    path.write_text("".join(f"{WRAPPED[kind](line)}\n" for line in stamped(LINES)), encoding="utf-8")
    templates = [Template("any", "shop", "{text}")]
    lines = read([str(path)], Log(templates, ids={"text": "session"})).lines
    assert [line.message for line in lines] == LINES
    assert {line.logger for line in lines} == {"shop"}
    assert [(line.time - lines[0].time) // 10**9 for line in lines] == [0, 1, 2, 3]


def test_json_without_a_known_key_names_the_keys_that_were_looked_for(shop):
    status, _, output = shop([json.dumps({"when": "2026-11-22 22:34:00", "what": "seat taken by zoe"})])
    assert status == 2
    assert "looked for: time in asctime, timestamp, @timestamp" in output
    assert "message in message, msg" in output


def test_a_format_that_was_given_is_the_only_one_that_is_tried(shop):
    layout = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    status, _, output = shop([f"shop-1  | {line}" for line in stamped(LINES)], options=("--format", layout))
    assert status == 2
    assert "has another format" in output


@pytest.mark.parametrize("times", [2, 3])
def test_lines_that_two_handlers_wrote_into_one_file_count_once(shop, times):
    status, answer, output = shop([line for line in stamped(LINES) for _ in range(times)])
    assert (status, answer["verdict"]) == (0, "reproduced")
    assert "another handler of the same one" in output


def test_a_line_that_is_repeated_among_others_that_are_not_was_logged_twice(shop):
    lines = stamped(LINES)
    status, answer, _ = shop([*lines, lines[-1]])
    assert (status, answer["verdict"]) == (1, "impossible under this code")


@pytest.mark.parametrize(("hour", "moved"), [(23, 1), pytest.param(21, 2, marks=pytest.mark.long)])
def test_clocks_that_are_an_hour_apart_are_found_and_said_first(shop, hour, moved):
    first, second = stamped(LINES), [stamped(LINES, hour)[moved]]
    del first[moved]
    status, answer, output = shop(first, second)
    assert (status, answer["verdict"]) == (0, "reproduced")
    zone = "+01:00" if hour == 23 else "-01:00"
    assert f"--zone b.log={zone}" in answer["clocks"]
    assert output.index("assumed: the clock of b.log") < output.index("REPRODUCED")
    status, answer, _ = shop(first, second, options=("--zone", f"b.log={zone}"))
    assert (status, answer["verdict"], answer["clocks"]) == (0, "reproduced", None)


def test_a_zone_for_a_log_that_is_not_there_is_refused(shop):
    status, _, output = shop(stamped(LINES), options=("--zone", "z.log=+01:00"))
    assert status == 2
    assert "no log is called z.log" in output.replace("'", "")


def test_wordings_and_loggers_of_one_event_are_taken_for_each_other(shop):
    lines = stamped(LINES)
    lines[0] = lines[0].replace("shop:", "shop.old:")
    lines[2] = lines[2].replace("seat taken by zoe", "a seat goes to zoe now")
    status, answer, _ = shop(lines)
    assert (status, answer["verdict"]) == (0, "reproduced")


NEAR = {
    "the same text of another logger": ("shop.web: yan finds no seat", "it matches, but for the logger"),
    "other words of the same logger": ("shop: yan could find no seat today", "it says nearly the same"),
    "the id of the incident": ("audit: refund for yan", "names a session"),
}


@pytest.mark.parametrize("kind", NEAR)
def test_while_there_is_a_near_miss_nothing_is_impossible(shop, kind):
    text, why = NEAR[kind]
    lines = [*stamped(LINES), f"2026-11-22 22:34:09,000 INFO {text}"]
    status, answer, output = shop(lines, case=REPAIRED)
    assert (status, answer["verdict"]) == (3, "undecided: the templates do not fit")
    assert why in output
    assert "a.log:5" in output
    status, answer, _ = shop(lines)
    assert (status, answer["verdict"]) == (0, "reproduced")


def test_lines_that_are_known_to_be_free_or_say_something_else_are_no_near_misses(shop):
    lines = stamped([*LINES, "good morning yan", "the lights go out"])
    status, answer, output = shop([*lines, "2026-11-22 22:34:09,000 INFO weather: it rains"], case=REPAIRED)
    assert (status, answer["verdict"]) == (1, "impossible under this code")
    assert "near miss" not in output


def test_a_log_that_no_template_matches_names_the_nearest_line(shop):
    status, _, output = shop(stamped(LINES, logger="boutique"))
    assert status == 2
    assert "a.log:1, of logger boutique" in output.replace("'", "")


def test_harm_after_the_end_of_the_log_is_a_verdict_of_its_own_and_no_test_is_written(shop, tmp_path):
    status, answer, output = shop(stamped(LINES[:3]))
    assert (status, answer["verdict"]) == (3, "reproduced up to the last line")
    assert 0 < answer["harmful"] < answer["orderings"]
    assert f"harmful in {answer['harmful']} of {answer['orderings']} orderings" in output
    status, _, output = shop(stamped(LINES[:3]), options=("--pytest", tmp_path / "test_it.py"))
    assert status == 2
    assert not (tmp_path / "test_it.py").exists()


def test_what_an_older_database_does_not_have_is_not_asked(shop, tmp_path):
    path = tmp_path / "old.db"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE sale (who TEXT)")
    db.close()
    status, answer, output = shop(stamped(LINES[:3]), options=("--db", path))
    assert (status, answer["verdict"]) == (0, "reproduced")
    assert "is not asked about the till: no such table: till" in output
