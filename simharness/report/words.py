"""Steps in words: short enough for a column of a timeline, and in the words of the code under test."""

from __future__ import annotations

import re
from collections.abc import Sequence

from simharness.places import Place
from simharness.trace import Step

_INSERT = re.compile(r"^(INSERT (?:OR \w+ )?INTO|REPLACE INTO) (\S+?) ?\(.*?\) ?(VALUES ?\(.*?\)|SELECT .*)?(.*)$", re.IGNORECASE)
_SELECT = re.compile(r"^SELECT (?!\() ?(.{12,}?) FROM ", re.IGNORECASE)
_STATEMENT = re.compile(r"(SELECT|INSERT|UPDATE|DELETE|REPLACE|WITH|CREATE|DROP|PRAGMA) ", re.IGNORECASE)
_TARGET = re.compile(r"(INSERT (OR \w+ )?INTO|REPLACE INTO|UPDATE|DELETE FROM|SELECT … FROM|SELECT .*? FROM) \S+", re.IGNORECASE)
_BORDERS = ("BEGIN", "COMMIT", "END", "ROLLBACK", "SAVEPOINT", "RELEASE")


def one_line(text: str) -> str:
    """Return the text without line breaks and runs of blanks."""
    return " ".join(text.split())


def cut(text: str, width: int) -> str:
    """Return the text in at most `width` characters, with … where some were left out; what it came to (→) is kept."""
    if len(text) <= width:
        return text
    what, arrow, came_to = text.rpartition(" → ")
    if arrow and len(came_to) <= width // 2:
        return cut(what, width - len(came_to) - len(arrow)) + arrow + came_to
    return text[: max(0, width - 1)].rstrip() + "…" if width > 0 else ""


def sql(text: str) -> str:
    """Return a statement without the lists that a reader does not need."""
    short = one_line(text)
    found = _INSERT.match(short)
    if found:
        tail = found.group(4).strip()
        return f"{found.group(1)} {found.group(2)}{' … ' + tail if tail else ''}"
    return _SELECT.sub("SELECT … FROM ", short)


def is_sql(step: Step) -> bool:
    """Whether the step is a statement or a transaction border."""
    return step.kind.startswith(("sql", "db"))


def border(step: Step) -> str:
    """Return BEGIN, COMMIT, … for a step at a transaction's border; else nothing."""
    if not is_sql(step):
        return ""
    word = (step.detail or step.kind.rpartition(".")[2]).strip().split(" ")[0].upper()
    return word if word in _BORDERS else ""


def words(step: Step) -> str:
    """Return what the step did."""
    kind, detail = step.kind, one_line(step.detail)
    notes = _notes(step)
    if is_sql(step):
        text = sql(detail) if detail else kind.rpartition(".")[2].upper()
        known = ("committed",) if step.database else ()
        said = [note for note in notes[: _first_statement(notes)] if note != "1 row" and not note.startswith(known)]
        return f"{text} → {', '.join(said)}" if said else text
    if kind == "step":
        return _with(detail, notes)
    if kind == "choose":
        return f"choose {', '.join(notes) or detail}"
    if kind == "sleep":
        return _with(f"slept {detail}", notes)
    if kind == "clock.read":
        return _with("read the clock", notes)
    if detail and notes and notes[0].startswith(detail):
        return f"{kind.replace('_', '-')} {', '.join(notes)}"
    return _with(plain(kind, detail), notes)


def plain(kind: str, detail: str) -> str:
    """Return an operation in words: `acquire lock store.py:55` for `lock.acquire` of the lock of that name."""
    family, _, verb = kind.rpartition(".")
    verb = verb.replace("_", "-")
    if not detail:
        return f"{verb} {family}".strip()
    if not family or detail.startswith(family) or family == "thread":
        return f"{verb} {detail}"
    return f"{verb} {family} {detail}"


def inside(step: Step) -> tuple[str, ...]:
    """Return the statements that ran inside this step, because nobody else could have seen them."""
    notes = _notes(step)
    lines: list[str] = []
    if is_sql(step):
        for note in notes[_first_statement(notes) :]:
            if _STATEMENT.match(note):
                lines.append(sql(note))
            else:
                lines[-1] += f" → {note}"
    return tuple(lines)


def together(steps: Sequence[Step]) -> str:
    """Return what a step and those shown with it did: a transaction's statements, or a lock taken and given back."""
    if len(steps) == 1:
        return words(steps[0])
    first = steps[0]
    if not is_sql(first):
        return words(first).replace("acquire", "acquire, release", 1)
    statements = telling(steps)
    if not statements:
        return f"{sql(one_line(first.detail))} … {sql(one_line(steps[-1].detail)) or 'COMMIT'}"
    text = words(statements[0]) if len(statements) == 1 else "; ".join(_target(step) for step in statements)
    wrote = any(not step.detail.lstrip().upper().startswith("SELECT") for step in statements)
    nothing = any(note.startswith("committed: nothing") for note in steps[-1].notes)
    return f"{text} → nothing committed" if wrote and nothing and "→" not in text else text


def telling(steps: Sequence[Step]) -> list[Step]:
    """Return a transaction's statements; only those that found rows, if any did."""
    statements = [step for step in steps if not border(step)]
    return [step for step in statements if "0 rows" not in step.notes] or statements


def _target(step: Step) -> str:
    """Return a statement's verb and table, and what it said."""
    text, arrow, said = words(step).partition(" → ")
    found = _TARGET.match(text)
    return (found.group(0) if found else text) + arrow + said


def _notes(step: Step) -> list[str]:
    return [one_line(note).replace(" -> ", " → ") for note in step.notes]


def _first_statement(notes: Sequence[str]) -> int:
    return next((position for position, note in enumerate(notes) if _STATEMENT.match(note)), len(notes))


def _with(text: str, notes: Sequence[str]) -> str:
    return f"{text}: {', '.join(notes)}" if notes else text


def seconds(nanoseconds: int) -> str:
    """Return a span of virtual time in words."""
    return f"{nanoseconds / 1e9:.9f}".rstrip("0").rstrip(".") + " s"


def advance(step: Step) -> tuple[int, int]:
    """Return from when to when a step of the clock went, in virtual nanoseconds."""
    return step.time, int(step.detail) if step.detail.lstrip("-").isdigit() else step.time


def where(place: Place | None, width: int) -> str:
    """Return `file.py:41`, shortened at the front."""
    if place is None:
        return ""
    text = f"{place.file.rpartition('/')[2]}:{place.line}"
    return text if len(text) <= width else "…" + text[len(text) - width + 1 :]
