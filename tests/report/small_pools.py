"""Small scenarios with pools, whose counterexamples are golden timelines."""

import concurrent.futures
from concurrent.futures import ThreadPoolExecutor


def tasks_of_a_pool(world):
    visits = world.shared(0, "visits")

    def count():
        visits.set(visits.get() + 1)

    def serve():
        with ThreadPoolExecutor(2, thread_name_prefix="site") as pool:
            futures = [pool.submit(count) for _ in range(3)]
            for future in concurrent.futures.as_completed(futures):
                future.result()
        assert visits.get() == 3

    world.actor("main", serve)


def a_pool_that_is_too_small():
    with ThreadPoolExecutor(1) as pool:

        def page():
            return pool.submit(dict).result()

        assert pool.submit(page).result() == {}
