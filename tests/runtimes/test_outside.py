"""What the world outside answers: the exceptions of a machine without network and programs, functions, stubs of the user's."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys

import pytest

import simharness
from simharness import Settings, Verdict
from simharness.errors import Misuse

pytest_plugins = ("pytester",)
DOWN = Settings(outside="down")
CALLS = """
import os, socket, subprocess

def said(call):
    try:
        return repr(call())
    except Exception as error:
        return f"{type(error).__name__} {error.args}"

def datagram():
    with socket.socket(type=socket.SOCK_DGRAM) as made:
        made.sendto(b"x", ("10.0.0.1", 9))

def with_stream(use):
    with socket.socket() as made:
        return use(made)

def local():
    with socket.socket(socket.AF_UNIX) as made:
        made.connect("/nowhere/at/all")

NETWORK = {
    "connect to an address": lambda: socket.create_connection(("10.0.0.1", 9)),
    "connect to this machine": lambda: socket.create_connection(("127.0.0.1", 9)),
    "connect to a name": lambda: socket.create_connection(("example.org", 80)),
    "connect with a time-out": lambda: socket.create_connection(("10.0.0.1", 9), timeout=3),
    "connect_ex": lambda: with_stream(lambda made: made.connect_ex(("10.0.0.1", 9))),
    "connect without look-up": lambda: with_stream(lambda made: made.connect(("example.org", 9))),
    "connect to a file": local,
    "send": lambda: with_stream(lambda made: made.send(b"x")),
    "receive": lambda: with_stream(lambda made: made.recv(1)),
    "accept": lambda: with_stream(lambda made: made.accept()),
    "a datagram": datagram,
    "look up a name": lambda: socket.getaddrinfo("example.org", 80),
    "look up an address": lambda: socket.getaddrinfo("10.0.0.1", 80, type=socket.SOCK_STREAM),
    "look up nothing": lambda: socket.getaddrinfo(None, 80, type=socket.SOCK_STREAM),
    "gethostbyname": lambda: socket.gethostbyname("example.org"),
    "gethostbyname of an address": lambda: socket.gethostbyname("10.0.0.1"),
    "gethostbyaddr": lambda: socket.gethostbyaddr("10.0.0.1"),
    "getnameinfo": lambda: socket.getnameinfo(("10.0.0.1", 80), 0),
}
"""
exec(CALLS)
UNSHARE = ("unshare", "-rn")


def a_machine_without_network():
    """Return what the calls do in a network namespace without interfaces, or None where there are none."""
    code = f"{CALLS}\nimport json\nprint(json.dumps({{name: said(call) for name, call in NETWORK.items()}}))"
    try:
        done = subprocess.run([*UNSHARE, sys.executable, "-c", code], capture_output=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return json.loads(done.stdout)


def in_an_execution(work, settings=DOWN):
    """Return what each execution of two actors saw; every execution sees the same."""
    seen = []

    def scenario(world):
        world.actor("caller", lambda: seen.append(work()))
        world.actor("other", lambda: world.step("other"))
        world.at_end(lambda: None)

    result = simharness.explore(scenario, settings=settings)
    assert result.verdict is Verdict.VERIFIED
    assert all(each == seen[0] for each in seen)
    return seen[0], result


def test_the_network_is_that_of_a_machine_without_one():
    genuine = a_machine_without_network()
    if genuine is None:
        pytest.skip("this machine has no network namespaces")
    seen, _ = in_an_execution(lambda: {name: said(call) for name, call in NETWORK.items()})  # noqa: F821  # from CALLS
    assert seen == genuine


PROGRAMS = {
    "Popen": lambda: subprocess.Popen(["git", "log"]),
    "run": lambda: subprocess.run(["git"], check=False, capture_output=True),
    "check_output": lambda: subprocess.check_output(("git",)),
    "shell": lambda: subprocess.run("git log", shell=True, check=False),
    "text": lambda: subprocess.call("git"),
    "posix_spawn": lambda: os.posix_spawn("/bin/true", ["true"], {}),
    "popen": lambda: os.popen("git"),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_there_are_no_programs(name):
    seen, _ = in_an_execution(lambda: said(PROGRAMS[name]), Settings(programs="none"))  # noqa: F821  # from CALLS
    assert seen.startswith("FileNotFoundError (2, 'No such file or directory'")


def test_without_programs_no_program_is_found_and_the_shell_says_so():
    seen, _ = in_an_execution(lambda: (shutil.which("sh"), os.system("true")))
    assert seen == (None, 127 << 8)


def test_what_is_not_said_to_be_down_is_refused():
    with pytest.raises(simharness.Refused, match="subprocess"):
        in_an_execution(lambda: subprocess.run(["true"], check=False), Settings(network="down"))
    with pytest.raises(simharness.Refused, match="getaddrinfo"):
        in_an_execution(lambda: socket.getaddrinfo("example.org", 80), Settings(programs="none"))
    with pytest.raises(simharness.Refused, match="socketpair"):
        in_an_execution(socket.socketpair)


def test_the_result_names_what_the_outside_answers():
    _, result = in_an_execution(lambda: None)
    assert "outside: no network, no programs" in result.bounds
    _, result = in_an_execution(lambda: None, Settings())
    assert "outside" not in result.bounds


def test_a_function_answers_for_programs():
    def fake(arguments):
        if arguments[0] == "git":
            return subprocess.CompletedProcess(arguments, 0, "abc\n", "hm")
        return 3

    def work():
        done = subprocess.run(["git", "log"], capture_output=True, text=True, check=True)
        both = subprocess.run(["git"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True).stdout
        with subprocess.Popen(["git"], stdout=subprocess.PIPE) as made:
            lines = list(made.stdout)
        return done.stdout, done.stderr, both, lines, subprocess.call(["other"]), os.system("x") >> 8, subprocess.getoutput("git")

    seen, result = in_an_execution(work, Settings(programs=fake))
    assert seen == ("abc\n", "hm", b"abc\nhm", [b"abc\n"], 3, 3, "")
    assert "programs are what fake answers" in result.bounds


def test_a_function_answers_for_the_network_with_steps_of_its_own():
    def scenario(world):
        requests = world.shared(0, "requests")

        def fake(called, *arguments):
            if called == "socket.getaddrinfo":
                return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.1", 80))]
            if called == "socket.socket.connect":
                requests.set(requests.get() + 1)
                return None
            raise TimeoutError(called)

        answers[:] = [fake]
        for name in "ab":
            world.actor(name, lambda: socket.create_connection(("example.org", 80)).close())

        @world.at_end
        def each_counts():
            assert requests.get() == 2

    answers = []
    result = simharness.explore(scenario, settings=Settings(network=lambda called, *arguments: answers[0](called, *arguments)))  # noqa: PLW0108  # made later
    assert result.verdict is Verdict.VIOLATED


def test_a_scenario_says_what_is_outside_and_a_setting_overrides_it():
    @simharness.scenario(outside="down")
    def looks(world):
        def look():
            with pytest.raises(socket.gaierror):
                socket.getaddrinfo("example.org", 80)

        world.actor("a", look)
        world.actor("b", lambda: world.step("b"))
        world.at_end(lambda: None)

    assert simharness.explore(looks).verdict is Verdict.VERIFIED
    with pytest.raises(simharness.Refused, match="getaddrinfo"):
        simharness.explore(looks, settings=Settings(network="refused"))


@pytest.mark.parametrize("options", [{"outside": "up"}, {"network": "none"}, {"programs": "down"}, {"network": 3}])
def test_other_values_are_misuse(options):
    with pytest.raises(Misuse, match=next(iter(options))):
        Settings(**options)


# Stubs of the user's


class Fake:
    """Stands in for `subprocess.Popen`."""

    def __init__(self, *arguments, **options):
        self.arguments = arguments


@pytest.fixture
def _taken_out(kept):
    """The runtimes are put in place anew, with the stub there."""
    while kept:
        kept.pop().close()


def _stubbed(*arguments, **options):
    return "stubbed"


@pytest.mark.parametrize("where", [(socket, "getaddrinfo"), (subprocess, "Popen"), (subprocess, "run"), (os, "system"), (socket, "socket")])
@pytest.mark.alone
@pytest.mark.usefixtures("_taken_out")
def test_a_stub_that_is_there_before_is_honoured_and_stays(monkeypatch, where):
    module, name = where
    stub = Fake if name in ("Popen", "socket") else _stubbed
    monkeypatch.setattr(module, name, stub)
    seen, _ = in_an_execution(lambda: type(getattr(module, name)("x", 1)).__name__, Settings())
    assert seen == ("Fake" if stub is Fake else "str")
    assert getattr(module, name) is stub


@pytest.mark.alone
@pytest.mark.usefixtures("_taken_out")
def test_what_a_stub_hides_is_refused_all_the_same(monkeypatch):
    genuine = socket.socket
    monkeypatch.setattr(socket, "socket", Fake)
    with pytest.raises(simharness.Refused, match=r"socket\.socket"):
        in_an_execution(genuine, Settings())


@pytest.mark.parametrize("where", [(socket, "getaddrinfo"), (subprocess, "Popen"), (subprocess, "run"), (socket, "create_connection")])
def test_a_stub_that_an_execution_makes_is_taken_back_after_it(where):
    module, name = where
    before = getattr(module, name)
    stubs = []

    def scenario(world):
        stubs.append(getattr(module, name))
        setattr(module, name, Fake)
        world.actor("a", lambda: world.step("a", writes=["x"]))
        world.actor("b", lambda: getattr(module, name)("x") and world.step("b", writes=["x"]))
        world.at_end(lambda: None)

    result = simharness.explore(scenario)
    assert result.executions == 2
    assert Fake not in stubs
    assert getattr(module, name) is before


def test_a_marked_test_and_an_ini_file_say_it_in_one_line(pytester):
    pytester.makepyfile(
        """
        import socket, subprocess, threading
        import pytest

        def both(look):
            threads = [threading.Thread(target=look) for _ in range(2)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

        def look():
            try:
                socket.create_connection(("example.org", 80))
            except OSError:
                return
            raise AssertionError("there is a network")

        @pytest.mark.interleave(network="down")
        def test_marked():
            both(look)

        @pytest.mark.interleave(programs=lambda arguments: 7)
        def test_a_function():
            both(lambda: None)
            assert subprocess.call(["git"]) == 7

        @pytest.mark.interleave
        def test_stubbed(monkeypatch):
            monkeypatch.setattr(subprocess, "run", lambda *arguments: 5)
            both(lambda: None)
            assert subprocess.run(["git"]) == 5

        @pytest.mark.interleave
        def test_default():
            both(look)
        """
    )
    pytester.runpytest("-p", "no:cacheprovider").assert_outcomes(passed=3, failed=1)
    pytester.runpytest("-p", "no:cacheprovider", "-o", "interleave=outside=down").assert_outcomes(passed=4)


def test_a_refusal_names_the_users_line_first_and_then_the_packages(tmp_path, monkeypatch):
    package = tmp_path / "site-packages" / "asking"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("import subprocess\n\ndef ask():\n    return subprocess.run(['git'])\n")
    monkeypatch.syspath_prepend(str(package.parent))
    import asking

    with pytest.raises(simharness.Refused) as caught:
        in_an_execution(lambda: asking.ask(), Settings())  # noqa: PLW0108  # a line of the user's
    message = str(caught.value)
    assert message.startswith("tests/runtimes/test_outside.py:")
    assert " (by way of asking/__init__.py:4): caller called subprocess.run, which" in message
    assert "programs='none'" in message


def test_the_command_line_says_it(tmp_path):
    (tmp_path / "looks.py").write_text(
        "import socket\nimport simharness\n\n\n@simharness.scenario\ndef looks(world):\n"
        "    def look():\n        try:\n            socket.getaddrinfo('example.org', 80)\n        except socket.gaierror:\n"
        "            world.outcome('unknown')\n\n    world.actor('a', look)\n    world.actor('b', lambda: world.step('b'))\n"
        "    world.at_end(lambda: None)\n"
    )
    command = [sys.executable, "-m", "simharness", "explore", str(tmp_path / "looks.py")]
    for option in ("--outside", "--network"):
        done = subprocess.run([*command, option, "down"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "socket.getaddrinfo, which a simulation refuses" in done.stderr
