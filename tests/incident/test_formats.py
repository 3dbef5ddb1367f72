"""Log files are read as they are: formats, rotation, compression, encodings, tracebacks, cut lines; what is no log is refused."""

import codecs
import gzip
import json

import pytest

from simharness.errors import Misuse
from simharness.incident import Log, Template
from simharness.incident.formats import read
from simharness.incident.timeline import incident_of

LOG = Log(
    (Template("start", "app", "start {job}"), Template("end", "app", "end {job} → {result}")),
    ids={"job": "session"},
    tags={"tag": "session"},
    format="%(asctime)s %(levelname)s%(tag)s %(name)s: %(message)s",
)
LINE = "2026-11-22 22:34:0{},000 INFO app: start j1\n"


def put(folder, name, text):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def events(paths, **options):
    return [(line.event, line.time, line.fields.get("job")) for line in read(paths, LOG, **options).lines]


def test_a_line_in_the_scenarios_format_is_taken_apart_with_its_tag(tmp_path):
    [line] = read([put(tmp_path, "a.log", "2026-11-22 22:34:02,358 WARNING [s1] app: start j1\n")], LOG).lines
    assert (line.level, line.logger, line.tags, line.event, line.fields) == ("WARNING", "app", {"tag": "s1"}, "start", {"job": "j1"})
    assert line.time % 1_000_000_000 == 358_000_000
    assert line.precision == 1_000_000


@pytest.mark.parametrize(
    ("layout", "text"),
    [
        ("%(asctime)s - %(name)s - %(levelname)s - %(message)s", "2026-11-22 22:34:02,358 - app - INFO - start j1"),
        ("{asctime} {levelname:8} {process}/{threadName} {name} {message}", "2026-11-22T22:34:02.358Z INFO     12/worker-1 app start j1"),
        ("[%(levelname)-8s] %(asctime)s.%(msecs)03d %(name)s %(message)s", "[INFO    ] 2026-11-22 22:34:02.358 app start j1"),
        ("%(created)f %(name)s %(message)s", "1795386842.358000 app start j1"),
    ],
)
def test_text_is_read_in_the_format_that_is_given(tmp_path, layout, text):
    [line] = read([put(tmp_path, "a.log", text + "\n")], LOG, layout).lines
    assert (line.logger, line.event, line.time) == ("app", "start", 1_795_386_842_358_000_000)


def test_json_lines_are_recognised(tmp_path):
    record = {"timestamp": "2026-11-22T22:34:02.358+00:00", "level": "info", "logger": "app", "pid": 12, "msg": "start j1", "tag": "s1"}
    [line] = read([put(tmp_path, "a.jsonl", json.dumps(record) + "\n")], LOG).lines
    assert (line.event, line.process, line.level, line.tags["tag"]) == ("start", "12", "INFO", "s1")


def test_rotated_and_gzipped_parts_are_one_log_in_order_however_they_are_named(tmp_path):
    paths = [
        put(tmp_path, "agent.log", LINE.format(3)),
        put(tmp_path, "agent.log.1", LINE.format(2)),
        put(tmp_path, "agent.log.10.gz", gzip.compress(LINE.format(1).encode())),
        put(tmp_path, "agent.log", LINE.format(3)),
    ]
    reading = read(paths, LOG)
    assert [line.time // 1_000_000_000 % 10 for line in reading.lines] == [1, 2, 3]
    assert len({line.source for line in reading.lines}) == 1


def test_times_without_milliseconds_and_in_other_zones_are_put_on_one_scale(tmp_path):
    texts = [
        "2026-11-22 22:34:02 INFO app: start j1",
        "2026-11-22 23:34:02+01:00 INFO app: start j1",
        "2026-11-22T22:34:02Z INFO app: start j1",
    ]
    lines = read([put(tmp_path, "a.log", "\n".join(texts) + "\n")], LOG).lines
    assert len({line.time for line in lines}) == 1
    assert {line.precision for line in lines} == {1_000_000_000}
    [berlin, *_] = read([put(tmp_path, "a.log", texts[0] + "\n")], LOG, zone="Europe/Berlin").lines
    assert lines[0].time - berlin.time == 3_600_000_000_000


def test_a_traceback_belongs_to_the_line_before_it(tmp_path):
    text = LINE.format(1) + "Traceback (most recent call last):\n  File x\nValueError: y\n" + LINE.format(2)
    reading = read([put(tmp_path, "a.log", text)], LOG)
    assert (len(reading.lines), reading.continued, reading.unreadable) == (2, 3, [])


def test_what_stands_before_the_first_record_is_listed(tmp_path):
    reading = read([put(tmp_path, "a.log", "garbage\n" + LINE.format(1))], LOG)
    assert [text for _, text in reading.unreadable] == ["garbage"]


def test_a_last_line_that_was_cut_off_is_not_used_and_that_is_said(tmp_path):
    reading = read([put(tmp_path, "a.log", LINE.format(1) + LINE.format(2)[:-1])], LOG)
    assert len(reading.lines) == 1
    assert "a.log:2 has no newline" in reading.notes[0]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_other_encodings_are_recognised_by_their_mark(tmp_path, encoding):
    [line] = read([put(tmp_path, "a.log", "2026-11-22 22:34:02,358 INFO app: end j1 → ok\n".encode(encoding))], LOG).lines
    assert line.fields == {"job": "j1", "result": "ok"}


def test_bytes_that_are_no_utf_8_are_read_as_latin_1_with_a_note(tmp_path):
    reading = read(
        [put(tmp_path, "a.log", LINE.format(1).encode() + "2026-11-22 22:34:02,358 INFO app: caf\xe9 bar\n".encode("latin-1"))], LOG
    )
    assert reading.lines[1].message == "café bar"
    assert "is not UTF-8" in reading.notes[0]


def test_a_damaged_gzip_file_is_used_as_far_as_it_goes(tmp_path):
    data = gzip.compress((LINE.format(1) + LINE.format(2)).encode(), compresslevel=0)
    reading = read([put(tmp_path, "a.log.gz", data[:-20])], LOG)
    assert [line.event for line in reading.lines] == ["start"]
    assert "damaged or truncated" in reading.notes[0]


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("photo.png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "holds binary data"),
        ("prose.txt", b"Dear colleagues,\n\nthe build is green.\n", "is not a log, or has another format"),
        ("utf.bin", codecs.BOM_UTF16_LE + b"x\0\n\0", "is not a log, or has another format"),
    ],
)
def test_a_file_that_is_no_log_is_refused(tmp_path, name, data, said):
    with pytest.raises(Misuse, match=said):
        read([put(tmp_path, name, data)], LOG)


def test_a_missing_file_a_bad_format_and_a_bad_zone_are_refused_with_what_to_do(tmp_path):
    path = put(tmp_path, "a.log", LINE.format(1))
    with pytest.raises(Misuse, match="No such file"):
        read([str(tmp_path / "none.log")], LOG)
    with pytest.raises(Misuse, match="needs a message and a time"):
        read([path], LOG, "%(levelname)s %(message)s")
    with pytest.raises(Misuse, match="no such time zone"):
        read([path], LOG, zone="Middle/Earth")


def incident(folder, *texts, skew=1.0, sessions=()):
    paths = [put(folder, f"log{number}.log", text) for number, text in enumerate(texts)]
    return incident_of(read(paths, LOG).lines, LOG, skew, sessions)


def at(second, message, level="INFO"):
    return f"2026-11-22 22:34:{second:06.3f} {level} app: {message}\n".replace(".", ",", 1)


def test_lines_of_different_logs_are_ordered_only_beyond_the_skew(tmp_path):
    found = incident(tmp_path, at(1, "start j1") + at(5, "end j1 → a"), at(1.5, "start j1"), skew=1.0)
    assert [line.message for line in found.lines] == ["start j1", "start j1", "end j1 → a"]
    assert found.before == [0, 0, 0b11]


def test_a_clock_that_goes_backwards_orders_less_and_makes_no_cycle(tmp_path):
    found = incident(tmp_path, at(30, "start j1") + at(1, "end j1 → a"), at(10, "start j1"), skew=1.0)
    by_message = {line.place[-10:]: mask for line, mask in zip(found.lines, found.before, strict=True)}
    assert by_message["log1.log:1"] == 0
    assert sum(mask.bit_count() for mask in found.before) == 1


def test_a_line_that_two_logs_have_is_one_line_and_one_that_a_log_has_twice_is_two(tmp_path):
    both = at(1, "start j1", "WARNING")
    found = incident(tmp_path, both + both + at(2, "end j1 → a"), both)
    assert len(found.lines) == 3
    assert found.doubled == 1


def test_several_sessions_have_to_be_told_apart_by_the_user_if_nothing_else_does(tmp_path):
    text = at(1, "start j1") + at(2, "start j2")
    with pytest.raises(Misuse, match=r"2 unconnected sessions: give --session.*j1, j2"):
        incident(tmp_path, text)
    found = incident(tmp_path, text, sessions=["j2"])
    assert [line.message for line in found.lines] == ["start j2"]
    assert len(found.foreign) == 1
    with pytest.raises(Misuse, match="no log line names it"):
        incident(tmp_path, text, sessions=["j9"])


def test_logs_without_any_line_that_matches_are_refused(tmp_path):
    with pytest.raises(Misuse, match="none of the 1 log lines matches a template"):
        incident(tmp_path, at(1, "hello"))
