"""The hand-made matching of layouts and templates accepts, and takes apart, what regular expressions of the same meaning do."""

import random
import re

import pytest

from simharness.incident.layouts import Layout
from simharness.incident.templates import Template

ATTRIBUTES = {
    "created": r"\d{1,20}(?:\.\d{1,9})?",
    "levelname": r"[A-Z]\w*",
    "name": r"[^\s:\]]+",
    "process": r"\d{1,20}",
    "thread": r"\d{1,20}",
    "message": ".*",
}
PADDED = {"levelname", "process", "thread", "name"}
BETWEEN = ("", "", "", " ", " ", ": ", "[", "]", " [", "] ", ".", " - ", "a", "1")
IN_LINES = ("1", "12", "A", "Ab", "INFO", " ", " ", "  ", ":", ": ", "[", "]", ".", " - ", "a", "x1")


def expression_of_layout(layout):
    parts = re.split(r"%\((\w+)\)s", layout)
    pattern = re.escape(parts[0])
    for name, text in zip(parts[1::2], parts[2::2], strict=True):
        value = f"(?P<{name}>{ATTRIBUTES.get(name, '.*?')})"
        pattern += (rf" *?{value} *?" if name in PADDED else value) + re.escape(text)
    return re.compile(pattern)


def expression_of_template(message):
    parts = re.split(r"\{(\w*)\}", message)
    fields = [f"(?P<{name}>.*?)" if name else ".*?" for name in parts[1::2]]
    return re.compile("".join(re.escape(text) + field for text, field in zip(parts[::2], [*fields, ""], strict=True)))


def compared(match, values):
    assert (None if match is None else match.groupdict()) == values


def layouts(seeds):
    accepted = 0
    for seed in seeds:
        draw = random.Random(seed)
        names = draw.sample(["levelname", "name", "process", "tag", "thread", "task"], draw.randint(0, 4))
        for name in ("message", "created"):
            names.insert(draw.choice([0, draw.randint(0, len(names))]), name)
        layout = "".join(f"{draw.choice(BETWEEN)}%({name})s" for name in names) + draw.choice(["", "", "", " ", "]"])
        line = draw.choice(["", "12"]) + "".join(draw.choice(IN_LINES) for _ in range(draw.randint(1, 9)))
        match = expression_of_layout(layout).fullmatch(line)
        compared(match, Layout(layout).match(line))
        accepted += match is not None
    return accepted


def test_layouts_take_lines_apart_as_an_expression_does():
    assert layouts(range(5_000)) > 30


@pytest.mark.long
def test_many_layouts_take_lines_apart_as_an_expression_does():
    assert layouts(range(5_000, 205_000)) > 1_000


def test_templates_take_messages_apart_as_an_expression_does():
    accepted = 0
    for seed in range(5_000):
        draw = random.Random(seed)
        text = "".join(draw.choice("ab ") for _ in range(draw.randint(0, 3)))
        for number in range(draw.randint(0, 3)):
            text += draw.choice([f"{{field{number}}}", "{}"]) + "".join(draw.choice("ab ") for _ in range(draw.randint(0, 2)))
        message = "".join(draw.choice("ab ") for _ in range(draw.randint(0, 10)))
        match = expression_of_template(text).fullmatch(message)
        compared(match, Template("event", "logger", text).match(message))
        accepted += match is not None
    assert accepted > 100
