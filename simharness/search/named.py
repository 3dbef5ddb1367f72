"""The strategies by name, and within a bound."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import TYPE_CHECKING

from simharness.errors import Misuse
from simharness.search.auto import Auto
from simharness.search.bounded import Bounded
from simharness.search.bounds import Bound, Within
from simharness.search.dpor import Dpor
from simharness.search.drawn import Drawn
from simharness.search.exhaustive import Exhaustive
from simharness.search.pct import Pct
from simharness.search.pos import Pos
from simharness.search.random_walk import RandomWalk
from simharness.search.surw import Surw

if TYPE_CHECKING:
    from simharness.engine.kernel import Kernel
    from simharness.search.strategy import Strategy
    from simharness.settings import Settings

STRATEGIES: dict[str, Callable[[Kernel, Settings], Strategy]] = {
    "auto": lambda kernel, settings: Auto(kernel, settings.seed),
    "dpor": lambda kernel, settings: Dpor(kernel),
    "exhaustive": lambda kernel, settings: Exhaustive(kernel),
    "random": lambda kernel, settings: RandomWalk(kernel, settings.seed),
    "pct": lambda kernel, settings: Pct(kernel, settings.seed, settings.depth),
    "pos": lambda kernel, settings: Pos(kernel, settings.seed),
    "surw": lambda kernel, settings: Surw(kernel, settings.seed),
    "hypothesis": lambda kernel, settings: Drawn(kernel, settings.seed),
}
DEFAULT = "auto"
REDUCED = ("auto", "dpor")
"""The strategies of whose executions each that counts is another ordering."""
BOUNDED = (*REDUCED, "exhaustive")
"""The strategies that take a bound on preemptions or delays."""
DEEPEST = 1_000
"""The largest depth."""


def check(name: str, settings: Settings) -> None:
    """Check a strategy's name and the settings for it.

    Raises:
        Misuse: no such strategy, or settings that make no sense with it.
    """
    if not isinstance(name, str) or name not in STRATEGIES:
        raise Misuse(f"no strategy {name!r}; there are: {', '.join(STRATEGIES)}")
    if name == "hypothesis" and importlib.util.find_spec("hypothesis") is None:
        raise Misuse("strategy 'hypothesis' needs the package of that name: python -m pip install hypothesis")
    if name == "hypothesis" and settings.isolation == "fork":
        raise Misuse("isolation='fork' with strategy 'hypothesis': Hypothesis draws in this process; leave one of them out")
    given = {kind: most for kind in ("preemptions", "delays") if (most := getattr(settings, kind)) is not None}
    if len(given) == 2:
        raise Misuse("preemptions and delays cannot be combined: pass only one of them")
    for kind, most in given.items():
        if most < 0:
            raise Misuse(f"{kind}={most}: must be at least 0")
        if name not in BOUNDED:
            use = f"a sampler takes no bound (pct preempts depth - 1 times); use {', '.join(BOUNDED[:-1])} or {BOUNDED[-1]}"
            raise Misuse(f"{kind}={most} with {name}: {use}")
    if settings.proof is not None:
        if given:
            raise Misuse(f"proof={settings.proof!r} and {next(iter(given))} cannot be combined: pass only one of them")
        if name not in REDUCED:
            raise Misuse(f"proof={settings.proof!r} with {name}: it takes a search that ends; use {' or '.join(REDUCED)}")
    _check_kept(name, settings)
    if settings.depth < 1:
        raise Misuse(f"depth={settings.depth}: must be at least 1")
    if settings.depth > DEEPEST:
        raise Misuse(f"depth={settings.depth}: must be at most {DEEPEST:,}; bugs have a depth of 1 to 4")


def _check_kept(strategy: str, settings: Settings) -> None:
    """Check that where exploring stands can be kept.

    Raises:
        Misuse: not with these settings.
    """
    if settings.cluster is not None and importlib.util.find_spec("distributed") is None:
        raise Misuse(f"cluster={settings.cluster!r} needs the package distributed: python -m pip install 'simharness[cluster]'")
    asked = next(
        (f"{name}={value!r}" for name in ("checkpoint", "resume", "shard") if (value := getattr(settings, name)) is not None), None
    )
    if asked is None:
        return
    if strategy not in REDUCED:
        raise Misuse(f"{asked} with {strategy}: only the reduction can be kept; use {' or '.join(REDUCED)}")
    for name in ("preemptions", "delays", "proof"):
        if (value := getattr(settings, name)) is not None:
            raise Misuse(f"{asked} and {name}={value!r} cannot be combined: within a bound exploring cannot be kept")
    if settings.isolation == "fork":
        raise Misuse(f"{asked} and isolation='fork' cannot be combined: pass only one of them")


def made(name: str, kernel: Kernel, settings: Settings) -> Strategy:
    """Return a new strategy for one round of executions.

    A bound is a wrapper, except for the reduction, which does not combine with bounds: a search made for bounds replaces it.
    """
    bound = None
    if settings.preemptions is not None:
        bound = Bound("preemptions", settings.preemptions)
    elif settings.delays is not None:
        bound = Bound("delays", settings.delays)
    if bound is not None and name in REDUCED:
        return Bounded(kernel, bound)
    strategy = STRATEGIES[name](kernel, settings)
    return strategy if bound is None else Within(strategy, kernel, bound)
