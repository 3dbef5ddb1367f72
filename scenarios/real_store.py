"""Pairs of operations of the real store: `SessionDB` of a release of `hermes-agent`, run by `make hermes`.

Two actors each call a public method on one session: two threads that share a store, or two processes with a store each. What the two
return, and the rows afterwards, have to be those of one of the two serial orders, which are computed in set-up. Times are left out. Methods
are found by their signatures: those that take a session id and otherwise only what `GIVEN` has.

A method is *whole* if, when it is called alone, all that it does is one transaction, or one statement, under the store's lock. Two such
methods are in a serial order by construction, and two that write nothing are, too: those are not paired.
"""

import inspect
import itertools
import os
import tempfile
from pathlib import Path

import simharness

if os.environ.get("HERMES_HOME"):
    import hermes_state

    if hasattr(hermes_state, "__path__"):
        raise simharness.Misuse("the package hermes_state of this checkout hides the real one: explore from another folder")
    from hermes_state import SessionDB

    scenario = simharness.scenario
else:  # there is no release here: nothing is a scenario

    def scenario(**_):
        return lambda function: function


SESSION, OTHER = "20260527_234659_e65f0e", "20260528_113619_fc80e1"
HISTORY = (("user", "please finish the migration"), ("assistant", "working on it"), ("user", "run the build too"))
GIVEN = {
    "session_id": lambda who: SESSION,
    "session_id_or_prefix": lambda who: SESSION,
    "session_ids": lambda who: [SESSION],
    "source": lambda who: "cli",
    "end_reason": lambda who: f"ended by {who}",
    "holder": lambda who: f"holder {who}",
    "title": lambda who: f"title of {who}",
    "base_title": lambda who: "title",
    "role": lambda who: "user",
    "content": lambda who: HISTORY[2][1],
    "api_content": lambda who: f"api content of {who}",
    "messages": lambda who: [{"role": "user", "content": f"replaced by {who}"}],
    "compacted_messages": lambda who: [{"role": "user", "content": f"summary by {who}"}],
    "system_prompt": lambda who: f"prompt of {who}",
    "model": lambda who: f"model of {who}",
    "streak": len,
    "archived": lambda who: True,
    "cwd": lambda who: f"/home/{who}",
    "platform": lambda who: "discord",
    "error": lambda who: f"error of {who}",
    "target_message_id": lambda who: 1,
    "since_message_id": lambda who: 1,
    "around_message_id": lambda who: 2,
    "query": lambda who: "migration",
    "platform_message_id": lambda who: f"m-{who}",
    "cooldown_until": lambda who: 2e9,
    "input_tokens": lambda who: 10,
}
TIMES = ("_at", "_seen", "_until", "timestamp", "last_active")
_BESIDES = {"close", "vacuum"}


def methods():
    """Yield the public methods that can be called on one session, and what they need."""
    for name, function in inspect.getmembers(SessionDB, inspect.isfunction):
        needed = [
            parameter.name
            for parameter in list(inspect.signature(function).parameters.values())[1:]
            if parameter.default is parameter.empty and parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        ]
        wanted = list(inspect.signature(function).parameters)
        one_session = any(about in wanted for about in ("session_id", "session_ids", "session_id_or_prefix"))
        if not name.startswith("_") and name not in _BESIDES and one_session and all(one in GIVEN for one in needed):
            optional = [one for one in ("session_id", "content", "input_tokens") if one in wanted and one not in needed and one in GIVEN]
            yield name, [*needed, *optional]


def call(db, name, who):
    """Call a method; return what it returns or raises, without times."""
    given = {parameter: GIVEN[parameter](who) for parameter in METHODS[name]}
    try:
        return plain(getattr(db, name)(**given))
    except (ValueError, KeyError, LookupError) as error:
        return f"{type(error).__name__}: {error}"


def plain(value):
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items() if not str(key).endswith(TIMES)}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return sorted(map(plain, value)) if isinstance(value, set) else value


def rows(db):
    """The rows of all tables but those of the full-text index, without times."""
    with db._lock:
        names = [name for (name,) in db._conn.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
        found = {}
        for name in names:
            if "fts" not in name and not name.startswith("sqlite_"):
                cursor = db._conn.execute(f'SELECT * FROM "{name}" ORDER BY rowid')
                columns = [column[0] for column in cursor.description]
                found[name] = [plain(dict(zip(columns, row, strict=True))) for row in cursor.fetchall()]
        return found


def opened(path):
    db = SessionDB(db_path=Path(path))
    db.create_session(OTHER, source="cli")
    db.create_session(SESSION, source="discord")
    for role, content in HISTORY:
        db.append_message(SESSION, role, content)
    return db


def serial(path, order):
    """What the operations return, and the rows, where one follows the other."""
    db = opened(path)
    returned = {who: call(db, name, who) for who, name in order}
    state = returned["first"], returned["second"], rows(db)
    db.close()
    return state


class Noticed:
    """The store's lock, which knows whether it is held."""

    def __init__(self, lock):
        self.lock, self.depth = lock, 0

    def __enter__(self):
        self.lock.acquire()
        self.depth += 1

    def __exit__(self, *_):
        self.depth -= 1
        self.lock.release()

    acquire, release = __enter__, __exit__


def is_whole(name, folder):
    """Whether a method is whole, and whether it writes."""
    db = opened(os.path.join(folder, f"{name}.db"))
    db._lock = lock = Noticed(db._lock)
    parts, unguarded, before = [], [], rows(db)

    def note(statement):
        verb = statement.split(None, 1)[0].upper() if statement.strip() else ""
        if verb == "BEGIN" or not (db._conn.in_transaction or verb in ("COMMIT", "ROLLBACK", "PRAGMA", "--")):
            parts.append(statement)
            if not lock.depth:
                unguarded.append(statement)

    db._conn.set_trace_callback(note)
    call(db, name, "first")
    db._conn.set_trace_callback(None)
    writes = rows(db) != before
    db.close()
    return len(parts) <= 1 and not unguarded, writes


def pairs():
    """Yield the pairs to explore."""
    with tempfile.TemporaryDirectory() as folder:
        known = {name: is_whole(name, folder) for name in METHODS}
    for first, second in itertools.combinations_with_replacement(METHODS, 2):
        (whole, writes), (other_whole, other_writes) = known[first], known[second]
        if not (whole and other_whole) and (writes or other_writes):
            yield f"{first}+{second}"


METHODS = dict(methods()) if os.environ.get("HERMES_HOME") else {}
PAIRS = list(pairs()) or ["none+none"]


@scenario(pair=PAIRS, where=["threads", "processes"], instrument="test", outside="down")
def pair(world, pair, where):
    """Two operations on one session: the result and the rows are those of a serial order."""
    first, _, second = pair.partition("+")
    operations = [("first", first), ("second", second)]
    path = world.path("state.db")
    others = [world.path(f"serial{number}.db") for number in range(2)]

    def build():
        allowed = [serial(other, order) for other, order in zip(others, (operations, operations[::-1]), strict=True)]
        db = opened(path)
        return allowed, db, db if where == "threads" else SessionDB(db_path=Path(path))

    allowed, *stores = world.template(build)
    returned = {}

    def act(db, who, name):
        returned[who] = call(db, name, who)

    for db, (who, name) in zip(stores, operations, strict=True):
        world.actor(who, act, db, who, name, process="main" if where == "threads" else who)

    @world.at_end
    def one_of_the_serial_orders():
        state = returned["first"], returned["second"], rows(stores[0])
        assert state in allowed, difference(state, allowed)


def difference(state, allowed):
    """Say in what a state differs from both serial orders."""
    for what, index in (("the first returns", 0), ("the second returns", 1), ("the rows are", 2)):
        if all(state[index] != other[index] for other in allowed):
            return f"{what} {' and not '.join(distinct(state[index], *(other[index] for other in allowed)))}"
    return "what the two return, and the rows, are of different serial orders"


def distinct(value, *others):
    """Return the parts of values that differ, in words."""
    if isinstance(value, dict) and all(isinstance(other, dict) for other in others):
        keys = [key for key in value if any(other.get(key) != value[key] for other in others)]
        if len(keys) == 1:
            return [f"{keys[0]}: {text}" for text in distinct(value[keys[0]], *(other.get(keys[0]) for other in others))]
        return [repr({key: one.get(key) for key in keys}) for one in (value, *others)]
    if isinstance(value, list) and all(isinstance(other, list) and len(other) == len(value) for other in others):
        return distinct(*({f"no. {number}": one for number, one in enumerate(each, 1)} for each in (value, *others)))
    return [repr(one) for one in (value, *others)]
