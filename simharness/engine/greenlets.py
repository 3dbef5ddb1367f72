"""The greenlets in which actors run: how an actor begins, ends and dies. They are pooled, as making one costs more than a step."""

from __future__ import annotations

import contextvars
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, NoReturn

from greenlet import GreenletExit, getcurrent, greenlet

from simharness.engine.actors import Actor, ended
from simharness.engine.lifetimes import Leaving
from simharness.engine.phases import SETUP
from simharness.errors import SimharnessError, Stuck, root_cause

if TYPE_CHECKING:
    from simharness.engine.kernel import Kernel  # a part of the kernel, whose loop continues when an actor ends; a circle of types only

MAX_KILLS = 20
"""How often an actor may catch the exception that ends it before its greenlet is set aside."""


class Greenlets:
    """The greenlets of a kernel's actors, and the *hub*: the greenlet that called `Kernel.run`, to which they return."""

    def __init__(self, kernel: Kernel) -> None:
        self.hub = getcurrent()
        self._kernel = kernel
        self._leaving = Leaving(kernel)
        self._pool: list[greenlet] = []
        self._set_aside: list[greenlet] = []

    def launch(self, actor: Actor) -> None:
        """Run an actor up to its first scheduling point."""
        kernel = self._kernel
        body = self._pool.pop() if self._pool else greenlet(self._work, self.hub)
        body.gr_context = contextvars.Context()
        actor.greenlet = body
        actor.starter = getcurrent()
        before, kernel.actor = kernel.actor, actor
        if kernel.polled:
            kernel.polling.pause(before)
        exchange = kernel.movers.exchange
        entered = "" if exchange is None else exchange(actor.process)
        body.switch()
        kernel.actor = before
        if exchange is not None:
            exchange(entered)

    def _work(self) -> None:
        """The body of a pooled greenlet; while it waits in the pool it keeps nothing of an execution alive."""
        while True:
            self._act().switch()

    def _act(self) -> greenlet:
        """Do the work of the current actor; return the greenlet that runs next."""
        kernel = self._kernel
        actor = kernel.actor
        assert actor is not None
        if kernel.polled:
            kernel.polling.started(actor)
        try:
            actor.work()
        except GreenletExit:
            pass
        except BaseException as raised:
            if _is_success(raised) and (kernel.plain or kernel.phase != SETUP):
                return self._end(actor)
            error = root_cause(raised)
            fatal = isinstance(error, SimharnessError | Stuck | KeyboardInterrupt)
            if not fatal and kernel.root_may_move():
                kernel.move_root()
            if fatal or kernel.phase == SETUP:
                kernel.give_up(error)
            elif not kernel.dying:
                actor.failure = error
                kernel.fail(error, actor=actor.name)
            del error  # its traceback holds this frame
        return self._end(actor)

    def _end(self, actor: Actor) -> greenlet:
        self._leaving.leave(actor)
        if self._kernel.polled:
            self._kernel.polling.ended(actor)
        after = self._after(actor)
        body = actor.greenlet
        assert body is not None
        self._pool.append(body)
        actor.greenlet, actor.starter = None, body
        return after

    def _after(self, actor: Actor) -> greenlet:
        """End the actor; return the greenlet that runs next."""
        kernel = self._kernel
        actor.work = ended
        if kernel.dying or kernel.error is not None:
            return self.hub
        if kernel.phase == SETUP:
            return actor.starter
        kernel.end(actor)
        if actor.fresh:
            return actor.starter
        key = kernel.loop.next_choice()
        return self.hub if key < 0 else kernel.loop.mover(key)

    def die(self, actor: Actor | None) -> NoReturn:
        """End the running actor, which declares a step in a dying execution; set it aside if it keeps catching the exception."""
        if actor is not None:
            actor.kills += 1
            if actor.kills > MAX_KILLS:
                assert actor.greenlet is not None
                self._set_aside.append(actor.greenlet)
                self.hub.switch()
        raise GreenletExit

    def kill(self, actors: Iterable[Actor]) -> None:
        """End these actors where they are, all of them; what is raised in between (an interrupt) is raised at the end."""
        self.hub = getcurrent()
        raised: BaseException | None = None
        report = sys.unraisablehook
        # What is raised in the `finally` of a generator cannot reach a caller.
        sys.unraisablehook = quiet = lambda what: None if what.exc_type is GreenletExit else report(what)
        try:
            for actor in actors:
                body = actor.greenlet
                if actor.host is actor and body is not None and not body.dead and body not in self._pool:
                    self._kernel.actor = actor
                    try:
                        body.throw(GreenletExit)
                    except BaseException as error:
                        raised = error
        finally:
            if sys.unraisablehook is quiet:
                sys.unraisablehook = report
        if raised is not None:
            raise raised

    def close(self) -> None:
        """Release the pooled greenlets, which the garbage collector cannot reach, and the kernel, which refers back."""
        while self._pool:
            self._pool.pop().throw()
        del self._kernel, self._leaving, self.hub


def _is_success(error: BaseException) -> bool:
    """Whether this is what `sys.exit()` raises for a program that has succeeded; any other status is the program's failure."""
    if not isinstance(error, SystemExit):
        return False
    status = error.code
    return status is None or (issubclass(type(status), int) and int(status) == 0)
