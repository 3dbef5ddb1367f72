"""Anomalies have the names that the literature gives them, in memory and on SQLite; cycles are those that trying every cycle finds."""

import itertools
import random

import pytest

import simharness.check
from simharness import Settings
from simharness.check.anomalies import CLASSES, Access, find


def accesses(text):
    """Return accesses such as "r1(x) w2(x)"."""
    return [Access(int(each[1]), each[3:-1], each[0] == "w") for each in text.split()]


HISTORIES = {
    "r1(x) r2(x) w1(x) w2(x)": ("lost update", "G-single"),
    "r1(x) w2(x) w1(x)": ("lost update", "G-single"),
    "w1(x) w2(x) w2(y) w1(y)": ("dirty write", "G0"),
    "w1(x) r2(x) w1(x)": ("dirty read", "G-single"),
    "w1(x) r2(x) w2(y) r1(y)": ("dirty read", "G1"),
    "r1(x) w2(x) r1(x)": ("fuzzy read", "G-single"),
    "r1(x) w2(x) w2(y) r1(y)": ("read skew", "G-single"),
    "w1(x) r2(x) r2(y) w1(y)": ("read skew", "G-single"),
    "r1(x) r1(y) r2(x) r2(y) w1(x) w2(y)": ("write skew", "G2"),
    "r1(x) w2(x) r2(y) w3(y) r3(z) w1(z)": ("write skew", "G2"),
    "r1(x) w2(x) r2(y) w3(y) w3(z) r1(z)": ("write skew", "G2"),
    "r1(x) r2(x) w2(y)": None,
    "r1(x) w1(x) r2(x) w2(x)": None,
    "w1(x) w2(x) r3(x)": None,
}


@pytest.mark.parametrize("text", HISTORIES)
def test_a_history_has_the_name_that_the_literature_gives_it(text):
    found = find(accesses(text))
    assert (found and (found.name, found.adya)) == HISTORIES[text]


def test_the_story_of_a_lost_update_says_who_read_and_wrote_what_and_its_cycle():
    assert (
        str(find(accesses("r1(x) r2(x) w1(x) w2(x)")))
        == "lost update (G-single): 1 and 2 both read x, then both wrote it: 1 -rw-> 2 -rw-> 1"
    )


def test_a_row_that_comes_after_a_look_at_the_table_is_a_phantom():
    look, insert = Access(1, "t", False), Access(2, "t[1]", True, "t", True)
    assert find([look, insert, look]).name == "phantom"
    assert find([look, insert._replace(whole=False), look]).name == "fuzzy read"
    assert find([look, Access(2, "t", False), insert, Access(1, "t[2]", True, "t", True)]).name == "phantom"


def by_trying(history):
    """The lowest class of a cycle among all simple cycles of the dependencies."""
    kinds = {}
    for (_, one), (_, other) in itertools.combinations(enumerate(history), 2):
        if one.by != other.by and one.item == other.item and (one.writes or other.writes):
            kinds.setdefault((one.by, other.by), set()).add("rw"[one.writes] + "rw"[other.writes])
    names = sorted({access.by for access in history})
    classes = set()
    for size in range(2, len(names) + 1):
        for order in itertools.permutations(names, size):
            steps = [kinds.get(pair, set()) for pair in zip(order, (*order[1:], order[0]), strict=True)]
            for chosen in itertools.product(*steps):
                anti = chosen.count("rw")
                classes.add("G2" if anti > 1 else "G-single" if anti else "G1" if "wr" in chosen else "G0")
    return next((each for each in CLASSES if each in classes), None)


def serial(history):
    """Whether some order of the transactions keeps all conflicting accesses in their order."""
    names = sorted({access.by for access in history})
    for order in itertools.permutations(names):
        rank = {name: at for at, name in enumerate(order)}
        if all(
            rank[one.by] <= rank[other.by]
            for one, other in itertools.combinations(history, 2)
            if one.item == other.item and (one.writes or other.writes)
        ):
            return True
    return False


def test_random_histories_have_the_class_that_trying_every_cycle_finds():
    classes = dict.fromkeys([*CLASSES, None], 0)
    for number in range(3_000):
        draw = random.Random(number)
        size = draw.randint(2, 4)
        history = [Access(draw.randrange(size), draw.choice("xyz"), draw.random() < 0.5) for _ in range(draw.randint(2, 9))]
        found = find(history)
        adya = found and found.adya
        assert adya == by_trying(history), (number, history, found)
        assert (found is None) == serial(history), (number, history)
        if found is not None:
            assert_is_a_cycle(found, history)
        classes[adya] += 1
    assert min(classes.values()) > 20, classes


def assert_is_a_cycle(found, history):
    for edge, following in zip(found.cycle, (*found.cycle[1:], found.cycle[0]), strict=True):
        first, second = history[edge.first], history[edge.second]
        assert edge.first < edge.second
        assert (first.by, second.by) == (edge.one, edge.other)
        assert first.item == second.item == edge.item
        assert edge.how == "rw"[first.writes] + "rw"[second.writes]
        assert edge.other == following.one


# Planted in memory


class Account:
    def __init__(self):
        self.money = self.more = 0

    def add(self):
        self.money += 1

    def put(self, value: int):
        self.money = value
        self.more = value

    def twice(self):
        return self.money, self.money

    def both(self):
        return self.money, self.more

    def briefly(self):
        self.money = 5
        self.money = 0

    def take_left(self):
        if self.more == 0:
            self.money = 1

    def take_right(self):
        if self.money == 0:
            self.more = 1


MEMORY = [
    (("add()",), ("add()",), "lost update (G-single): a and b both read Account.money, then both wrote it: a -rw-> b -rw-> a"),
    (("put(1)",), ("put(2)",), "dirty write (G0)"),
    (("put(1)",), ("twice()",), "fuzzy read (G-single)"),
    (("put(1)",), ("both()",), "read skew (G-single)"),
    (("briefly()",), ("twice()",), "dirty read (G-single)"),
    (("take_left()",), ("take_right()",), "write skew (G2)"),
]


def failing(cls, *operations):
    found = simharness.check.run(cls, operations, Settings(confirm=False), threads=2, calls=1, max_seconds=100_000)
    return [failure.anomaly for failure in found.failures if len(set(failure.program.actors)) == len(set(operations))]


@pytest.mark.parametrize(("one", "other", "said"), MEMORY)
def test_an_anomaly_planted_in_memory_is_named(one, other, said):
    (found,) = failing(Account, *dict.fromkeys((*one, *other)))
    assert found.startswith(said), found


# Planted on SQLite

DATABASE = '''
import sqlite3

class Bank:
    def __init__(self, path):
        self.path = path
        with self.opened() as db:
            db.execute("CREATE TABLE accounts (name TEXT PRIMARY KEY, money INTEGER)")
            db.execute("INSERT INTO accounts VALUES ('x', 1), ('y', 1)")
            db.execute("CREATE TABLE savings (name TEXT PRIMARY KEY, money INTEGER)")
            db.execute("INSERT INTO savings VALUES ('x', 1)")

    def opened(self):
        return sqlite3.connect(self.path, isolation_level=None)

    def _one(self, db, sql, *values):
        return db.execute(sql, values).fetchone()[0]

    def pay(self):
        db = self.opened()
        money = self._one(db, "SELECT money FROM accounts WHERE name = 'x'")
        db.execute("UPDATE accounts SET money = ? WHERE name = 'x'", (money + 1,))

    def pay_late(self):
        db = self.opened()
        money = self._one(db, "SELECT money FROM accounts WHERE name = 'x'")
        db.execute("BEGIN IMMEDIATE")
        db.execute("UPDATE accounts SET money = ? WHERE name = 'x'", (money + 1,))
        db.execute("COMMIT")

    def pay_at_once(self):
        self.opened().execute("UPDATE accounts SET money = money + 1 WHERE name = 'x'")

    def look_twice(self):
        db = self.opened()
        sql = "SELECT money FROM accounts WHERE name = 'x'"
        return self._one(db, sql), self._one(db, sql)

    def look_both(self):
        db = self.opened()
        return tuple(self._one(db, f"SELECT money FROM {table} WHERE name = 'x'") for table in ("accounts", "savings"))

    def move(self):
        db = self.opened()
        db.execute("UPDATE accounts SET money = money - 1 WHERE name = 'x'")
        db.execute("UPDATE savings SET money = money + 1 WHERE name = 'x'")

    def leave(self, name):
        db = self.opened()
        if self._one(db, "SELECT sum(money) FROM accounts") > 1:
            db.execute("UPDATE accounts SET money = 0 WHERE name = ?", (name,))

    def open_third(self):
        self.opened().execute("INSERT INTO accounts VALUES ('z', 1)")

    def count_twice(self):
        db = self.opened()
        return self._one(db, "SELECT count(*) FROM accounts"), self._one(db, "SELECT count(*) FROM accounts")


class Safe(Bank):
    """The same in transactions."""


def _in_a_transaction(name):
    def method(self, *arguments):
        db = self.opened()
        db.execute("BEGIN IMMEDIATE")
        try:
            return getattr(Held(db), name)(*arguments)
        finally:
            db.execute("COMMIT")

    return method


class Held(Bank):
    def __init__(self, db):
        self.db = db

    def opened(self):
        return self.db


for _name in ("pay", "look_twice", "look_both", "move", "leave", "open_third", "count_twice"):
    setattr(Safe, _name, _in_a_transaction(_name))
'''
ON_SQLITE = [
    (("pay()",), "lost update (G-single): a and b both read accounts[x], then both wrote it: "),
    (("pay_late()",), "lost update (G-single): a and b both read accounts[x], then both wrote it: "),
    (("pay_at_once()", "look_twice()"), "fuzzy read (G-single)"),
    (("move()", "look_both()"), "read skew (G-single)"),
    (("leave('x')", "leave('y')"), "write skew (G2): "),
    (("open_third()", "count_twice()"), "phantom (G-single)"),
]


@pytest.mark.parametrize(("operations", "said"), ON_SQLITE)
def test_an_anomaly_planted_on_sqlite_is_named_and_its_twin_in_a_transaction_spared(tmp_path, operations, said):
    file = tmp_path / "bank.py"
    file.write_text(DATABASE)
    found = failing(f"{file}:Bank(path())", *operations)
    assert found
    assert all(one.startswith(said) for one in found), found
    assert not failing(f"{file}:Safe(path())", *([each for each in operations if each not in ("pay_at_once()", "pay_late()")] or ["pay()"]))
