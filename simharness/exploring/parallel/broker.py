"""Dask's client, in a process of its own: tasks come through its standard input, and answers go out through its standard output."""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

from distributed import Client, LocalCluster

from simharness.endings import end_with_parent
from simharness.exploring.parallel import remote
from simharness.exploring.parallel.frames import messages, send
from simharness.places import words_of

LOOK = 1.0
"""Seconds between two looks at how many workers there are."""
SECONDS = 30.0
"""Until a scheduler has answered."""


def main(address: str, workers: int, parent: int) -> None:
    """Pass tasks on until the input ends."""
    end_with_parent(parent)
    descriptor, answers = os.dup(0), os.dup(1)
    os.dup2(2, 1)
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    orders = messages(descriptor)
    opening = next(orders, None)
    if opening is None:
        return
    broker = Broker(answers, *pickle.loads(opening))
    cluster = None
    try:
        if address == "local":
            cluster = LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None, silence_logs=logging.CRITICAL)
        client = Client(cluster or address, timeout=SECONDS, set_as_default=False)
    except Exception as error:
        broker.say("error", f"no scheduler answers there: {' '.join(words_of(error).split())}")
        return
    broker.serve(client, orders)
    with contextlib.suppress(Exception):
        client.run(remote.end, broker.session)
        client.close()
    if cluster is not None:
        cluster.close()
    sys.exit(0)


class Broker:
    """Passes tasks of one exploration on."""

    def __init__(self, answers: int, session: str, opening: bytes) -> None:
        self.session = session
        self._answers = answers
        self._opening = opening
        self._lock = threading.Lock()
        self._known = 0

    def say(self, word: Any, content: Any) -> None:
        """Send an answer; nobody may be there to read it."""
        with self._lock, contextlib.suppress(OSError):
            send(self._answers, pickle.dumps((word, content)))

    def serve(self, client: Any, orders: Iterator[bytes]) -> None:
        """Submit what comes; a thread of its own looks for workers that come and go."""
        threading.Thread(target=self._watch, args=(client,), daemon=True).start()
        futures: dict[int, Any] = {}  # Dask forgets a task whose future is gone
        for order in orders:
            number, task = pickle.loads(order)
            if number < 0:
                self.say("settled", all(client.run(remote.settle, self.session).values()))
                continue
            future = futures[number] = client.submit(remote.do, self.session, self._opening, task, pure=False)
            future.add_done_callback(lambda future, number=number: self._answer(number, future))
            for done in [one for one, other in futures.items() if other.done() and one != number]:
                del futures[done]

    def _answer(self, number: int, future: Any) -> None:
        try:
            answer = future.result()
        except Exception:
            answer = None  # its workers did not survive it
        self.say(number, answer)

    def _watch(self, client: Any) -> None:
        while True:
            with contextlib.suppress(Exception):
                there = sum(client.nthreads().values())
                if there != self._known:
                    self._known = there
                    self.say("workers", there)
            time.sleep(LOOK)
