"""Scenarios: functions that set up a world, the matrix of their parameters, and the verdicts that their author expects.

    @simharness.scenario(protocol=["lease", "fenced"], expect={"lease": "violated"})
    def one_child(world, protocol): ...

Anything callable is a scenario: an undecorated function, a closure, a plain threaded function that takes no world.
"""

from __future__ import annotations

import inspect
import itertools
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cached_property, partial
from typing import Any

from simharness.engine.faults import Faults
from simharness.errors import Misuse
from simharness.places import words_of
from simharness.runtimes.asynchronous import prepare, run_async
from simharness.search import tokens
from simharness.settings import Outside, check_order
from simharness.visible import shortened

Parameters = Mapping[str, Any]
VERDICTS = ("verified", "violated", "inconclusive")
_NAMED = ", or 'violated: NAME' with what is violated"
Expectation = str | Mapping[Any, str] | Callable[..., str]


class Scenario:
    """A function with its parameter matrix.

    Attributes:
        function: sets up the world; called with the world (if it takes one) and the parameters.
        name: the function's name.
        address: PATH::NAME if it was loaded from a file, as on the command line.
        matrix: for each parameter, the values it takes; the scenario's cases are their product.
        expect: the expected verdict, as for `scenario`; "verified" by default.
        max_delay: virtual seconds by which actors may be late, summed over an execution.
        allow_deadlock: whether a stuck actor is allowed, not a violation.
        trio_order: the orders in which Trio's tasks are resumed: "any", or those of its "batches".
        asyncio_order: the orders in which asyncio's callbacks run: "arrivals", those of its "loop", or "any".
        instrument: modules, besides the project's, whose reads and writes of shared memory are scheduling points; "test": only its own.
        project: the folder whose modules are instrumented; empty if there is none.
        besides: modules of the project that are not instrumented, such as those of other tests.
        log: what the code's log lines mean, for `simharness incident` (a `simharness.incident.Log`).
        outside: what the world outside answers.
        says_expect: whether the author says which verdict is expected.
        roots: the functions from which the scenario's code can be found without running it.
        release: called between executions, to release what the last one has left open.
        keeps: the attributes of the function that executions change and exploring reads.
        takes_world: whether the function takes a world; if not, it is the root actor itself.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        matrix: Mapping[str, Sequence[Any]] | None = None,
        expect: Expectation | None = None,
        max_delay: float | None = None,
        allow_deadlock: bool = False,
        instrument: Sequence[str] = (),
        trio_order: str = "any",
        asyncio_order: str = "arrivals",
        log: Any = None,
        outside: Outside | None = None,
    ) -> None:
        if inspect.isasyncgenfunction(function):
            raise Misuse(f"{getattr(function, '__name__', function)} is an asynchronous generator: use an async def without yield")
        if inspect.iscoroutinefunction(function):
            prepare(function)
        self.trio_order = check_order(trio_order)
        self.asyncio_order = check_order(asyncio_order, "asyncio")
        self.function = function
        self.name: str = getattr(function, "__name__", type(function).__name__)
        self.address = self.name
        self.project = ""
        self.besides: Collection[str] = ()
        self.matrix = {name: list(values) for name, values in (matrix or {}).items()}
        self.says_expect = expect is not None
        self.expect: Expectation = "verified" if expect is None else expect
        self.roots: tuple[Any, ...] = (function,)
        self.release: Callable[[], None] = lambda: None
        self.keeps: Sequence[str] = ()
        self.max_delay = max_delay
        for model in self.matrix.get("faults", ()):
            Faults.of(model)
        self.allow_deadlock = allow_deadlock
        self.log = log
        self.outside = outside or Outside()
        self.instrument = (instrument,) if isinstance(instrument, str) else tuple(instrument)
        self.__doc__ = function.__doc__
        self.__name__ = self.name
        self.__module__ = function.__module__
        self.takes_world = _takes_world(function, self.matrix)
        for value in _expected_values(self.expect):
            if not _is_verdict(value):
                raise Misuse(f"scenario {self.name}: expect says {value!r}; it must be one of {', '.join(VERDICTS)}{_NAMED}")

    @property
    def about(self) -> str:
        """The first line of the function's docstring; empty if it has none."""
        return next(iter((self.__doc__ or "").strip().splitlines()), "")

    @property
    def optional(self) -> list[str]:
        """The parameters of the function that have a default and are not in the matrix."""
        try:
            parameters = inspect.signature(self.function).parameters.values()
        except (TypeError, ValueError):
            return []
        return [one.name for one in parameters if one.default is not one.empty and one.name not in {*self.matrix, "faults"}]

    def cases(self, faults: Faults | str | None = None) -> Iterator[dict[str, Any]]:
        """Yield the parameters of each case of the matrix; `faults`, if given, replaces the matrix's fault models."""
        matrix = self.matrix if faults is None else {**self.matrix, "faults": [faults]}
        for values in itertools.product(*matrix.values()):
            yield dict(zip(matrix, values, strict=True))

    def case(self, parameters: Parameters | None) -> dict[str, Any]:
        """Return the parameters of one case: those given, and the first value of each of the others.

        Raises:
            Misuse: a parameter that the scenario does not have.
        """
        given = dict(parameters or {})
        if self.matrix or given:
            known = {*self.matrix, *_parameter_names(self.function), "faults"}
            for name in given:
                if name not in known:
                    has = ", ".join(sorted(self.matrix)) or "none"
                    raise Misuse(f"scenario {self.name} has no parameter {shortened(name)!r}; it has: {has}")
        Faults.of(given.get("faults"))
        return {**{name: values[0] for name, values in self.matrix.items()}, **given}

    def expected(self, parameters: Parameters) -> str:
        """Return the expected verdict of this case; "verified" by default."""
        expect = self.expect
        if isinstance(expect, str):
            return expect
        if isinstance(expect, Mapping):
            values = tuple(parameters.get(name) for name in self.matrix)
            for key in (values, values[0] if len(values) == 1 else values):
                if key in expect:
                    return str(expect[key])
            for key, verdict in expect.items():
                if isinstance(key, str) and "=" in key:
                    if all(str(parameters.get(name)) == value for name, value in self._pairs(key)):
                        return str(verdict)
            return "verified"
        try:
            verdict = expect(**self._wanted_by(expect, parameters))
        except Exception as error:
            raise Misuse(
                f"scenario {self.name}: its expect raised {type(error).__name__}: {words_of(error)}; it is called with {parameters}"
            ) from error
        if not _is_verdict(verdict):
            raise Misuse(f"scenario {self.name}: its expect returned {verdict!r}; it must return one of {', '.join(VERDICTS)}{_NAMED}")
        return str(verdict)

    def _pairs(self, text: str) -> Iterator[tuple[str, str]]:
        """Parse `name=value,name=value`; a value may itself look like that (`faults=crash=1,stall=1`)."""
        names = "|".join(map(re.escape, self.matrix))
        for pair in re.split(rf",\s*(?=(?:{names})\s*=)", text):
            name, _, value = pair.partition("=")
            yield name.strip(), value.strip()

    def _wanted_by(self, function: Callable[..., Any], parameters: Parameters) -> dict[str, Any]:
        """Return the parameters without `faults`, unless the function takes it."""
        takes = self._takes_faults if function is self.function else "faults" in _parameter_names(function)
        return {name: value for name, value in parameters.items() if name != "faults" or takes}

    @cached_property
    def _takes_faults(self) -> bool:
        return "faults" in _parameter_names(self.function)

    def read_token(self, token: str, parameters: Parameters | None = None) -> tokens.Token:
        """Parse a token of this scenario; `parameters`, if given, are the case that it must be of.

        Raises:
            TokenError: not a token, or one of another scenario, case or version of Python.
        """
        texts = {name: {tokens.text_of(value): value for value in values if not is_drawn(value)} for name, values in self.matrix.items()}
        return tokens.read(token, self.name, parameters, texts)

    def prepare(self, world: Any, parameters: Parameters) -> Any:
        """Set up a world for one execution."""
        wanted = self._wanted_by(self.function, parameters) if "faults" in parameters else parameters
        arguments = (world,) if self.takes_world else ()
        if inspect.iscoroutinefunction(self.function):
            return run_async(partial(self.function, **wanted), *arguments)
        return self.function(*arguments, **wanted)

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        """Call the function directly, as if it were not marked."""
        return self.function(*arguments, **keywords)

    def __repr__(self) -> str:
        return f"<scenario {self.name}>"


def scenario(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Mark a function as a scenario; a decorator with or without options.

    Args:
        expect: the expected verdict of every case ("violated: NAME" says what is violated, too: a check, a kind of exception or
            "deadlock"), or a mapping from a case's parameter value (a tuple of them, or
            "name=value,name=value") to it, or a function of the parameters.
        max_delay: virtual seconds by which actors may be late, summed over one execution (default 5).
        allow_deadlock: a stuck actor is not a violation.
        trio_order: "any" (default) resumes one of Trio's tasks at a time; "batches" does exactly what the installed Trio's loop can do.
        asyncio_order: "arrivals" (default): callbacks run in the order of registration, and what a pause waits for arrives at any time;
            "loop" does exactly what CPython's loop does; "any" resumes any runnable task.
        instrument: modules whose reads and writes of shared memory are scheduling points, besides those of the project (if the scenario
            is loaded from its path); "test": only the scenario's own.
        log: what the code's log lines mean: a `simharness.incident.Log`, for `simharness incident`.
        outside: "down": sockets, name look-ups and programs behave as on a machine without network and without programs. For each part,
            `network="down"`, `programs="none"`, or a function that answers (docs/scenarios.md). Default: they are refused.
        options: every other keyword is a parameter, with a list of values or a Hypothesis strategy to draw them from; one
            named `faults` lists fault models (None, or text like "crash=1"); the function need not take it.

    >>> import simharness
    >>> @simharness.scenario(size=[1, 2], expect={2: "violated"})
    ... def small(world, size):
    ...     world.at_end(lambda: None)
    >>> list(small.cases())
    [{'size': 1}, {'size': 2}]
    """
    named = ("expect", "max_delay", "allow_deadlock", "instrument", "trio_order", "asyncio_order", "log")
    own = {name: options.pop(name) for name in named if name in options}
    own["outside"] = Outside.of(*(options.pop(name, None) for name in ("outside", "network", "programs")))
    options = {name: [values] if is_drawn(values) else values for name, values in options.items()}
    for name, values in options.items():
        if isinstance(values, str) or not isinstance(values, Sequence) or not values:
            raise Misuse(f"scenario: parameter {name!r} needs a non-empty list of values, not {values!r}")

    def mark(marked: Callable[..., Any]) -> Scenario:
        return Scenario(marked, options, **own)

    return mark if function is None else mark(function)


def as_scenario(target: Any) -> Scenario:
    """Return the target if it is a scenario, or else the scenario of this function."""
    if isinstance(target, Scenario):
        return target
    if getattr(target, "is_hypothesis_test", False):
        raise Misuse(f"{target.__name__} is a Hypothesis test: call explore in its body, for each example, or use strategy='hypothesis'")
    if callable(target):
        return Scenario(target)
    raise Misuse(f"{target!r} is not a scenario: pass a function")


def is_drawn(value: Any) -> bool:
    """Whether a parameter's value is a Hypothesis strategy, to draw values from."""
    return any(cls.__name__ == "SearchStrategy" and cls.__module__.startswith("hypothesis.") for cls in type(value).__mro__)


def fixed_case(scenario: Scenario, parameters: Parameters | None) -> dict[str, Any]:
    """Return the parameters of one case.

    Raises:
        Misuse: one of them is to be drawn by Hypothesis.
    """
    case = scenario.case(parameters)
    for name, value in case.items():
        if is_drawn(value):
            raise Misuse(f"scenario {scenario.name}: {name} is drawn by Hypothesis: use strategy='hypothesis', or give it a value")
    return case


def _parameter_names(function: Callable[..., Any]) -> list[str]:
    try:
        return list(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return []


def _takes_world(function: Callable[..., Any], matrix: Mapping[str, Any]) -> bool:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return True
    positional = [
        parameter
        for parameter in signature.parameters.values()
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        and parameter.name not in matrix
        and parameter.default is parameter.empty
    ]
    return bool(positional)


def _is_verdict(text: object) -> bool:
    """Whether this is a verdict, or "violated: NAME", which names the check, the kind of exception or "deadlock"."""
    verdict, colon, name = text.partition(":") if isinstance(text, str) else ("", "", "")
    return verdict in VERDICTS and (not colon or (verdict == "violated" and bool(name.strip())))


def _expected_values(expect: Expectation) -> list[str]:
    if isinstance(expect, str):
        return [expect]
    return list(expect.values()) if isinstance(expect, Mapping) else []
