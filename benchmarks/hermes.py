"""Releases of the real package `hermes-agent` under every ordering: `make hermes` prints a table of releases and questions.

Each release is installed in an environment of its own, `.hermes/RELEASE`; environments are kept. Newer releases that the package index has
are added. The questions are the unmodified upstream test (if it is here), the scenarios of `scenarios/real_hermes.py` without faults and
with each, the reports of the ledger on a release that has the bug and one that has not, and the pairs of the store's operations
(`scenarios/real_store.py`). `!` marks what is not as expected. The results, with the tokens of counterexamples, are also in
`.hermes/table.json`. `HERMES_ENVIRONMENTS` names another folder than `.hermes`.

    python benchmarks/hermes.py [--releases 0.16.0,0.19.0] [--questions WORD,…] [--seconds 60] [--jobs 2] [--pairs NUMBER]
"""

from __future__ import annotations

import argparse
import html
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
FOLDER = Path(os.environ.get("HERMES_ENVIRONMENTS") or ROOT / ".hermes")
RELEASES = ("0.15.2", "0.16.0", "0.17.0", "0.18.2", "0.19.0")
UPSTREAM = ROOT.parent / "shared" / "seed" / "test_compression_concurrent_fork.py"
UPSTREAM_TEST = "test_concurrent_compression_does_not_fork_session"
NEED = ("pytest>=8,<10",)
CONFIGURATION = "compression: {in_place: false}\n"
VIOLATED, HOLDS = "violated", "holds"


class Question(NamedTuple):
    """What is asked of releases: a scenario with a fault, or the upstream test.

    Attributes:
        expected: for a release, "violated", or "holds": verified, or proved up to a bound, or nothing found; empty where none is known.
        proof: the bound that is enough for "verified".
    """

    name: str
    scenario: str
    faults: str
    expected: dict[str, str]
    proof: str = "lateness=0"


def _all(**others: str) -> dict[str, str]:
    return {release: others.get(f"r{release.replace('.', '_')}", VIOLATED) for release in RELEASES}


QUESTIONS = (
    Question("the upstream test", "", "", _all(r0_18_2="", r0_19_0="")),
    Question("two agents", "two_agents", "none", _all(r0_19_0=HOLDS)),
    Question("two agents, a stall", "two_agents", "stall=1", _all()),
    Question("two agents, a suspension", "two_agents", "suspend=1", _all()),
    Question("two agents, a crash", "two_processes", "crash=1", _all()),
    Question("two agents, a database error", "two_agents", "db_error=1", _all(r0_19_0="")),
    Question("#34351 two children", "two_agents", "none", {"0.15.2": VIOLATED, "0.19.0": HOLDS}),
    Question("#38727 the contender is late", "two_agents", "none", {"0.16.0": VIOLATED, "0.19.0": HOLDS}),
    Question("#33906 the child is not stored", "child_not_stored", "db_error=1", {"0.17.0": VIOLATED, "0.18.2": HOLDS}),
    Question("#63129 an error is the lease", "error_as_lease", "db_error=1", {"0.18.2": "", "0.19.0": HOLDS}),
    Question("#68929 pruned half-way", "pruned_half_way", "none", {"0.17.0": VIOLATED, "0.19.0": ""}),
    Question("#65775 a killed holder", "killed_holder", "crash=1", {"0.19.0": VIOLATED, "0.15.2": HOLDS}),
    Question("#71001 a stale writer", "stale_writer", "none", {"0.19.0": VIOLATED}),
    Question("#79584 a wedged holder", "wedged_holder", "none", {"0.19.0": VIOLATED, "0.17.0": HOLDS}),
    Question("#80337 a crash half-way", "crash_half_way", "crash=1", {"0.19.0": VIOLATED, "0.16.0": HOLDS}),
    Question("pairs of operations", "pair", "", {"0.19.0": VIOLATED}),
)


class Answer(NamedTuple):
    """What exploring has shown about one release."""

    release: str
    question: str
    verdict: str
    orderings: int
    seconds: float
    said: str
    token: str = ""
    expected: str = ""

    @property
    def holds(self) -> bool:
        """Whether it is as expected; what has no expectation is."""
        if not self.expected:
            return self.verdict != "error"
        return (self.verdict == VIOLATED) == (self.expected == VIOLATED) and self.verdict != "error"


def python_of(release: str) -> Path:
    """The interpreter of a release's environment."""
    return FOLDER / release / "bin" / "python"


def installed(release: str) -> bool:
    """Install a release, if it is not there; return whether it is there."""
    python = python_of(release)
    mark = FOLDER / release / ".installed"
    if mark.exists():
        return True
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(FOLDER / release)], check=True)
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run(
        [*command, "--editable", str(ROOT), f"hermes-agent=={release}", *NEED], check=False, capture_output=True, text=True
    )
    if done.returncode:
        print(f"{release} could not be installed: {(done.stderr.strip().splitlines() or ['?'])[-1]}", flush=True)
        return False
    mark.touch()
    return True


def newer() -> list[str]:
    """Return the releases that the package index has beyond those known here; none if it cannot be asked."""
    command = [sys.executable, "-m", "pip", "index", "versions", "hermes-agent", "--disable-pip-version-check"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    versions = re.findall(r"\d+\.\d+\.\d+", next((line for line in done.stdout.splitlines() if line.startswith("Available")), ""))
    last = tuple(map(int, RELEASES[-1].split(".")))
    return sorted(
        (version for version in versions if tuple(map(int, version.split("."))) > last), key=lambda text: [*map(int, text.split("."))]
    )


def home_of(release: str, question: str) -> Path:
    """The folder that a release's processes have as their home, with the configuration that these questions are about.

    Executions that change files outside their own folders take turns with all others that share a folder for temporary files, so each
    question has both for itself.
    """
    home = FOLDER / "homes" / re.sub(r"\W+", "-", f"{release} {question}").strip("-")
    (home / "tmp").mkdir(parents=True, exist_ok=True)
    (home / "config.yaml").write_text(CONFIGURATION, encoding="utf-8")
    return home


def environment(home: Path) -> dict[str, str]:
    """The variables of a release's processes."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HERMES", "PYTHON"))}
    return {**kept, "HERMES_HOME": str(home), "TMPDIR": str(home / "tmp")}


def asked(release: str, question: Question, seconds: float, pairs: int) -> Answer:
    """Explore."""
    began = time.perf_counter()
    expected = question.expected.get(release, "")
    try:
        if question.scenario == "pair":
            found = _pairs(release, seconds, pairs)
        elif question.scenario:
            found = _explored(release, question, seconds)
        else:
            found = _tested(release, seconds)
    except (OSError, ValueError, KeyError, subprocess.TimeoutExpired) as error:
        found = ("error", 0, f"{type(error).__name__}: {error}", "")
    verdict, orderings, said, token = found
    return Answer(release, question.name, verdict, orderings, time.perf_counter() - began, said, token, expected)


Found = tuple[str, int, str, str]


def _explored(release: str, question: Question, seconds: float) -> Found:
    options = ["--faults", question.faults]
    if question.expected.get(release) != VIOLATED:  # a bound that is enough would end the search for the failure
        options += ["--proof", question.proof]
    [result] = _results(release, f"real_hermes.py::{question.scenario}", options, seconds, question.name)
    return _found(result)


def _results(release: str, scenario: str, options: Sequence[str], seconds: float, question: str) -> list[dict[str, Any]]:
    home = home_of(release, question)
    file = home / "results.json"
    file.unlink(missing_ok=True)
    command = [str(python_of(release)), "-P", "-m", "simharness", "explore", str(ROOT / "scenarios" / scenario), "--json", str(file)]
    command += ["--no-timelines", "--max-seconds", str(seconds), *options]
    variables = environment(home)
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=home, env=variables, timeout=6 * seconds + 1200)
    if not file.exists():
        raise ValueError((done.stderr.strip().splitlines() or ["nothing was written"])[-1])
    results: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))["results"]
    file.unlink()
    return results


def _found(result: dict[str, Any]) -> Found:
    if result["error"] is not None:
        return "error", result["executions"], str(result["error"]), ""
    shown = result.get("counterexample") or {}
    if result["verdict"] == VIOLATED:
        return VIOLATED, result["executions"], str(shown.get("failure", "")), str(shown.get("token", ""))
    proved = f"proved: {', '.join(result['proved'])}" if result["proved"] else ""
    return result["verdict"], result["executions"], proved or str(result["bounds"]).partition("; ")[0], ""


def _tested(release: str, seconds: float) -> Found:
    if not UPSTREAM.exists():
        return "skipped", 0, "the upstream test is not here", ""
    home = home_of(release, "upstream")
    file = home / "upstream.xml"
    variables = environment(home)
    command = [str(python_of(release)), "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider", "--interleave"]
    command += ["-o", f"interleave=outside=down max_seconds={seconds:g} inconclusive=pass", "-o", f"interleave_corpus={home}"]
    command += [f"--rootdir={home}", f"--junitxml={file}", f"{UPSTREAM}::{UPSTREAM_TEST}"]
    subprocess.run(command, check=False, capture_output=True, text=True, cwd=home, env=variables, timeout=2 * seconds + 600)
    text = file.read_text(encoding="utf-8")
    said = dict(re.findall(r'name="interleave_(\w+)" value="([^"]*)"', text))
    failure = re.search(r'<(?:failure|error) message="([^"]*)"', text)
    words = html.unescape(failure[1]).split("\n")[0] if failure else ""
    verdict = "error" if words.startswith("Unexplored") else said["verdict"]
    return verdict, int(said["executions"]), words, said.get("token", "")


def _pairs(release: str, seconds: float, most: int) -> Found:
    """The pairs of operations: how many are violated, and each."""
    options = ["--parameter", "where=threads"] if most else []
    results = _results(release, "real_store.py::pair", options, seconds, "pairs")
    table = FOLDER / f"pairs-{release}.json"
    violated = [result for result in results if result["verdict"] == VIOLATED]
    rows = [
        {**result["parameters"], "failure": result["counterexample"]["failure"], "token": result["counterexample"]["token"]}
        for result in violated
    ]
    table.write_text(json.dumps(rows, indent=1, ensure_ascii=False), encoding="utf-8")
    verdict = VIOLATED if violated else "verified" if all(result["verdict"] == "verified" for result in results) else "inconclusive"
    return verdict, sum(result["executions"] for result in results), f"{len(violated)} of {len(results)}: see {table.name}", ""


def table(answers: Sequence[Answer]) -> Iterator[str]:
    """Yield the lines of the table."""
    heads = ("release", "question", "verdict", "orderings", "seconds", "")
    rows = [
        (one.release, one.question, one.verdict + ("" if one.holds else " !"), f"{one.orderings:,}", f"{one.seconds:.0f}", one.said[:70])
        for one in answers
    ]
    widths = [max(len(row[column]) for row in (heads, *rows)) for column in range(len(heads))]
    for row in (heads, *rows):
        yield "  ".join(
            text.rjust(width) if column in (3, 4) else text.ljust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()


def _answers(wanted: Sequence[tuple[str, Question]], options: argparse.Namespace) -> Iterator[Answer]:
    """Yield the answers as they come, and print each; what several questions ask alike is explored once."""
    alike: dict[tuple[str, str, str], list[Question]] = {}
    for release, question in wanted:
        alike.setdefault((release, question.scenario, question.faults), []).append(question)
    number = 0
    with ThreadPoolExecutor(options.jobs) as pool:
        started = {pool.submit(asked, release, same[0], options.seconds, options.pairs): same for (release, _, _), same in alike.items()}
        for done in as_completed(started):
            for question in started[done]:
                number += 1
                answer = done.result()._replace(question=question.name, expected=question.expected.get(done.result().release, ""))
                said = f"{answer.verdict}, {answer.orderings:,} orderings, {answer.seconds:.0f} s: {answer.said[:400]}"
                print(f"{number} of {len(wanted)}: {answer.release} {answer.question}: {said}", file=sys.stderr, flush=True)
                yield answer


def main() -> int:
    """Ask, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--releases", default="", help="only these, with commas between them")
    parser.add_argument("--questions", default="", help="only those that have one of these words in their names")
    parser.add_argument("--seconds", type=float, default=45.0, help="for each question")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=1, help="1: pairs of threads; 0: of processes, too, which takes long")
    options = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    releases = [release for release in options.releases.split(",") if release] or [*RELEASES, *newer()]
    began = time.perf_counter()
    there = [release for release in releases if installed(release)]
    if not there:
        print("no release could be installed: nothing was asked")
        return 0
    print(f"installed, or there already, in {time.perf_counter() - began:.0f} s: {', '.join(there)}", flush=True)
    words = [word for word in options.questions.split(",") if word]
    wanted = [
        (release, question)
        for question in QUESTIONS
        for release in there
        if (release in question.expected or release not in RELEASES) and (not words or any(word in question.name for word in words))
    ]
    began = time.perf_counter()
    answers = list(_answers(wanted, options))
    order = {(release, question.name): number for number, (release, question) in enumerate(wanted)}
    answers.sort(key=lambda answer: order[answer.release, answer.question])
    print("\n".join(table(answers)))
    print(f"{len(answers)} questions in {time.perf_counter() - began:.0f} s")
    (FOLDER / "table.json").write_text(json.dumps([one._asdict() for one in answers], indent=1, ensure_ascii=False), encoding="utf-8")
    return sum(not one.holds for one in answers)


if __name__ == "__main__":
    sys.exit(main())
