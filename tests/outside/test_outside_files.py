"""Files that are written are regular files, whole, and none that is read; the corpus of a stranger's checkout is not trusted."""

import os
import stat
from pathlib import Path

import pytest

from simharness.errors import Misuse
from simharness.pytest_plugin.corpus import LARGEST, LONGEST, MOST_FILES, MOST_TOKENS, Corpus
from simharness.regular import read
from simharness.report.files import check_writable, write
from tests.outside.hostile import NASTY, at_most, damaged

NODE = "tests/test_shop.py::test_sold_once"

NOT_REGULAR = {
    "a FIFO": os.mkfifo,
    "a folder": os.mkdir,
    "a link to a device": lambda path: os.symlink("/dev/null", path),
    "a link to nothing that can be": lambda path: os.symlink(path, path),
    "a link to a FIFO": lambda path: (os.mkfifo(f"{path}.pipe"), os.symlink(f"{path}.pipe", path)),
}


@pytest.mark.parametrize("kind", NOT_REGULAR)
def test_what_is_not_a_regular_file_is_neither_written_nor_replaced(tmp_path, kind):
    path = str(tmp_path / "out.json")
    NOT_REGULAR[kind](path)
    before = os.lstat(path)
    for attempt in (lambda: check_writable(("--json", path)), lambda: write(path, "{}", "--json")):
        with at_most(10), pytest.raises(Misuse, match=f"--json {path}"):
            attempt()
    assert os.lstat(path) == before
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".simharness-")]


@pytest.mark.parametrize("path", ["/dev/null", "/dev/stdout", "/proc/self/mem", "", ".", "x/", "none/x", "a\0b", "x" * 300, "\ud800"])
def test_what_cannot_be_a_file_is_refused_before_the_work_begins(path):
    with pytest.raises(Misuse, match="--json"):
        check_writable(("--json", path))


def test_a_symbolic_link_to_a_regular_file_stays_and_the_file_is_replaced_with_its_mode(tmp_path):
    target, link = tmp_path / "target.json", tmp_path / "link.json"
    target.write_text("old")
    target.chmod(0o600)
    link.symlink_to(target)
    check_writable(("--json", str(link)))
    write(str(link), "new \ud800", "--json")
    assert link.is_symlink()
    assert target.read_text() == "new \\ud800"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


def test_no_option_writes_what_is_read_or_what_another_option_writes(tmp_path):
    log = tmp_path / "shop.log"
    log.write_text("x")
    (tmp_path / "link.log").symlink_to(log)
    for name in ("shop.log", "link.log", "../" + tmp_path.name + "/shop.log"):
        with pytest.raises(Misuse, match="this file is read, too"):
            check_writable(("--json", str(tmp_path / name)), inputs=(str(log), None))
    with pytest.raises(Misuse, match="--json writes this file"):
        check_writable(("--json", str(tmp_path / "a")), ("--html", str(tmp_path / "." / "a")))
    assert log.read_text() == "x"


def test_reading_is_bounded_and_only_of_regular_files(tmp_path):
    (tmp_path / "file").write_bytes(b"x" * 1_000)
    assert read(str(tmp_path / "file"), 1_000) == b"x" * 1_000
    with pytest.raises(OSError, match="larger than 999 bytes"):
        read(str(tmp_path / "file"), 999)
    with at_most(10), pytest.raises(OSError, match="it is a device"):
        read("/dev/zero", 1_000)


# The corpus


def kept(folder):
    return Corpus(folder, NODE)


def file_of(folder):
    [file] = folder.glob("*.txt")
    return file


def test_tokens_are_kept_the_newest_first_and_dropped(tmp_path):
    corpus = kept(tmp_path / "corpus")
    for number in range(MOST_TOKENS + 2):
        corpus.remember(f"token {number}")
    assert kept(tmp_path / "corpus").tokens() == [f"token {number}" for number in range(MOST_TOKENS + 1, 1, -1)]
    assert (tmp_path / "corpus" / ".gitignore").read_text() == "*\n"
    for token in corpus.tokens():
        corpus.forget(token)
    assert corpus.tokens() == []
    assert not list((tmp_path / "corpus").glob("*.txt"))


@pytest.mark.parametrize("kind", NASTY)
def test_a_test_of_any_name_keeps_its_tokens(tmp_path, kind):
    corpus = Corpus(tmp_path, f"test_it.py::test[{NASTY[kind]}]")
    corpus.remember("a token")
    assert Corpus(tmp_path, f"test_it.py::test[{NASTY[kind]}]").tokens() == ["a token"]
    assert file_of(tmp_path).name.isascii()


def test_a_folder_that_is_a_symbolic_link_is_neither_read_nor_written(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    kept(elsewhere).remember("a token")
    before = sorted(file.name for file in elsewhere.iterdir())
    (tmp_path / "corpus").symlink_to(elsewhere)
    corpus = kept(tmp_path / "corpus")
    assert corpus.tokens() == []
    corpus.remember("another")
    corpus.forget("a token")
    assert sorted(file.name for file in elsewhere.iterdir()) == before
    assert kept(elsewhere).tokens() == ["a token"]


@pytest.mark.parametrize("ending", [".txt", ".new"])
def test_a_symbolic_link_in_the_folder_is_not_followed(tmp_path, ending):
    victim = tmp_path / "victim"
    folder = tmp_path / "corpus"
    kept(folder).remember("a token")
    file = file_of(folder)
    victim.write_text(f"{NODE}\nplanted\n")
    planted = file.with_suffix(ending)
    planted.unlink(missing_ok=True)
    planted.symlink_to(victim)
    corpus = kept(folder)
    assert "planted" not in corpus.tokens()
    corpus.remember("mine")
    assert victim.read_text() == f"{NODE}\nplanted\n"
    assert corpus.tokens()[0] == "mine"
    assert not file.is_symlink()


@pytest.mark.parametrize("kind", NOT_REGULAR)
def test_what_is_no_regular_file_in_the_folder_is_not_read(tmp_path, kind):
    folder = tmp_path / "corpus"
    kept(folder).remember("a token")
    file = file_of(folder)
    file.unlink()
    NOT_REGULAR[kind](str(file))
    with at_most(10):
        assert kept(folder).tokens() == []
        kept(folder).remember("a token")


def test_a_large_file_and_a_long_token_are_not_read(tmp_path):
    kept(tmp_path).remember("a token")
    file = file_of(tmp_path)
    file.write_text(f"{NODE}\n{'x' * (LONGEST + 1)}\nshort\n")
    assert kept(tmp_path).tokens() == ["short"]
    file.write_text(f"{NODE}\n" + "short\n" * 100)
    assert kept(tmp_path).tokens() == ["short"] * MOST_TOKENS
    file.write_bytes(f"{NODE}\n".encode() + bytes(LARGEST))
    assert kept(tmp_path).tokens() == []


def test_only_files_of_the_corpus_are_deleted_when_there_are_many(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "link-00000000.txt").symlink_to(tmp_path / "notes.txt")
    for number in range(MOST_FILES + 3):
        (tmp_path / f"test-{number:08x}.txt").write_text("x")
    kept(tmp_path).remember("a token")
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert (tmp_path / "link-00000000.txt").is_symlink()
    assert len([file for file in tmp_path.glob("*-*.txt") if not file.is_symlink()]) == MOST_FILES


@pytest.mark.parametrize("folder", ["a\0b", "\ud800", "/proc/none", "/dev/null/x", "x" * 300])
def test_where_no_folder_can_be_nothing_is_kept(folder):
    corpus = kept(Path(folder))
    corpus.remember("a token")
    assert corpus.tokens() == []


def test_damaged_files_of_the_corpus_give_tokens_or_none(tmp_path):
    kept(tmp_path).remember("test_sold_once::a1b2:abcdef")
    file = file_of(tmp_path)
    valid = file.read_bytes()
    for seed in range(300):
        file.write_bytes(damaged(valid, seed))
        assert all(token and len(token) <= LONGEST for token in kept(tmp_path).tokens())
