"""What log lines mean: message templates with fields, which of them are identities, and what an incident looks like.

The engine knows nothing of any program's log. A scenario declares it, with `@simharness.scenario(log=Log(…))`: a template for each line
that matters, in the words of the code's own `logger` calls. A field is free (counts, texts, model names) unless it must be *equal* or is an
*id*. Ids are unified: lines that name the same session in the incident name the same one in the execution, and different ones otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from simharness.errors import Misuse

_FIELD = re.compile(r"\{(\w*)\}")
DEFAULT_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


@dataclass(frozen=True)
class Template:
    """One kind of log line.

    Attributes:
        event: what it reports, in a few words. Templates of one event are wordings of it: a line in one of them may be logged by the code
            in another (another release says it in other words); the fields that both have are compared.
        logger: the name of the logger, or those of several that log it.
        message: the message with its fields, such as `turn ended: session={session}`.
        goes_on: the session that it names is new, and continues the one that its thread named before.
    """

    event: str
    logger: str | Sequence[str]
    message: str
    goes_on: bool = False

    def match(self, message: str) -> dict[str, str] | None:
        """Return the fields of a message of this template, each as short as possible; None if it is not one of these.

        Each text is taken where it occurs first, the last one at the end: if any places fit, these do. It is linear in the message.
        """
        first, *texts = self.texts
        if not message.startswith(first):
            return None
        fields: dict[str, str] = {}
        at = len(first)
        for rank, (name, text) in enumerate(zip(self._names, texts, strict=True)):
            end = message.find(text, at) if rank + 1 < len(texts) else len(message) - len(text)
            if end < at or not message.startswith(text, end):
                return None
            if name:
                fields[name] = message[at:end]
            at = end + len(text)
        return fields if at == len(message) else None

    @cached_property
    def loggers(self) -> Sequence[str]:
        """The names of the loggers."""
        return (self.logger,) if isinstance(self.logger, str) else tuple(self.logger)

    @cached_property
    def texts(self) -> list[str]:
        """The texts before, between and after the fields."""
        return _FIELD.split(self.message)[::2]

    @cached_property
    def _names(self) -> list[str]:
        return _FIELD.split(self.message)[1::2]

    @cached_property
    def fields(self) -> tuple[str, ...]:
        """The names of the fields."""
        return tuple(filter(None, self._names))


@dataclass(frozen=True)
class Rows:
    """A query whose rows are compared between the incident's database and an execution's.

    Attributes:
        about: what the rows are, in words.
        sql: a SELECT; `:session` in it is the incident's first session. Columns that are not ids are compared by value.
        ids: for each column that is an id, its kind.
        subset: the incident's rows need only be among the execution's (some releases keep part of them elsewhere).
    """

    about: str
    sql: str
    ids: Mapping[str, str] = field(default_factory=dict)
    subset: bool = False


@dataclass(frozen=True)
class Log:
    """What a scenario's author says about its log.

    Attributes:
        templates: the lines that matter. Lines that match none of them are free; those that resemble one are reported.
        free: lines that are known not to matter, though they resemble a template or name the incident's ids.
        ids: for each field that is an id, its kind; ids of one kind are unified with each other.
        session: the kind of id that says which lines belong together.
        tags: for attributes of the line format that are ids, their kind; they say which lines belong together, and are not unified.
        equal: fields whose text must be the same in the execution.
        format: of the lines, as for `logging.Formatter`.
        signature: given the incident's lines in order, returns those that show the harm; none if they do not show it.
        rows: queries that the final database must answer as the incident's does.
        database: name of the execution's database file, as given to `world.path`.
        parameters: given all lines that match a template, returns the parameters of the scenario that they determine, such as the release
            that logs so; an option `--parameter` overrides it.
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
    parameters: Callable[[Sequence[Line]], Mapping[str, Any]] | None = None
    free: Sequence[Template] = ()

    @cached_property
    def by_logger(self) -> Mapping[str, list[Template]]:
        """The templates of each logger."""
        return _by_logger(self.templates)

    @cached_property
    def free_by_logger(self) -> Mapping[str, list[Template]]:
        """The templates of each logger whose lines are known not to matter."""
        return _by_logger(self.free)

    def match(self, logger: str, message: str) -> tuple[Template, dict[str, str]] | None:
        """Return the template that a message matches, and its fields; None if it matches none."""
        for template in self.by_logger.get(logger, ()):
            fields = template.match(message)
            if fields is not None:
                return template, fields
        return None

    def ids_of(self, fields: Mapping[str, str]) -> list[tuple[str, str]]:
        """Return the ids among the fields, as (kind, value)."""
        return [(self.ids[name], value) for name, value in fields.items() if name in self.ids]


def _by_logger(templates: Sequence[Template]) -> dict[str, list[Template]]:
    found: dict[str, list[Template]] = {}
    for template in templates:
        for logger in template.loggers:
            found.setdefault(logger, []).append(template)
    return found


@dataclass(slots=True)
class Line:
    """One line of an incident's log.

    Attributes:
        source: the log it is from; rotated files of one log are one source.
        place: file and line number.
        time: nanoseconds since 1970.
        precision: nanoseconds; the line was written at most so long after `time`.
        logger, level, message: as logged; the first line of a longer message.
        process, thread: from the line format, or "".
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
        """What it reports, in words; "" if it matches no template."""
        return "" if self.template is None else self.template.event


def log_of(described: object, scenario: str) -> Log:
    """Return a scenario's description of its log.

    Raises:
        Misuse: it has none, or an invalid one.
    """
    if described is None:
        raise Misuse(f"scenario {scenario} says nothing about its log: give it @simharness.scenario(log=…), see docs/incidents.md")
    if not isinstance(described, Log) or not described.templates:
        raise Misuse(f"scenario {scenario}: log={described!r} is not a simharness.incident.Log with templates")
    for template in described.templates:
        if len(set(template.fields)) != len(template.fields):
            raise Misuse(f"scenario {scenario}: the template {template.message!r} has two fields of one name")
    known = {name for template in described.templates for name in template.fields}
    for name in (*described.ids, *described.equal):
        if name not in known:
            raise Misuse(f"scenario {scenario}: no template has a field {name!r}; there are: {', '.join(sorted(known)) or 'none'}")
    return described
