"""Programs that share files: planted bugs beside safe twins, each kind of call, buffers, locks, processes and crashes."""

import csv
import fcntl
import gc
import json
import logging
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time

import pytest

import simharness
from simharness.runtimes import control

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")
VERIFIED, VIOLATED = [], []
CRASH = {"faults": ["crash=1"]}


@pytest.fixture(scope="module", autouse=True)
def installed():
    with control.installed():
        yield


def safe(function):
    VERIFIED.append(simharness.scenario(instrument=(__name__,))(function))


def broken(function):
    VIOLATED.append(simharness.scenario(instrument=(__name__,))(function))


def safe_in_crashes(function):
    VERIFIED.append(simharness.scenario(instrument=(__name__,), **CRASH)(function))


def broken_by_crashes(function):
    VIOLATED.append(simharness.scenario(instrument=(__name__,), **CRASH)(function))


@broken
def pathlib_counter(world):
    p = pathlib.Path(world.path("n"))
    p.write_text("0")

    def bump():
        p.write_text(str(int(p.read_text() or 0) + 1))

    world.actor("a", bump)
    world.actor("b", bump)

    @world.at_end
    def two():
        assert p.read_text() == "2"


@safe
def pathlib_touch_exclusive(world):
    p = pathlib.Path(world.path("n"))
    got = []
    lock = threading.Lock()

    def f(n):
        try:
            p.touch(exist_ok=False)
        except FileExistsError:
            return
        with lock:
            got.append(n)

    world.actor("a", f, 1)
    world.actor("b", f, 2)

    @world.at_end
    def one():
        assert len(got) == 1


@broken
def json_dump(world):
    path = world.path("c.json")
    with open(path, "w") as f:
        json.dump({}, f)

    def up(k):
        with open(path) as f:
            d = json.load(f)
        d[k] = 1
        with open(path, "w") as f:
            json.dump(d, f)

    world.actor("a", up, "x")
    world.actor("b", up, "y")

    @world.at_end
    def both():
        with open(path) as f:
            assert json.load(f) == {"x": 1, "y": 1}


@safe
def append_two(world):
    path = world.path("log")

    def up(k):
        with open(path, "a") as f:
            f.write(k * 3 + "\n")

    world.actor("a", up, "x")
    world.actor("b", up, "y")

    @world.at_end
    def both():
        with open(path) as f:
            assert sorted(f.read().split()) == ["xxx", "yyy"]


@broken
def write_no_append(world):
    path = world.path("log")
    open(path, "w").close()

    def up(k):
        with open(path, "r+") as f:
            f.seek(0, 2)
            f.write(k * 3 + "\n")

    world.actor("a", up, "x")
    world.actor("b", up, "y")

    @world.at_end
    def both():
        with open(path) as f:
            assert sorted(f.read().split()) == ["xxx", "yyy"]


@broken
def temp_then_rename_same_tmp(world):
    path = world.path("f")

    def up(k):
        with open(path + ".tmp", "w") as f:
            f.write(k)
        os.replace(path + ".tmp", path)

    world.actor("a", up, "x")
    world.actor("b", up, "y")


@safe
def named_temp_rename(world):
    path = world.path("f")

    def up(k):
        fd, tmp = tempfile.mkstemp(dir=os.path.dirname(path))
        with os.fdopen(fd, "w") as f:
            f.write(k * 5)
        os.replace(tmp, path)

    world.actor("a", up, "x")
    world.actor("b", up, "y")

    @world.at_end
    def whole():
        with open(path) as f:
            assert f.read() in ("xxxxx", "yyyyy")


@safe
def mkdir_lock(world):
    d = world.path("lock.d")
    c = world.shared(0, "c")

    def f():
        try:
            os.mkdir(d)
        except FileExistsError:
            return
        c.add(1)
        c.add(-1)
        os.rmdir(d)

    world.actor("a", f)
    world.actor("b", f)

    @world.always
    def one():
        assert c.get() <= 1


@broken
def makedirs_race(world):
    d = world.path("x/y")

    def f():
        if not os.path.isdir(d):
            os.makedirs(d)

    world.actor("a", f)
    world.actor("b", f)


@safe
def makedirs_ok(world):
    d = world.path("x/y")

    def f():
        os.makedirs(d, exist_ok=True)

    world.actor("a", f)
    world.actor("b", f)


@broken
def list_then_open(world):
    d = world.path("q")
    os.mkdir(d)
    for n in "12":
        open(os.path.join(d, n), "w").close()

    def take():
        for n in os.listdir(d):
            os.unlink(os.path.join(d, n))

    world.actor("a", take)
    world.actor("b", take)


@safe
def claim_by_rename(world):
    d = world.path("q")
    os.mkdir(d)
    for n in "12":
        open(os.path.join(d, n), "w").close()
    got = world.shared((), "got")

    def take(me):
        for e in sorted(os.scandir(d), key=lambda e: e.name):
            try:
                os.rename(e.path, world.path(e.name + me))
            except FileNotFoundError:
                continue
            got.add((e.name,))

    world.actor("a", take, "a")
    world.actor("b", take, "b")

    @world.at_end
    def once():
        assert sorted(got.get()) == ["1", "2"]


@broken
def rmtree_vs_create(world):
    d = world.path("q")
    os.mkdir(d)
    open(os.path.join(d, "1"), "w").close()

    def rm():
        shutil.rmtree(d)

    def cr():
        open(os.path.join(d, "2"), "w").close()

    world.actor("a", rm)
    world.actor("b", cr)


@broken
def copy_torn(world):
    a, b = world.path("a"), world.path("b")
    with open(a, "w") as f:
        f.write("old")

    def w():
        with open(a, "w") as f:
            f.write("new")

    def c():
        shutil.copyfile(a, b)

    world.actor("w", w)
    world.actor("c", c)

    @world.at_end
    def whole():
        with open(b) as f:
            assert f.read() in ("old", "new")


@safe
def move_ok(world):
    a, b = world.path("a"), world.path("b")
    with open(a, "w") as f:
        f.write("old")

    def w():
        with open(a + "2", "w") as f:
            f.write("new")
        os.replace(a + "2", a)

    def c():
        shutil.copyfile(a, b)

    world.actor("w", w)
    world.actor("c", c)

    @world.at_end
    def whole():
        with open(b) as f:
            assert f.read() in ("old", "new")


@safe
def shared_file_object(world):
    f = open(world.path("o"), "w")  # noqa: SIM115  # several actors use it

    def w(k):
        f.write(k)
        f.flush()

    world.actor("a", w, "a\n")
    world.actor("b", w, "b\n")

    @world.at_end
    def both():
        f.close()
        with open(world.path("o")) as g:
            assert sorted(g.read().split()) == ["a", "b"]


@broken
def shared_print(world):
    f = open(world.path("o"), "w")  # noqa: SIM115  # several actors use it

    def w(k):
        print(k, file=f, flush=True)

    world.actor("a", w, "a")
    world.actor("b", w, "b")

    @world.at_end
    def both():
        f.close()
        with open(world.path("o")) as g:
            assert g.read() == "a\nb\n"


@broken
def shared_seek_read(world):
    with open(world.path("o"), "wb") as g:
        g.write(b"AB")
    f = open(world.path("o"), "rb")  # noqa: SIM115  # several actors use it

    def r(n, want):
        f.seek(n)
        assert f.read(1) == want

    world.actor("a", r, 0, b"A")
    world.actor("b", r, 1, b"B")


@safe
def logging_two(world):
    h = logging.FileHandler(world.path("l.log"))
    lg = logging.getLogger("x.y")
    lg.setLevel(20)
    lg.addHandler(h)
    lg.propagate = False

    def w(k):
        lg.info(k * 4)

    world.actor("a", w, "a")
    world.actor("b", w, "b")

    @world.at_end
    def both():
        lg.removeHandler(h)
        h.close()
        with open(world.path("l.log")) as g:
            assert sorted(g.read().split()) == ["aaaa", "bbbb"]


@broken
def logging_order(world):
    h = logging.FileHandler(world.path("l.log"), delay=True)
    lg = logging.getLogger("x.y")
    lg.setLevel(20)
    lg.addHandler(h)
    lg.propagate = False

    def w(k):
        lg.info(k * 4)

    world.actor("a", w, "a")
    world.actor("b", w, "b")

    @world.at_end
    def both():
        lg.removeHandler(h)
        h.close()
        with open(world.path("l.log")) as g:
            assert g.read().split() == ["aaaa", "bbbb"]


@safe
def csv_two(world):
    def w(k):
        with open(world.path("c.csv"), "a", newline="") as f:
            csv.writer(f).writerow([k, k])

    world.actor("a", w, "a")
    world.actor("b", w, "b")

    @world.at_end
    def both():
        with open(world.path("c.csv")) as g:
            assert sorted(g.read().split()) == ["a,a", "b,b"]


@broken
def cwd(world):
    os.mkdir(world.path("one"))
    os.mkdir(world.path("two"))

    def w(d):
        os.chdir(world.path(d))
        with open("f", "w") as f:
            f.write(d)

    world.actor("a", w, "one")
    world.actor("b", w, "two")

    @world.at_end
    def both():
        assert os.path.exists(world.path("one/f"))
        assert os.path.exists(world.path("two/f"))


@broken
def umasks(world):
    def w():
        old = os.umask(0o077)
        try:
            os.close(os.open(world.path("secret"), os.O_CREAT | os.O_WRONLY, 0o666))
        finally:
            os.umask(old)

    def o():
        with open(world.path("pub"), "w"):
            pass

    world.actor("a", w)
    world.actor("b", o)

    @world.at_end
    def readable():
        assert os.stat(world.path("pub")).st_mode & 0o044


@broken
def env_check(world):
    os.environ.pop("SIMX", None)

    def w(k):
        os.environ.setdefault("SIMX", k)

    def r():
        if "SIMX" in os.environ:
            assert os.environ["SIMX"]

    def d():
        os.environ.pop("SIMX", None)

    world.actor("w", w, "1")
    world.actor("r", r)
    world.actor("d", d)


@safe
def flock_exclusive_counter(world):
    p = world.path("n")
    with open(p, "w") as f:
        f.write("0")

    def bump():
        with open(p, "r+") as f:
            fcntl.flock(f, fcntl.LOCK_EX)
            n = int(f.read())
            f.seek(0)
            f.write(str(n + 1))
            f.flush()

    world.actor("a", bump)
    world.actor("b", bump)

    @world.at_end
    def two():
        with open(p) as f:
            assert f.read() == "2"


@broken
def flock_close_after_unlock(world):
    p = world.path("n")
    with open(p, "w") as f:
        f.write("0")

    def bump():
        with open(p, "r+") as f:
            fcntl.flock(f, fcntl.LOCK_EX)
            n = int(f.read())
            f.seek(0)
            f.write(str(n + 1))
            fcntl.flock(f, fcntl.LOCK_UN)

    world.actor("a", bump)
    world.actor("b", bump)

    @world.at_end
    def two():
        with open(p) as f:
            assert f.read() == "2"


@broken
def lockf_threads(world):
    p = world.path("n")
    c = world.shared(0, "c")
    open(p, "w").close()

    def f():
        with open(p, "r+") as h:
            fcntl.lockf(h, fcntl.LOCK_EX)
            c.add(1)
            c.add(-1)

    world.actor("a", f)
    world.actor("b", f)

    @world.always
    def one():
        assert c.get() <= 1


@safe
def lockf_processes(world):
    p = world.path("n")
    c = world.shared(0, "c")
    open(p, "w").close()

    def f():
        with open(p, "r+") as h:
            fcntl.lockf(h, fcntl.LOCK_EX)
            c.add(1)
            c.add(-1)

    world.actor("a", f, process="p")
    world.actor("b", f, process="q")

    @world.always
    def one():
        assert c.get() <= 1


@broken
def lockf_lost_by_close(world):
    p = world.path("n")
    c = world.shared(0, "c")
    open(p, "w").close()

    def f():
        with open(p, "r+") as h:
            fcntl.lockf(h, fcntl.LOCK_EX)
            open(p).close()
            c.add(1)
            c.add(-1)

    world.actor("a", f, process="p")
    world.actor("b", f, process="q")

    @world.always
    def one():
        assert c.get() <= 1


@broken
def flock_deadlock(world):
    p, q = world.path("p"), world.path("q")
    open(p, "w").close()
    open(q, "w").close()

    def f(x, y):
        with open(x) as a, open(y) as b:
            fcntl.flock(a, fcntl.LOCK_EX)
            fcntl.flock(b, fcntl.LOCK_EX)

    world.actor("a", f, p, q)
    world.actor("b", f, q, p)


@broken
def flock_unlink(world):
    p = world.path("l")
    c = world.shared(0, "c")

    def f():
        with open(p, "w") as h:
            fcntl.flock(h, fcntl.LOCK_EX)
            c.add(1)
            c.add(-1)
            os.unlink(p)

    def g():
        with open(p, "w") as h:
            fcntl.flock(h, fcntl.LOCK_EX)
            c.add(1)
            c.add(-1)

    world.actor("a", f)
    world.actor("b", g)
    world.actor("c", g)

    @world.always
    def one():
        assert c.get() <= 1


@broken_by_crashes
def crash_lost_buffer(world):
    p = world.path("o")

    def w():
        f = open(p, "w")  # noqa: SIM115  # its process may end here
        f.write("x")
        f.flush()
        f.write("y")
        f.close()

    world.actor("a", w, process="p")

    @world.at_end
    def whole():
        if os.path.exists(p):
            with open(p) as g:
                assert g.read() != "x"


@safe_in_crashes
def crash_frees_flock(world):
    p = world.path("l")
    done = world.shared(0, "d")

    def f():
        with open(p, "a") as h:
            fcntl.flock(h, fcntl.LOCK_EX)
            done.add(1)

    world.actor("a", f, process="p")
    world.actor("b", f, process="q")


@broken_by_crashes
def crash_leaves_lockfile(world):
    p = world.path("l")

    def f():
        os.close(os.open(p, os.O_CREAT | os.O_EXCL))
        os.unlink(p)

    world.actor("a", f, process="p")
    world.on_restart("p", f)


@safe_in_crashes
def crash_replace(world):
    p = world.path("l")
    with open(p, "w") as f:
        f.write("old")

    def f():
        with open(p + ".new", "w") as g:
            g.write("new")
        os.replace(p + ".new", p)

    world.actor("a", f, process="p")

    @world.at_end
    def whole():
        with open(p) as g:
            assert g.read() in ("old", "new")


@broken_by_crashes
def crash_in_place(world):
    p = world.path("l")
    with open(p, "w") as f:
        f.write("old")

    def f():
        with open(p, "w") as g:
            g.write("new")

    world.actor("a", f, process="p")

    @world.at_end
    def whole():
        with open(p) as g:
            assert g.read() in ("old", "new")


@broken
def reading_is_torn(world):
    path = world.path("f")
    with open(path, "w") as f:
        f.write("old!")

    def put():
        with open(path, "w") as f:
            f.write("123456789")

    def get():
        with open(path) as f:
            assert f.read() in ("old!", "", "123456789")

    world.actor("get", get)
    world.actor("put", put)


@broken
def listed_before_and_after(world):
    def look():
        assert not os.listdir(world.path(""))

    def make():
        with open(world.path("f"), "w"):
            pass

    world.path("")
    world.actor("look", look)
    world.actor("make", make)


@broken
def link_that_changes(world):
    for name in ("one", "two"):
        with open(world.path(name), "w") as f:
            f.write(name)
    os.symlink("one", world.path("current"))

    def look():
        with open(world.path("current")) as f:
            assert f.read() == "one"

    def switch():
        os.symlink("two", world.path("new"))
        os.replace(world.path("new"), world.path("current"))

    world.actor("look", look)
    world.actor("switch", switch)


@broken
def folder_that_moves(world):
    os.mkdir(world.path("d"))
    with open(world.path("d/f"), "w") as f:
        f.write("text")

    def look():
        if os.path.exists(world.path("d/f")):
            with open(world.path("d/f")) as f:
                assert f.read() == "text"

    world.actor("look", look)
    world.actor("move", lambda: os.rename(world.path("d"), world.path("e")))


@safe
def waiting_for_a_file(world):
    path = world.path("ready")

    def make():
        with open(f"{path}.new", "w") as f:
            f.write("x")
        os.rename(f"{path}.new", path)

    def use():
        while not os.path.exists(path):
            time.sleep(0.1)
        with open(path) as f:
            assert f.read() == "x"

    world.actor("make", make)
    world.actor("use", use)


@safe
def trying_to_lock_until_it_is_free(world):
    path = world.path("l")
    inside = world.shared(0, "inside")
    with open(path, "w"):
        pass

    def work():
        descriptor = os.open(path, os.O_RDWR)
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.1)
        inside.add(1)
        inside.add(-1)
        os.close(descriptor)

    world.actor("a", work)
    world.actor("b", work)

    @world.always
    def one():
        assert inside.get() <= 1


@safe
def private_files(world):
    def f(n):
        for i in range(5):
            with open(world.path(n), "a") as h:
                h.write(str(i))
        with open(world.path(n)) as h:
            assert h.read() == "01234"
        os.unlink(world.path(n))

    world.actor("a", f, "a")
    world.actor("b", f, "b")


@safe
def tempdirs(world):
    def f(n):
        with tempfile.TemporaryDirectory() as d:
            p = pathlib.Path(d) / "x"
            p.write_text(n)
            assert p.read_text() == n
        with tempfile.NamedTemporaryFile("w+") as t:
            t.write(n)
            t.seek(0)
            assert t.read() == n
        with tempfile.TemporaryFile("w+") as t:
            t.write(n)
            t.seek(0)
            assert t.read() == n

    world.actor("a", f, "a")
    world.actor("b", f, "b")


@safe
def mtime(world):
    p = world.path("m")

    def f():
        open(p, "w").close()
        time.sleep(5)
        assert time.time() - os.path.getmtime(p) >= 5
        assert time.time() - os.path.getmtime(p) < 20

    world.actor("a", f)


@pytest.mark.parametrize("scenario", VERIFIED, ids=lambda scenario: scenario.name)
def test_safe_programs_on_files_are_verified(scenario):
    for case in scenario.cases():
        result = simharness.explore(scenario, parameters=case, strategy="dpor")
        assert (result.verdict, [remark for remark in result.remarks if "except" in remark]) == ("verified", []), result


@pytest.mark.parametrize("scenario", VIOLATED, ids=lambda scenario: scenario.name)
def test_broken_programs_on_files_are_violated(scenario):
    for case in scenario.cases():
        assert simharness.explore(scenario, parameters=case, strategy="dpor").verdict == "violated"


def test_a_file_that_an_execution_leaves_open_because_it_is_cut_warns_nobody(recwarn):
    def scenario(world):
        with open(world.path("o"), "w") as made:
            made.write("text")
        shared = open(world.path("o"))  # noqa: SIM115  # a check closes it, if the execution comes to its end
        for name in "ab":
            world.actor(name, lambda: (shared.seek(0), shared.read(1)))
        world.at_end(shared.close)

    simharness.explore(scenario, settings=simharness.Settings(max_steps=2, max_executions=5))
    gc.collect()
    assert not [warning for warning in recwarn if issubclass(warning.category, ResourceWarning)]


STREAM = """
import os, sys

def scenario(world):
    second = os.dup(1)
    def say(word):
        os.write(second, word)
        print(word, file=sys.stderr)
    for word in (b"a", b"b"):
        world.actor(word.decode(), say, word)
"""


def test_a_standard_stream_that_goes_to_a_file_is_no_file_of_an_execution(tmp_path):
    (tmp_path / "scenario.py").write_text(STREAM)
    with (tmp_path / "out").open("w") as out:
        command = [sys.executable, "-m", "simharness", "explore", "scenario.py::scenario", "--json", "result.json"]
        subprocess.run(command, cwd=tmp_path, stdout=out, stderr=out, env=os.environ | {"PYTHONPATH": os.getcwd()}, check=True, timeout=100)
    assert json.loads((tmp_path / "result.json").read_text())["results"][0]["executions"] == 1


def outcomes_of_modes(programs):
    """Return what all interleavings of single calls come to: what each actor read, and the last modes. Shares nothing with the runtime."""

    def steps(positions, modes, seen):
        if all(position == len(program) for position, program in zip(positions, programs, strict=True)):
            return {(tuple(map(tuple, seen)), tuple(sorted(modes.items())))}
        found = set()
        for actor, program in enumerate(programs):
            if positions[actor] < len(program):
                name, mode = program[positions[actor]]
                after, read = dict(modes), [list(each) for each in seen]
                if mode is None:
                    read[actor].append(after[name])
                else:
                    after[name] = mode
                found |= steps([at + (which == actor) for which, at in enumerate(positions)], after, read)
        return found

    return steps([0] * len(programs), {"a": 0o600, "b": 0o600}, [[] for _ in programs])


@pytest.mark.parametrize("seed", range(30))
def test_setting_modes_that_may_be_set_already_has_the_outcomes_of_all_interleavings(seed):
    draw = random.Random(seed)
    programs = [[(draw.choice("ab"), draw.choice((None, 0o600, 0o600, 0o640))) for _ in range(draw.choice((1, 2, 3)))] for _ in range(2)]

    def scenario(world):
        paths = {name: world.path(name) for name in "ab"}
        for path in paths.values():
            with open(path, "w"):
                pass
            os.chmod(path, 0o600)
        seen = [[] for _ in programs]

        def work(actor):
            for name, mode in programs[actor]:
                if mode is None:
                    seen[actor].append(os.stat(paths[name]).st_mode & 0o777)
                else:
                    os.chmod(paths[name], mode)

        for actor in range(len(programs)):
            world.actor(f"actor {actor}", work, actor)

        @world.at_end
        def outcome():
            modes = {name: os.stat(path).st_mode & 0o777 for name, path in paths.items()}
            world.outcome((tuple(map(tuple, seen)), tuple(sorted(modes.items()))))

    result = simharness.explore(scenario, "dpor")
    assert result.outcomes == outcomes_of_modes(programs)


def test_threads_that_set_the_mode_that_a_file_has_already_have_one_ordering():
    def scenario(world):
        path = world.path("state")
        with open(path, "w"):
            pass
        os.chmod(path, 0o600)
        for name in "abc":
            world.actor(name, os.chmod, path, 0o600)

    assert simharness.explore(scenario, "dpor").executions == 1
