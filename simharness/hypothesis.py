"""Hypothesis tests and state machines under schedules that Hypothesis draws; needs the package `hypothesis`.

    @given(schedules(), st.integers(1, 5))
    def test_nothing_is_lost(schedule, writers):
        simharness.hypothesis.execute(scenario, schedule, {"writers": writers})

The strategy "hypothesis" of `simharness.explore` needs nothing from here, but `rules_as_actors` makes scenarios for it.
"""

from __future__ import annotations

import inspect
from collections.abc import Hashable, Mapping, Sequence
from functools import wraps
from typing import Any

from hypothesis import reject
from hypothesis import strategies as st
from hypothesis.stateful import (
    INITIALIZE_RULE_MARKER,
    INVARIANT_MARKER,
    RULE_MARKER,
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
)

from simharness.authoring.scenario import Parameters, Scenario, as_scenario, fixed_case
from simharness.authoring.world import World
from simharness.engine.facts import Mark, until_settled
from simharness.errors import Misuse
from simharness.search import tokens
from simharness.search.drawn import Schedule
from simharness.settings import Settings
from simharness.simulation.execution import Execution, describe
from simharness.simulation.simulation import Simulation
from simharness.verdicts.results import Replayed

__all__ = ["Schedule", "execute", "rules_as_actors", "schedules"]

NEWEST = 8
"""A rule that takes a value of a bundle takes one of this many newest ones."""
START = "start"
"""The key of a machine's initialize rules in its programs."""

Call = tuple[str, Mapping[str, Any]]
"""(rule, arguments)."""


def schedules() -> st.SearchStrategy[Schedule]:
    """Draw schedules, for `execute`; they shrink to few context switches. A schedule serves one execution of each example."""
    return st.randoms(use_true_random=False).map(lambda random: Schedule(random.randrange))


def execute(target: Any, schedule: Schedule, parameters: Parameters | None = None, settings: Settings | None = None) -> frozenset[Hashable]:
    """Run one execution of a scenario under a drawn schedule, inside a Hypothesis test; return its outcomes.

    A failure is raised as in the scenario, with the timeline and the replay token as a note. An example whose execution is cut or stuck in
    a false `assume` is rejected.

    Args:
        target: a scenario, or any function that `simharness.explore` takes.
        parameters: of the case; default: the first value of each.

    Raises:
        Misuse: the scenario is wrong.
    """
    scenario = as_scenario(target)
    case = fixed_case(scenario, parameters)
    with Simulation(scenario, case, settings or Settings()) as simulation:
        kernel = simulation.kernel

        def draw(_: Mark) -> Execution:
            drawn = simulation.execute((), lambda enabled: schedule.choose(kernel, enabled))
            schedule.finish()
            return drawn

        execution = until_settled(kernel.learned, draw)
        failure = execution.failure
        if failure is not None:
            text = kernel.canonical(describe(failure) or "")
            token = tokens.write(scenario.name, case, kernel)
            failed = Replayed(text, token, simulation.record(list(execution.keys), text, failure.step + 1))
    if failure is not None:
        failure.error.add_note(f"{failed.timeline}\nreplay: simharness.replay({scenario.name}, {token!r})")
        raise failure.error
    if execution.status in ("blocked", "cut"):
        reject()
    return execution.outcomes


def values_of(strategy: Any, number: int = 3) -> list[Any]:
    """Return a few different values that a strategy draws, the simplest first; the same ones each time.

    Raises:
        Misuse: the strategy draws nothing.
    """
    from hypothesis import HealthCheck, Phase, errors, given, seed
    from hypothesis import settings as limits

    found: list[Any] = []

    def take(value: Any) -> None:
        if not any(type(value) is type(other) and value == other for other in found):
            found.append(value)

    few = limits(max_examples=30, phases=[Phase.generate], database=None, deadline=None, suppress_health_check=list(HealthCheck))
    try:
        draw: Any = few(seed(0)(given(strategy)(take)))  # type: ignore[no-untyped-call]  # of Hypothesis
        draw()
    except errors.HypothesisException as error:
        raise Misuse(f"Hypothesis: {' '.join(str(error).split())}") from error
    return sorted(found[:number], key=lambda value: (len(repr(value)), repr(value)))


def rules_as_actors(machine: type[RuleBasedStateMachine], actors: int | Sequence[str] = 2, rules: int = 5) -> Scenario:
    """Make a scenario of a state machine: each actor performs rules that Hypothesis draws, at the same time as the others.

    Its one parameter, `programs`, holds the rules that each actor performs, with their arguments. The strategy "hypothesis" draws it; given
    a value of it, the other strategies can explore every ordering. Initialize rules are performed in set-up. A rule is skipped if its
    precondition does not hold when its turn comes, or if it takes a value of a bundle that is empty then. Invariants are checked after
    every step, also in the middle of rules; `teardown` is called when all actors have ended.

    Args:
        actors: how many, or their names.
        rules: how many each of them performs at most.

    Raises:
        Misuse: the machine has no rules, or takes values from a bundle in another way than by naming it.
    """
    names = [chr(ord("a") + number) for number in range(actors)] if isinstance(actors, int) else list(actors)
    if not names or START in names:
        raise Misuse(f"rules_as_actors: actors={actors!r}: give their number, or their names; {START!r} is not allowed")
    known, first = _marked(machine, RULE_MARKER), _marked(machine, INITIALIZE_RULE_MARKER)
    if not known:
        raise Misuse(f"state machine {machine.__name__} has no rules: mark methods with @rule()")
    invariants = _marked(machine, INVARIANT_MARKER)
    call = st.one_of([_call(machine, name, rule) for name, rule in known.items()])
    programs: dict[str, st.SearchStrategy[Any]] = {name: st.lists(call, max_size=rules) for name in names}
    if first:
        programs[START] = st.tuples(*(_call(machine, name, rule) for name, rule in first.items())).flatmap(st.permutations)

    def run(world: World, programs: Mapping[str, Sequence[Call]]) -> None:
        performer = _Performer(machine())
        for actor, program in programs.items():
            _check_program(machine, names, actor, program, first if actor == START else known)
        for name, arguments in programs.get(START, ()):
            performer.perform(first[name], arguments)

        def perform(program: Sequence[Call]) -> None:
            for name, arguments in program:
                world.step(f"{name}({', '.join(f'{key}={value!r}' for key, value in arguments.items())})", writes=("the turn",))
                performer.perform(known[name], arguments)

        for name in names:
            world.actor(name, perform, programs.get(name, ()))
        for invariant in invariants.values():
            world.always(_check(invariant, performer.state))
        world.at_end(performer.tear_down)

    scenario = Scenario(run, {"programs": [st.fixed_dictionaries(programs)]})
    scenario.name = scenario.address = scenario.__name__ = machine.__name__
    scenario.__doc__, scenario.__module__ = machine.__doc__, machine.__module__
    return scenario


class _Performer:
    """A machine and the values of its bundles."""

    def __init__(self, state: RuleBasedStateMachine) -> None:
        self.state = state
        self._bundles: dict[str, list[Any]] = {}

    def tear_down(self) -> None:
        """Call the machine's `teardown`, which may return what it likes."""
        self.state.teardown()

    def perform(self, rule: Any, arguments: Mapping[str, Any]) -> None:
        """Call a rule, unless it has to be skipped now."""
        if not all(holds(self.state) for holds in rule.preconditions):
            return
        bundles = {name: strategy for name, strategy in rule.arguments.items() if isinstance(strategy, Bundle)}
        if not all(self._bundles.get(bundle.name) for bundle in bundles.values()):
            return
        given = {name: self._taken(bundles[name], value) if name in bundles else value for name, value in arguments.items()}
        result = rule.function(self.state, **given)
        results = list(result) if isinstance(result, MultipleResults) else [result]
        for target in rule.targets:
            self._bundles.setdefault(target, []).extend(results)

    def _taken(self, bundle: Bundle[Any], number: int) -> Any:
        values = self._bundles[bundle.name]
        position = len(values) - 1 - number % len(values)
        consumed = getattr(bundle, "consume", type(bundle) is not Bundle)  # once a subclass, now an attribute
        return values.pop(position) if consumed else values[position]


def _marked(machine: type[RuleBasedStateMachine], marker: str) -> dict[str, Any]:
    """Return the machine's rules or invariants, by name."""
    members = inspect.getmembers(machine)
    return {name: mark for name, member in members if (mark := getattr(member, marker, None)) is not None}


def _call(machine: type[RuleBasedStateMachine], name: str, rule: Any) -> st.SearchStrategy[Call]:
    """Draw the arguments of a rule; for a value of a bundle, its position."""
    arguments = {}
    for key, strategy in rule.arguments.items():
        if isinstance(strategy, Bundle) and bool(getattr(strategy, "_transformations", False)):
            raise Misuse(
                f"{machine.__name__}.{name}: {key} maps or filters a bundle, which is empty when arguments are drawn: do it in the rule"
            )
        arguments[key] = st.integers(0, NEWEST - 1) if isinstance(strategy, Bundle) else strategy
    return st.tuples(st.just(name), st.fixed_dictionaries(arguments))


def _check_program(machine: type[Any], actors: Sequence[str], actor: str, program: Sequence[Call], rules: Mapping[str, Any]) -> None:
    """Refuse a program that the machine cannot perform."""
    if actor != START and actor not in actors:
        raise Misuse(f"state machine {machine.__name__} has no actor {actor!r}; it has: {', '.join(actors)}")
    for name, arguments in program:
        if name not in rules:
            raise Misuse(f"state machine {machine.__name__} has no rule {name!r}; it has: {', '.join(rules)}")
        takes = rules[name].arguments
        if set(arguments) != set(takes):
            raise Misuse(f"{machine.__name__}.{name} takes {', '.join(takes) or 'nothing'}; the program gives {arguments!r}")


def _check(invariant: Any, state: RuleBasedStateMachine) -> Any:
    @wraps(invariant.function)
    def check() -> Any:
        return invariant.function(state) if all(holds(state) for holds in invariant.preconditions) else None

    return check
