"""Random executions of random programs, written down as log files that are spoilt at random: the answer is never a confident wrong one.

What happened is known, so the right answer is: the execution fits, whatever the files look like. Lines are doubled by a second handler,
split over files whose clocks differ, wrapped by a collector, left out (and allowed to be missing), or cut off at the end.
"""

import json
import random
from contextlib import suppress
from dataclasses import replace

import pytest

from simharness.errors import Misuse
from simharness.incident import zones
from simharness.incident.answer import Conclusion, _conclusion
from simharness.incident.course import Course
from simharness.incident.formats import read
from simharness.incident.near import near_lines
from simharness.incident.templates import Template
from simharness.incident.timeline import incident_of
from simharness.settings import Settings
from tests.incident.random_logs import DESCRIBED, PROCESS, drawn, everything, scenario_of

QUICK = (*range(8), 24, 28, 31, 48, 71)
LONG = range(8, 300)
SKEW = 1.0
MOST_LINES_OF_AN_ACTOR = 5


def plain(stamp, message):
    return f"2026-11-22 {stamp} INFO random.logs: {message}"


WRAPPED = {
    "plain": plain,
    "journald": lambda stamp, message: f"Nov 22 22:00:00 host random[1]: {plain(stamp, message)}",
    "compose": lambda stamp, message: f"random-1  | {plain(stamp, message)}",
    "docker": lambda stamp, message: json.dumps({"log": plain(stamp, message) + "\n", "stream": "stdout"}),
    "dotted": lambda stamp, message: json.dumps(
        {"@timestamp": f"2026-11-22 {stamp}", "log.level": "info", "log.logger": "random.logs", "message": message}
    ),
}


def written(folder, draw, logged):
    """Write the lines to files; return their paths."""
    files = draw.choice([1, 2])
    handlers = draw.choice([1, 1, 2])
    wrapped = WRAPPED[draw.choice(list(WRAPPED))]
    hours = draw.choice([0, 0, 1]) if files == 2 else 0
    offset = draw.choice([0, 300, 900])
    texts = {}
    for number, (actor, message) in enumerate(logged):
        second = files == 2 and PROCESS[actor] == "two"
        milliseconds = 500 + number * 1_000 + (offset if second else 0)
        stamp = f"{22 + (hours if second else 0):02}:00:{milliseconds // 1000:02},{milliseconds % 1000:03}"
        texts.setdefault(second, []).extend([wrapped(stamp, message)] * handlers)
    paths = []
    for second, lines in texts.items():
        path = folder / f"{'b' if second else 'a'}.log"
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        paths.append(str(path))
    return paths


def concluded(scenario, paths, missing, log=DESCRIBED):
    """What is concluded from the files, without and with clocks set right."""
    lines = read(paths, log).lines
    sessions = list(dict.fromkeys(line.fields["who"] for line in lines if line.template is not None))
    incident = incident_of(lines, log, SKEW, sessions)
    by = zones.shifts(incident.lines)
    found = []
    for wanted in (incident, incident_of(zones.shifted(lines, by), log, SKEW, sessions)) if by else (incident,):
        asked = replace(wanted, near=near_lines(lines, log, incident.sessions))
        last = Course(scenario, {}, asked, None, Settings()).run(None, missing)
        found.append(_conclusion(last, asked, None))
    return next((one for one in found if one not in (Conclusion.IMPOSSIBLE, Conclusion.NO_FIT)), found[-1])


def asked(seed, folder):
    """Ask about one random execution; return what was concluded, or None if it has logged nothing."""
    draw = random.Random(seed)
    scenario = scenario_of(drawn(draw))
    executions = everything(scenario)
    failing = [execution for execution in executions if execution[1]]
    _, fails, logged = draw.choice(failing if failing and draw.random() < 0.5 else executions)
    spoilt = draw.choice(["not", "not", "cut", "lacking"])
    kept = list(logged)
    if spoilt == "cut":
        kept = kept[: draw.randint(0, len(kept))]
    elif spoilt == "lacking" and kept:
        del kept[draw.randrange(len(kept))]
    if not kept:
        return None
    paths = written(folder, draw, kept)
    conclusion = concluded(scenario, paths, 1 if spoilt == "lacking" else 0)
    fitting = [Conclusion.REPRODUCED, Conclusion.UP_TO_LAST]
    allowed = fitting if fails and spoilt != "lacking" else [*fitting, Conclusion.HARMLESS]  # without the missing line another may fit
    assert conclusion in allowed, (seed, spoilt, fails, logged, conclusion)
    if spoilt == "not" and fails:
        assert conclusion is Conclusion.REPRODUCED, seed
    unsaid = replace(DESCRIBED, templates=(Template("read", "elsewhere", "read {value} as {who}"), DESCRIBED.templates[1]))
    with suppress(Misuse):  # no line matches at all
        other = concluded(scenario, paths, 0, unsaid)
        if any(message.startswith("read") for _, message in kept):
            assert other is not Conclusion.IMPOSSIBLE, seed
    invented = [(kept[0][0], kept[0][1])] * (MOST_LINES_OF_AN_ACTOR + 1)
    assert concluded(scenario, written(folder, random.Random(seed), [*invented, *kept]), 0) is Conclusion.IMPOSSIBLE, seed
    return conclusion


def test_what_has_happened_is_never_called_impossible_whatever_became_of_the_files(tmp_path):
    found = [asked(seed, tmp_path) for seed in QUICK]
    assert {Conclusion.REPRODUCED, Conclusion.HARMLESS} <= set(found)


@pytest.mark.long
def test_what_has_happened_is_never_called_impossible_in_many_files(tmp_path):
    found = [asked(seed, tmp_path) for seed in LONG]
    assert set(Conclusion) - {Conclusion.IMPOSSIBLE, Conclusion.UNDECIDED, Conclusion.NO_FIT} <= set(found)
