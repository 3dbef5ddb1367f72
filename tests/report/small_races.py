"""Small scenarios whose counterexamples are the golden timelines."""

import logging
import sqlite3
import threading

log = logging.getLogger("agent")


def lost_update(world):
    counter = world.shared(0, "counter")

    def bump():
        value = counter.get()
        counter.set(value + 1)

    world.actor("deposit", bump)
    world.actor("interest", bump)

    @world.at_end
    def both_counted():
        assert counter.get() == 2, f"the counter is {counter.get()}, not 2"


def order_of_writes(world):
    document, index = world.shared("draft", "document"), world.shared("draft", "index")
    world.actor("editor", document.set, "final")
    world.actor("indexer", index.set, "final")

    @world.always
    def index_is_never_ahead():
        assert not (index.get() == "final" and document.get() == "draft"), "the index shows what is not written yet"


def lease_expires(world):
    lease, children = world.shared(None, "lease"), world.shared(0, "children")
    world.show("lease", lease.get)
    world.show("children", children.get)

    def contender(name):
        if lease.compare_and_set(None, name):
            world.clock.sleep(0.25)
            lease.set(None)
            children.add(1)

    world.actor("main_turn", contender, "main_turn")
    world.actor("review_fork", contender, "review_fork")

    @world.at_end
    def one_child():
        assert children.get() <= 1, f"the session has {children.get()} children"


def two_locks(world):
    accounts, audit = threading.Lock(), threading.Lock()

    def transfer(first, second):
        with first, second:
            pass

    world.actor("payer", transfer, accounts, audit)
    world.actor("refunder", transfer, audit, accounts)


def rotation(world):
    path = world.path("state.db")
    setup = sqlite3.connect(path, isolation_level=None)
    setup.execute("PRAGMA journal_mode=WAL")
    setup.execute("CREATE TABLE sessions (id TEXT PRIMARY KEY, parent TEXT, ended_at REAL, reason TEXT)")
    setup.execute("INSERT INTO sessions VALUES ('PARENT', NULL, NULL, NULL)")
    setup.close()

    def rotate(name):
        connection = sqlite3.connect(path, isolation_level=None)
        (ended_at,) = connection.execute("SELECT ended_at FROM sessions WHERE id = 'PARENT'").fetchone()
        if ended_at is not None:
            log.info("%s steps back", name)
            return
        connection.execute("UPDATE sessions SET ended_at = 1.5, reason = 'compression' WHERE id = 'PARENT'")
        connection.execute("INSERT INTO sessions (id, parent) VALUES (?, 'PARENT')", (f"child of {name}",))
        log.info("%s has rotated", name)
        connection.close()

    world.actor("main_turn", rotate, "main_turn")
    world.actor("review_fork", rotate, "review_fork")

    @world.at_end
    def one_child():
        connection = sqlite3.connect(path)
        (count,) = connection.execute("SELECT count(*) FROM sessions WHERE parent = 'PARENT'").fetchone()
        connection.close()
        assert count <= 1, f"PARENT has {count} children"


def lapsed_lease(world):
    lease = world.shared((None, None), "lease")
    world.show("lease", lambda: lease.get()[0], until=lambda: lease.get()[1])

    def take(name):
        holder, until = lease.get()
        if holder is not None and until > world.clock.time():
            return
        lease.set((name, world.clock.time() + 1.0))
        world.clock.sleep(2.0)
        world.step("publish")
        world.outcome(name)

    def late(name):
        world.clock.sleep(1.5)
        take(name)

    world.actor("main_turn", take, "main_turn")
    world.actor("review_fork", late, "review_fork")

    @world.at_end
    def published_once():
        assert len(world.outcomes) <= 1, "both have published"
