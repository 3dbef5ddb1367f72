"""What a stranger may send: texts that terminals, browsers, compilers and databases obey, and ways to damage a valid input at random."""

import contextlib
import gzip
import random
import signal
import sqlite3

SEAT = "2026-11-22 22:34:03,{number:03} INFO shop: seat taken by {who}\n"
NASTY = {
    "escape": "\x1b[31m\x1b[2J",
    "operating system command": "\x1b]0;PWNED\x07",
    "control of the second set": "\x9b31m",
    "null": "\0",
    "backspace": "ok\b\bno",
    "carriage return": "passed\rfailed",
    "line break": "a\n::error::b",
    "right to left": "\u202egpj.exe\u202c",
    "isolate": "\u2066x\u2069",
    "nothing to see": "\u200b\ufeff\u2060\U000e0041\u115f\u3164\u2800",
    "line separator": "a\u2028b\u2029c",
    "lone surrogates": "\udc80\ud800",
    "markup of rich": "[red]x[/red][link=http://evil]y[/link]",
    "markup of a page": "</script><script>alert(1)</script><img src=x onerror=alert(1)>",
    "quotes": "'''\"\"\"`$(touch pwned)`",
    "end of a text": '"""\nimport os; os.system(\'touch pwned\')\n"""',
    "a format": "{0.__class__}%s%(x)s{name!r:>{width}}",
    "backslashes": "\\N{BULLET}\\x1b\\",
    "table in Markdown": "|a|b|\n|-|-|",
    "end of CDATA": "]]>]]>",
}
"""Texts by what is wrong with them."""


def is_visible(text):
    """Whether nothing in a text that is printed can be obeyed or hidden; its lines may end."""
    return all(line.isprintable() for line in text.split("\n"))


@contextlib.contextmanager
def at_most(seconds):
    """A guard: what hangs in this block ends the test instead."""

    def late(number, frame):
        raise AssertionError(f"not done after {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


PIECES = (
    *(text.encode(errors="surrogatepass") for text in NASTY.values()),
    b"9" * 5_000,
    b" " * 5_000,
    b"[" * 3_000,
    b"{" * 300,
    b"2026-11-22 22:34:03,001 INFO shop: ",
    b"+99:99",
    b"\xff\xfe",
    b"\x1f\x8b",
    b"%%%(%20:=,.!-_",
    "²٣".encode(),
)


def damaged(data, seed):
    """Return the bytes with a few random changes: flipped, cut, doubled, moved, or with something nasty put in."""
    draw = random.Random(seed)
    made = bytearray(data)
    for _ in range(draw.randint(1, 4)):
        at = draw.randrange(len(made) + 1)
        until = min(len(made), at + draw.choice([1, 1, 4, 50, 1_000]))
        change = draw.randrange(7)
        if change == 0 and made:
            made[min(at, len(made) - 1)] = draw.randrange(256)
        elif change == 1:
            del made[at:until]
        elif change == 2:
            made[at:at] = made[at:until] * draw.choice([1, 2, 50])
        elif change == 3:
            made[at:at] = draw.choice(PIECES)
        elif change == 4:
            made[at:until] = draw.choice(PIECES)
        elif change == 5:
            made[at:until] = bytes(draw.randrange(256) for _ in range(until - at))
        else:
            del made[at:]
    return bytes(made)


LOGS = (
    "".join(SEAT.format(number=number, who=who) for number, who in enumerate(("alice", "bob", "alice", "carol"))).encode(),
    b'{"ts": 1763850843.5, "name": "shop", "msg": "seat taken by alice", "pid": 12}\n{"ts": 1763850844, "name": "shop", "msg": "x"}\n',
    gzip.compress(SEAT.format(number=1, who="alice").encode() * 20),
    SEAT.format(number=1, who="alice").encode("utf-16"),
)


def a_database(path, script="CREATE TABLE seats(who TEXT, n INTEGER); INSERT INTO seats VALUES ('alice', 1), ('bob', 0);"):
    """Make a database."""
    connection = sqlite3.connect(path)
    connection.executescript(script)
    connection.close()
    return path


SHOP = """
import logging
import sqlite3
import simharness
from simharness.incident import Log, Rows, Template

LOG = Log(
    [Template("taken", "shop", "seat taken by {who}"), Template("sold out", "shop", "{who} finds no seat")],
    ids={"who": "person"},
    session="person",
    rows=[Rows("seats", "SELECT who, n FROM seats", ids={"who": "person"})],
)


@simharness.scenario(log=LOG)
def tickets(world):
    seats = world.shared(1, "seats")
    database = sqlite3.connect(world.path("state.db"), isolation_level=None)
    database.execute("CREATE TABLE seats(who TEXT, n INTEGER)")

    def book(who):
        if seats.get():
            seats.add(-1)
            logging.getLogger("shop").info("seat taken by %s", who)
        else:
            logging.getLogger("shop").info("%s finds no seat", who)

    world.actor("alice", book, "alice")
    world.actor("bob", book, "bob")

    @world.at_end
    def never_overbooked():
        assert seats.get() >= 0
"""
