"""Steps in words: short enough for a column of a timeline, and in the words of the code under test."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from simharness.engine.kinds import Border, Role
from simharness.places import Place
from simharness.trace.data import Step
from simharness.trace.moves import Move
from simharness.visible import visible

_INSERT = re.compile(r"^(INSERT (?:OR \w+ )?INTO|REPLACE INTO) (\S+?) ?\(.*?\) ?(VALUES ?\(.*?\)|SELECT .*)?(.*)$", re.IGNORECASE)
_SELECT = re.compile(r"^SELECT (?!\() ?(.{12,}?) FROM ", re.IGNORECASE)
_STATEMENT = re.compile(r"(SELECT|INSERT|UPDATE|DELETE|REPLACE|WITH|CREATE|DROP|PRAGMA) |(BEGIN|COMMIT|ROLLBACK|END)\b")
_ERROR = re.compile(r"\wError: ")
_ROWS = re.compile(r"\d+ rows?$|committed: ")
_TARGET = re.compile(r"(INSERT (OR \w+ )?INTO|REPLACE INTO|UPDATE|DELETE FROM|SELECT … FROM|SELECT .*? FROM) \S+", re.IGNORECASE)
LONGEST_LIST = 60
"""Characters in which a transaction's statements stand on one line; longer lists have a line for each."""
_BORDERS = ("BEGIN", "COMMIT", "END", "ROLLBACK", "SAVEPOINT", "RELEASE")


def strike(step: Step) -> str:
    """Return in words a fault that is not an actor's step."""
    return step.kind.done.format(detail=step.detail)


def clock_or_fault(step: Step) -> str:
    """Return in words a step of the clock, or a fault that is not an actor's step; empty for an actor's step."""
    if step.kind.role is Role.MOVES_CLOCK:
        return f"the clock moves to {seconds(advance(step)[1])}"
    return strike(step) if step.kind.role is Role.STRIKES else ""


def one_line(text: str) -> str:
    """Return the text visible, without line breaks and runs of blanks."""
    return visible(" ".join(text.split()))


def cut(text: str, width: int) -> str:
    """Return the text in at most `width` characters, with … where some were left out; a step's result (→) is kept."""
    if len(text) <= width:
        return text
    action, arrow, result = text.rpartition(" → ")
    if arrow and not text.startswith(("+ ", "- ", "~ ")) and (len(result) <= width // 2 or _ERROR.search(result)):
        kept = cut(result, max(width * 2 // 3, width - len(action) - len(arrow)))
        return cut(action, width - len(kept) - len(arrow)) + arrow + kept
    return text[: max(0, width - 1)].rstrip() + "…" if width > 0 else ""


def cut_name(name: str, width: int) -> str:
    """Return an actor's name in at most `width` characters: of one that begins with its parent's, the end says more."""
    if len(name) <= width or "/" not in name or width < 1:
        return cut(name, width)
    return "…" + name[len(name) - width + 1 :].lstrip()


def sql(text: str) -> str:
    """Return a statement without the lists that a reader does not need."""
    short = one_line(text)
    insert = _INSERT.match(short)
    if insert:
        tail = insert.group(4).strip()
        return f"{insert.group(1)} {insert.group(2)}{' … ' + tail if tail else ''}"
    return _SELECT.sub("SELECT … FROM ", short)


def is_sql(step: Step) -> bool:
    """Whether the step is a statement or a transaction border."""
    return step.kind.family.statements


def in_short(step: Step) -> str:
    """Return the verb and the table of a statement."""
    return _own_statement(step, ()).short()


def done_in_words(step: Step, verb: str = "") -> str:
    """Return what the step did, apart from the statements that ran inside it.

    Args:
        verb: replaces that of the step's kind.
    """
    kind, detail = step.kind, one_line(step.detail)
    notes = _own_notes(step)
    if is_sql(step):
        return str(_own_statement(step, notes))
    if kind.done:
        done = kind.done.format(detail=detail, result=", ".join(notes) or detail)
        return done if "{result}" in kind.done else _with(done, notes)
    if detail and notes and notes[0].startswith(detail):
        return f"{str(kind).replace('_', '-')} {', '.join(notes)}"
    return _with(kind.phrase(detail, verb), notes)


def move_in_words(move: Move) -> str:
    """Return what a move would do."""
    kind, detail = move.kind, one_line(move.detail)
    if kind.role is Role.MOVES_CLOCK:
        return f"the clock moves to {seconds(int(detail))}" if detail.isdigit() else "the clock moves"
    following = kind.next or kind.done
    if kind.family.statements:
        text = sql(detail or kind.name.upper())
    elif following:
        text = following.format(detail=detail, result=detail, choice=f"{detail}: {move.value}" if detail else move.value)
    else:
        text = kind.phrase(detail)
    return f"{text}, and it fails: {move.fault}" if move.fault and kind.role is not Role.STRIKES else text


@dataclass(frozen=True)
class Statement:
    """A statement, its results, and whether its changes are shown below it."""

    sql: str
    results: Sequence[str]
    changes_shown: bool
    border: Border | None = None

    @property
    def is_border(self) -> bool:
        """Whether it begins or ends a transaction; only the text is known of a statement that ran inside a step."""
        return self.border is not None or self.sql.strip().split(" ")[0].upper() in _BORDERS

    @property
    def is_read(self) -> bool:
        """Whether it only reads."""
        return self.sql[:6].upper() == "SELECT"

    @property
    def matched_nothing(self) -> bool:
        """Whether it is a write that matched no row."""
        return "0 rows" in self.results

    def short(self) -> str:
        """Return its verb and table, and its results."""
        text, arrow, results = str(self).partition(" → ")
        target = _TARGET.match(text)
        return (target.group(0) if target else text) + arrow + results

    def __str__(self) -> str:
        shown = [note for note in self.results if note != "1 row" and not (self.changes_shown and note.startswith("committed"))]
        return f"{sql(self.sql)} → {', '.join(shown)}" if shown else sql(self.sql)


def statements(step: Step) -> list[Statement]:
    """Return the statements of a step: its own, and those that ran inside it because no other actor could have seen them.

    A note that starts like a statement is a statement; the notes that follow are its results.
    """
    notes = _notes(step)
    first = _first_statement(notes)
    result = [_own_statement(step, notes[:first])] if is_sql(step) else []
    while first < len(notes):
        following = first + 1 + _first_statement(notes[first + 1 :])
        result.append(Statement(notes[first], notes[first + 1 : following], bool(step.database)))
        first = following
    return result


def _own_statement(step: Step, notes: Sequence[str]) -> Statement:
    return Statement(one_line(step.detail) or step.kind.name.upper(), notes, bool(step.database), step.kind.border)


def row_in_words(steps: Sequence[Step]) -> tuple[str, list[str]]:
    """Return what the steps of one row did: a text, and lines for below it.

    Borders are left out where they enclose something, and so are a clock reading or a lock inside which statements ran.
    """
    first = steps[0]
    every = [statement for step in steps for statement in statements(step)]
    inner = [statement for statement in every if not statement.is_border]
    alone = len(steps) == 1 and not (behind(first) and inner)
    if alone or not (is_sql(first) or behind(first)):
        below = every[1:] if is_sql(first) else every
        return done_in_words(first), [str(statement) for statement in below if not statement.is_border]
    if not every:
        closing = next((step.kind.verb for step in steps[1:] if step.kind.role is Role.CLOSES), "")
        pair = first.kind.role is Role.OPENS and closing
        return done_in_words(first, f"{first.kind.verb}, {closing}" if pair else ""), []
    if not inner:
        return str(every[0]) if len(every) == 1 else f"{sql(every[0].sql)} … {every[-1]}", []
    changed = any(not statement.is_read and not statement.matched_nothing for statement in inner)
    shown = [statement for statement in inner if not (changed and statement.matched_nothing)]
    if len(shown) > 1 and sum(len(statement.short()) + 2 for statement in shown) > LONGEST_LIST:
        return str(shown[0]), [str(statement) for statement in shown[1:]]
    text = str(shown[0]) if len(shown) == 1 else "; ".join(statement.short() for statement in shown)
    nothing = any(note.startswith("committed: nothing") for statement in every for note in statement.results)
    wrote = any(not statement.is_read for statement in shown)
    return (f"{text} → nothing committed" if wrote and nothing and "→" not in text else text), []


def behind(step: Step) -> bool:
    """Whether statements inside the step say more than the step: it only reads the clock, or takes or gives back a lock."""
    return step.kind.role in (Role.READS_CLOCK, Role.OPENS, Role.CLOSES)


def _notes(step: Step) -> list[str]:
    return [one_line(note).replace(" -> ", " → ") for note in step.notes]


def _own_notes(step: Step) -> list[str]:
    """Return the notes before the first statement; without those on rows where the changes are shown."""
    notes = _notes(step)
    own = notes[: _first_statement(notes)]
    return [note for note in own if not _ROWS.match(note)] if step.database and not is_sql(step) else own


def _first_statement(notes: Sequence[str]) -> int:
    return next((position for position, note in enumerate(notes) if _STATEMENT.match(note)), len(notes))


def _with(text: str, notes: Sequence[str]) -> str:
    return f"{text}: {', '.join(notes)}" if notes else text


def seconds(nanoseconds: int) -> str:
    """Return a span of virtual time in words."""
    return f"{nanoseconds / 1e9:.9f}".rstrip("0").rstrip(".") + " s"


def advance(step: Step) -> tuple[int, int]:
    """Return the start and the end of a step of the clock, in virtual nanoseconds."""
    return step.time, int(step.detail) if step.detail.lstrip("-").isdigit() else step.time


def where(place: Place | None, width: int) -> str:
    """Return `file.py:41`, shortened at the front."""
    if place is None:
        return ""
    text = f"{visible(place.file.rpartition('/')[2])}:{place.line}"
    return text if len(text) <= width else "…" + text[len(text) - width + 1 :]
