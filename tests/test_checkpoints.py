"""Where an exploration stands, written, read and joined: what it says in the end is what an exploration without a break says."""

import json
import random
import re
import sys

import pytest

import simharness
from simharness import Misuse, Settings, Verdict
from simharness.engine.facts import Fact
from simharness.exploring import checkpoints
from simharness.exploring.explore import Explorer
from simharness.exploring.parallel import crew
from simharness.exploring.parallel.plain import NotPlain, from_json, to_json
from tests.parallel_kit import Inline, explored, inline, of_program, of_row, said
from tests.programs import Row, casw, lastzero
from tests.random_drawing import program as drawn
from tests.random_programs import runtimes_in_place
from tests.test_cli import in_a_process
from tests.test_cli import simharness as run
from tests.test_parallel import of_adders, of_casw
from tests.test_random_faults import MODELS, scenario
from tests.test_random_programs import KINDS

STOPPED = "stopped at max_executions"
STOPPED_IN_PARTS = re.compile(r"incomplete: [0-9,]+ lea(f|ves) left")


@pytest.fixture(scope="module", autouse=True)
def threads_are_simulated():
    with runtimes_in_place():
        yield


class Kept:
    """Stands in for files: their text by name."""

    def __init__(self, monkeypatch):
        self.texts = {}
        monkeypatch.setattr(checkpoints, "put", self.put)
        monkeypatch.setattr(checkpoints, "read", lambda path: json.loads(self.texts[path]))
        monkeypatch.setattr(checkpoints, "EVERY", 0.0)
        monkeypatch.setattr(checkpoints, "SPARE", 0)

    def put(self, path, name, entry):
        self.texts[path] = json.dumps({"cases": {name: entry}})

    def entries(self, *paths):
        return [entry for path in paths for entry in json.loads(self.texts[path])["cases"].values()]


@pytest.fixture
def written(monkeypatch):
    return Kept(monkeypatch)


def in_slices(draw, program, longest, **options):
    """Explore, stopping after every few executions and going on from what was written; return what is said in the end."""
    most = options.pop("max_executions", 10**9)
    resume, executions = None, 0
    while True:
        executions = min(most, executions + draw.randint(1, longest))
        result = explored(program, 1, checkpoint="file", resume=resume, max_executions=executions, **options)
        if executions == most or isinstance(result, str) or _ended(result, executions, options.get("stop_on_first", True)):
            return result
        resume = "file"


def _ended(result, executions, stop):
    """Whether the exploration came to its end before its limit; what fails does not say that it was stopped."""
    if result[0] == Verdict.VIOLATED:
        return stop or result[1][0] < executions
    return STOPPED not in result[3]


def in_parts(monkeypatch, written, draw, program, shards, alone, **options):
    """Explore in parts, some of which are lost and some given twice, until nothing is left; return what was said at each merge."""
    monkeypatch.setattr(crew, "ALONE_RUNS", alone)
    strategy, stop = options.pop("strategy", "dpor"), options.pop("stop_on_first", False)
    settings = Settings(confirm=False, shrink=20, max_steps=500, checkpoint="merged")
    merges, resume = [], None
    while not merges or STOPPED_IN_PARTS.search(merges[-1][3]):
        assert len(merges) < 300
        parts = [f"part {number}" for number in range(1, shards + 1)]
        for number, part in enumerate(parts, 1):
            result = explored(
                program, 1, strategy, stop, checkpoint=part, resume=resume, shard=f"{number}/{shards}", max_steps=500, **options
            )
            assert result[0] != Verdict.VERIFIED
            if result[0] == Verdict.VIOLATED:
                merges.append(result)  # the merge says the same
                break
        given = [draw.choice(parts), *draw.sample(parts, max(1, shards - draw.choice((0, 0, 1))))]
        case = {} if "faults" not in options else {"faults": options["faults"]}
        result = Explorer(program, case, strategy, stop, settings, None, written.entries(*filter(written.texts.__contains__, given))).run()
        merges.append(said(result))
        resume = "merged"
    return merges


# Gone on from, in slices of a few executions

WAYS = (
    {"strategy": "dpor", "stop_on_first": False},
    {"strategy": "dpor"},
    {"strategy": "auto"},
    {"strategy": "auto", "stop_on_first": False},
)


def compare(kind, first, number, most):
    for seed in range(first, first + number):
        program = of_program(drawn(seed, **KINDS[kind]), (0, 0, 97, 13)[seed % 4])
        options = {"max_executions": most, **WAYS[seed % len(WAYS)]}
        alone = explored(program, 1, **options)
        assert in_slices(random.Random(seed), program, 25, **options) == alone, (kind, seed)


@pytest.mark.parametrize("kind", KINDS)
def test_random_programs_that_are_gone_on_from_say_what_they_say_without_a_break(kind, written):
    compare(kind, 500, 1 if kind == "sql" else 2, 60)


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_many_random_programs_that_are_gone_on_from_say_what_they_say_without_a_break(kind, written):
    compare(kind, 40_000, 25, 150)


@pytest.mark.parametrize("strategy", ["dpor", "auto"])
def test_going_on_after_every_execution_gives_the_same_counts_and_the_same_samples(strategy, written):
    program = of_casw(count=2)
    assert in_slices(random.Random(1), program, 1, strategy=strategy) == explored(program, 1, strategy)


def test_a_counterexample_and_its_token_are_the_same_after_breaks(written):
    program = of_adders([3, 4, 6, 7, 9, 11])
    alone = explored(program, 1, "auto")
    assert alone[0] == Verdict.VIOLATED
    assert in_slices(random.Random(3), program, 60, strategy="auto") == alone


@pytest.mark.parametrize("faults", list(MODELS)[:4])
def test_random_programs_under_faults_that_are_gone_on_from_say_the_same(faults, written):
    program = scenario(3, MODELS[faults])
    options = {"faults": faults, "max_executions": 40, "strategy": "dpor"}
    assert in_slices(random.Random(2), program, 9, **options) == explored(program, 1, **options)


def test_what_workers_have_explored_ahead_is_kept_too(written, monkeypatch):
    program, draw = of_casw(count=4), random.Random(4)
    alone = explored(program, 1, "dpor")
    executions, resume = 0, None
    with inline(monkeypatch, 4, 0.1):
        while True:
            executions += draw.randint(1, 200)
            workers = draw.choice((1, 2, 3))
            result = explored(program, workers, "dpor", checkpoint="file", resume=resume, max_executions=executions)
            if STOPPED not in result[3]:
                break
            resume = "file"
    assert result == alone


def test_a_fact_that_is_learned_after_a_break_makes_exploring_start_over(written):
    program = of_program(drawn(7, **KINDS["daemons"]), 0)
    assert in_slices(random.Random(5), program, 2, strategy="dpor", max_executions=60) == explored(
        program, 1, strategy="dpor", max_executions=60
    )


# In parts


def same_parts(monkeypatch, written, program, seed, shards, alone, **options):
    whole = explored(program, 1, "dpor", False, **options)
    merges = in_parts(monkeypatch, written, random.Random(seed), program, shards, alone, **options)
    assert merges[-1] == whole, seed
    assert all(merge[0] != Verdict.VERIFIED for merge in merges[:-1])
    return merges


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "sql"])
def test_the_parts_of_random_programs_come_to_what_the_whole_comes_to(kind, written, monkeypatch):
    for seed in (600, 601):
        program = of_program(drawn(seed, **KINDS[kind]))
        if explored(program, 1, "dpor", False, max_executions=120)[0] == Verdict.VERIFIED:
            same_parts(monkeypatch, written, program, seed, 2 + seed % 2, 4)


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_the_parts_of_many_random_programs_come_to_what_the_whole_comes_to(kind, written, monkeypatch):
    for seed in range(50_000, 50_015):
        program = of_program(drawn(seed, **KINDS[kind]))
        if explored(program, 1, "dpor", False, max_executions=200)[0] == Verdict.VERIFIED:
            same_parts(monkeypatch, written, program, seed, 2 + seed % 3, (2, 9, 40)[seed % 3])


@pytest.mark.parametrize("shards", [2, 3, 8])
def test_a_known_program_in_parts_has_the_orderings_of_the_whole_and_no_part_says_verified(shards, written, monkeypatch):
    merges = same_parts(monkeypatch, written, of_casw(count=3), 7, shards, 10)
    assert len(merges) > 1


def test_leaves_are_many_where_most_of_them_are_found_from_elsewhere(written, monkeypatch):
    same_parts(monkeypatch, written, of_row(Row("lastzero", lastzero, (5,), 0)), 8, 2, 5)


def test_a_failure_in_a_part_is_reported_there_and_by_the_merge(written, monkeypatch):
    program = of_adders([0, 1, 2, 3, 5, 11])
    merges = in_parts(monkeypatch, written, random.Random(9), program, 3, 20, stop_on_first=True)
    assert merges[-1][0] == Verdict.VIOLATED


def test_a_case_that_is_small_is_no_proof_where_it_is_one_part(written):
    result = explored(of_casw(count=1), 1, "dpor", checkpoint="part", shard="1/2")
    assert result[0] == Verdict.INCONCLUSIVE
    assert "part 1 of 2, which `simharness merge` joins; incomplete: 0 leaves left" in result[3]


# The file

SCENARIO = """
import simharness
from helper import STEPS

@simharness.scenario(count=[3, 1])
def adders(world, count):
    total = world.shared(0, "total")
    for name in "abc":
        world.actor(name, lambda: [total.add(STEPS) for _ in range(count)])
    world.at_end(lambda: world.outcome(total.get()))

@simharness.scenario
def other(world):
    world.actor("a", world.step, "x")
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "adding.py").write_text(SCENARIO, encoding="utf-8")
    (tmp_path / "helper.py").write_text("STEPS = 1\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "helper", raising=False)
    return tmp_path


@pytest.fixture
def stopped(folder):
    """A folder with the checkpoint of an exploration that was stopped."""
    done = run("explore", "adding.py::adders", "--parameter", "count=3", "--checkpoint", "ck.json", "--max-executions", "200")
    assert done.returncode == 3
    assert "to go on: add --resume ck.json and raise --max-executions" in done.stderr
    return folder


def changed(folder, change):
    content = json.loads((folder / "ck.json").read_text(encoding="utf-8"))
    change(content)
    (folder / "ck.json").write_text(json.dumps(content), encoding="utf-8")


def resumed(*arguments, run=run):
    return run("explore", "adding.py::adders", "--parameter", "count=3", "--resume", "ck.json", *arguments)


REFUSED = {
    "another version": (lambda content: content.update({checkpoints.WORD: 99}), "version 99 of checkpoints"),
    "another Python": (lambda content: content.update(python="CPython 3.99.0 on linux"), "written on CPython 3.99.0 on linux, and this is"),
    "nothing": (dict.clear, "this is no checkpoint"),
    "another scenario": (
        lambda content: content.update(cases={"adding::third": content["cases"].popitem()[1]}),
        "holds adding::third, and no case that is to be explored here",
    ),
    "another seed": (
        lambda content: content["cases"]["adding::adders count=3"]["settings"].update(seed=5),
        "explored with seed=5, not 0",
    ),
}


def test_what_does_not_fit_is_refused_in_one_line(stopped):
    text = (stopped / "ck.json").read_text(encoding="utf-8")
    for change, words in REFUSED.values():
        changed(stopped, change)
        done = resumed()
        assert words in done.stderr.splitlines()[-1]
        assert done.returncode == 2
        (stopped / "ck.json").write_text(text, encoding="utf-8")
    (stopped / "helper.py").write_text("STEPS = 2\n", encoding="utf-8")
    done = resumed(run=in_a_process)
    assert done.stderr == "simharness: ck.json: helper.py has changed since: explore anew\n"
    assert done.returncode == 2


def test_going_on_in_another_process_finds_all_orderings_and_parts_are_joined_by_hand(stopped):
    done = resumed()
    assert done.returncode == 0, done.stderr
    assert "1680" in done.stdout
    for number in (1, 2):
        assert resumed("--shard", f"{number}/2", "--checkpoint", f"{number}.json").returncode == 3
    joined = run("merge", "1.json", "2.json", "--checkpoint", "joined.json")
    while joined.returncode == 3:
        assert "left" in joined.stdout
        (stopped / "ck.json").write_bytes((stopped / "joined.json").read_bytes())
        for number in (1, 2):
            resumed("--shard", f"{number}/2", "--checkpoint", f"{number}.json")
        joined = run("merge", "1.json", "2.json", "--checkpoint", "joined.json")
    assert joined.returncode == 0, joined.stderr
    assert "1680" in joined.stdout


def test_cases_are_dealt_out_to_shards(folder):
    done = [run("explore", "adding.py", "--shard", f"{number}/2").stdout for number in (1, 2)]
    assert ["count=3" in text for text in done] == [True, False]
    assert ["count=1" in text for text in done] == [False, True]
    assert "other" in done[0]
    one = run("explore", "adding.py::other", "--shard", "1/2")
    assert one.stderr == "simharness: --shard 1/2: one case is explored in parts, and this part needs a file: add --checkpoint FILE\n"
    assert run("explore", "adding.py", "--shard", "5/9").returncode == 0


@pytest.mark.parametrize("option", [{"preemptions": 1}, {"proof": "preemptions<=1"}, {"isolation": "fork"}])
def test_what_cannot_be_kept_is_refused(option):
    with pytest.raises(Misuse, match="cannot be combined"):
        simharness.explore(lambda: None, settings=Settings(checkpoint="x", **option))
    with pytest.raises(Misuse, match="only the reduction can be kept"):
        simharness.explore(lambda: None, "random", settings=Settings(resume="x"))


def test_an_outcome_that_cannot_be_written_is_named_at_once(tmp_path):
    def program(world):
        world.actor("a", world.step, "x")
        world.outcome(object)

    with pytest.raises(Misuse, match="an outcome is <class 'object'>"):
        simharness.explore(program, settings=Settings(checkpoint=str(tmp_path / "x.json")))
    assert not list(tmp_path.iterdir())


VALUES = [None, True, 3, -(1 << 20_000), 1.5, float("inf"), "\ud800é", b"\x00", (1, (2, "x")), frozenset({1, "a"}), {"a": [1, {2}]}]


@pytest.mark.parametrize("value", VALUES, ids=range(len(VALUES)))
def test_plain_values_are_read_as_they_were_written(value):
    again = from_json(json.loads(json.dumps(to_json(value))))
    assert again == value
    assert type(again) is type(value)


def test_other_values_are_not_written():
    class Text(str):
        pass

    for value in (object(), Text("x"), [object()], lambda: None):
        with pytest.raises(NotPlain):
            to_json(value)


def test_the_harness_of_these_tests_goes_on(written, monkeypatch):
    before = Inline.answered
    with inline(monkeypatch, 1):
        explored(of_row(Row("casw", casw, (2,), 0)), 2, "dpor", checkpoint="file")
    assert Inline.answered > before
    assert written.entries("file")[0]["state"]["runs"]


HIDDEN = """
import simharness

COUNTED = []

@simharness.scenario
def counters(world):
    total = world.shared(0, "total")
    seen = {name: [] for name in "ab"}
    for name in "ab":
        world.actor(name, lambda name=name: [seen[name].append(total.add(1)) for _ in range(3)])

    @world.at_end
    def counts():
        world.outcome(len(COUNTED))
        if seen["a"] == [0, 4, 5]:
            exec("counted.append(1)", {"counted": COUNTED})
"""


def test_what_an_execution_has_changed_unseen_is_found_before_anything_is_kept(tmp_path, written):
    (tmp_path / "hidden.py").write_text(HIDDEN, encoding="utf-8")
    [program] = simharness.load(str(tmp_path / "hidden.py"))
    alone = explored(program, 1, "dpor")
    assert alone[2] == {0}
    assert [in_slices(random.Random(seed), program, 6, strategy="dpor") for seed in (1, 2)] == [alone, alone]


@pytest.mark.parametrize("bad", [[1, 2, 3, 5, 10, 11], [2, 3, 4, 6, 7, 8], [0, 2, 4, 7, 8, 11]], ids=str)
def test_the_same_samples_are_drawn_after_breaks(bad, written):
    program = of_adders(bad)
    alone = explored(program, 1, "auto")
    assert alone[1][0] < explored(program, 1, "dpor")[1][0]  # a sample has found it
    assert in_slices(random.Random(6), program, 7, strategy="auto") == alone


def test_what_was_explored_with_fewer_facts_is_left_out_of_a_merge(written):
    class Later(Fact, word="test-later", in_tokens=False):
        pass

    try:
        program = of_casw(count=2)
        explored(program, 1, "dpor", False, checkpoint="all")
        explored(program, 1, "dpor", False, checkpoint="some", max_executions=4)
        whole, some = written.entries("all", "some")
        some["state"]["facts"].append(["test-later"])
        for entries in ([whole, some], [some, whole]):
            result = Explorer(program, {}, "dpor", False, Settings(confirm=False), None, entries).run()
            assert result.verdict is Verdict.INCONCLUSIVE
            assert result.executions == 4
    finally:
        Fact.known.pop("test-later")


def test_a_merge_takes_over_what_each_part_has_explored(written, monkeypatch):
    monkeypatch.setattr(crew, "ALONE_RUNS", 20)
    program = of_adders()
    parts = [explored(program, 1, "dpor", False, checkpoint=f"part {n}", shard=f"{n}/3") for n in (1, 2, 3)]
    joined = Explorer(program, {}, "dpor", False, Settings(confirm=False), None, written.entries("part 1", "part 2", "part 3")).run()
    assert [part[1][0] for part in parts] == [22, 20, 20]
    assert joined.executions == 84
