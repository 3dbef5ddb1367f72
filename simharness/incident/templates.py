"""What log lines mean: message templates with fields, which of them are identities, and what an incident looks like.

The engine knows nothing of any program's log. A scenario declares it, with `@simharness.scenario(log=Log(…))`: a template for each line
that matters, as the code's own `logger` calls have them. A field is free (counts, texts, names of models) unless it is an *id*, which is
unified (two lines that name one session in the incident name one in the execution, and different ones different ones), or is to be *equal*.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from simharness.errors import Misuse

_FIELD = re.compile(r"\{(\w*)\}")
DEFAULT_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


@dataclass(frozen=True)
class Template:
    """One kind of log line.

    Attributes:
        event: what it tells of, in a few words.
        logger: the name of the logger.
        message: the message with its fields, such as `turn ended: session={session}`.
        goes_on: the session that it names is a new one, which goes on from the one that its thread named before.
    """

    event: str
    logger: str
    message: str
    goes_on: bool = False

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """Matches the messages of this template; its groups are the fields."""
        parts = _FIELD.split(self.message)
        texts = [re.escape(text) for text in parts[::2]]
        names = parts[1::2]
        return re.compile(
            "".join(text + (f"(?P<{name}>.*?)" if name else ".*?") for text, name in zip(texts, [*names, ""], strict=True))[:-3]
        )

    @cached_property
    def fields(self) -> tuple[str, ...]:
        """The names of the fields."""
        return tuple(name for name in _FIELD.findall(self.message) if name)


@dataclass(frozen=True)
class Rows:
    """A question to the database whose answer is compared between the incident and an execution.

    Attributes:
        about: what the rows are, in words.
        sql: a SELECT; `:session` in it is the incident's first session. Columns that are no ids are compared as they are.
        ids: which of its columns are ids, and of which kind.
    """

    about: str
    sql: str
    ids: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Log:
    """What a scenario's author says about its log.

    Attributes:
        templates: the lines that matter. Lines that match none are listed and free.
        ids: for each field that is an id its kind; ids of one kind are unified with each other.
        session: the kind of id that says which lines belong together.
        tags: for attributes of the line format (not of messages) their kind of id; they say what belongs together, and are not unified.
        equal: fields whose text must be the same in the execution.
        format: of the lines, as `logging.Formatter` has it.
        signature: given the incident's lines in order, returns those by which one recognises the harm; none: not there.
        rows: what the database must answer at the end.
        database: name of the execution's database file, as given to `world.path`.
    """

    templates: Sequence[Template]
    ids: Mapping[str, str] = field(default_factory=dict)
    session: str = "session"
    tags: Mapping[str, str] = field(default_factory=dict)
    equal: Sequence[str] = ()
    format: str = DEFAULT_FORMAT
    signature: Callable[[Sequence[Line]], Sequence[Line]] | None = None
    rows: Sequence[Rows] = ()
    database: str = "state.db"

    @cached_property
    def by_logger(self) -> Mapping[str, list[Template]]:
        """The templates of each logger."""
        found: dict[str, list[Template]] = {}
        for template in self.templates:
            found.setdefault(template.logger, []).append(template)
        return found

    def match(self, logger: str, message: str) -> tuple[Template, dict[str, str]] | None:
        """Return the template that a message matches, with its fields; None if it matches none."""
        for template in self.by_logger.get(logger, ()):
            found = template.pattern.fullmatch(message)
            if found is not None:
                return template, found.groupdict()
        return None

    def ids_of(self, fields: Mapping[str, str]) -> list[tuple[str, str]]:
        """Return the ids among the fields, as (kind, value)."""
        return [(self.ids[name], value) for name, value in fields.items() if name in self.ids]


@dataclass(slots=True)
class Line:
    """One line of an incident's log.

    Attributes:
        source: the log it is from; rotated files of one log are one source.
        place: file and line number.
        time: nanoseconds since 1970.
        precision: nanoseconds; the line was written within so many after `time`.
        logger, level, message: as logged; of a message of several lines the first.
        process, thread: as the line format tells them, or "".
        tags: other attributes of the line format.
        template, fields: what it means, if it matches a template.
    """

    source: str
    place: str
    time: int
    precision: int
    logger: str
    level: str
    message: str
    process: str
    thread: str
    tags: dict[str, str]
    template: Template | None = None
    fields: dict[str, str] = field(default_factory=dict)

    @property
    def event(self) -> str:
        """What it tells of, in words; "" where no template says so."""
        return "" if self.template is None else self.template.event


def log_of(described: object, scenario: str) -> Log:
    """Return a scenario's description of its log.

    Raises:
        Misuse: it has none, or one that makes no sense.
    """
    if described is None:
        raise Misuse(f"scenario {scenario} says nothing about its log: give it @simharness.scenario(log=…), see docs/incidents.md")
    if not isinstance(described, Log) or not described.templates:
        raise Misuse(f"scenario {scenario}: log={described!r} is no simharness.incident.Log with templates")
    known = {name for template in described.templates for name in template.fields}
    for name in (*described.ids, *described.equal):
        if name not in known:
            raise Misuse(f"scenario {scenario}: no template has a field {name!r}; there are: {', '.join(sorted(known)) or 'none'}")
    return described
