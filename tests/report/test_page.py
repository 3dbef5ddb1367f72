"""The page: what it holds, and what a reader sees and does in a real browser."""

import json
import queue
import re
import shutil
import threading

import pytest
from typer.testing import CliRunner

import simharness
from simharness.cli.main import app
from simharness.report import html_report, json_report
from simharness.report.page import page
from simharness.report.recorded import recorded, value
from tests.browser import Browser, chromium
from tests.report import small_races

RACES = "tests/report/small_races.py"


def explored(scenario):
    return simharness.explore(scenario, settings=simharness.Settings(confirm=False))


def embedded(text):
    """Return the data that a page holds."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    return json.loads(found.group(1))


def entry(scenario):
    return json.loads(json.dumps(json_report.entry(explored(scenario))))


# What the data say


def test_a_step_tells_what_else_was_possible_and_who_could_not_move_and_why():
    told = entry(small_races.two_locks)["counterexample"]
    first = told["steps"][0]["moves"]
    assert [(move["actor"], move["possible"], move["taken"]) for move in first] == [("payer", True, True), ("refunder", True, False)]
    assert first[1]["place"].startswith(RACES)
    reasons = {move["actor"]: move["why_not"] for move in told["moves"]}
    assert re.fullmatch(r"lock small_races.py:\d+ #2 is held by refunder", reasons["payer"])
    assert re.fullmatch(r"lock small_races.py:\d+ is held by payer", reasons["refunder"])


def test_tables_are_given_at_the_start_and_whenever_a_step_changes_them():
    told = entry(small_races.rotation)["counterexample"]
    start = told["initial"]["tables"]["state.db"]["sessions"]
    assert start == {"columns": ["id", "parent", "ended_at", "reason"], "rows": [["PARENT", None, None, None]], "left_out": 0}
    changed = [step["number"] for step in told["steps"] if step["tables"]]
    assert changed == [step["number"] for step in told["steps"] if step["database"]]
    last = [step["tables"] for step in told["steps"] if step["tables"]][-1]
    assert [row[0] for row in last["state.db"]["sessions"]["rows"]] == ["PARENT", "child of review_fork", "child of main_turn"]


def test_what_is_held_for_a_time_is_told_with_its_end():
    steps = entry(small_races.lapsed_lease)["counterexample"]["steps"]
    taken = next(step for step in steps if step["shown"]["lease"] == "main_turn")
    assert taken["until"] == {"lease": 1.0}
    assert taken["wall"] == 0.0
    assert [step["wall"] for step in steps if step["kind"] == "clock.advance"] == [1.5, 2.0, 4.0]


def handing_over(world):
    jobs, done, lock = queue.Queue(), threading.Event(), threading.Lock()

    def worker():
        jobs.get()
        with lock:
            done.set()

    def boss():
        thread = threading.Thread(target=worker, name="worker")
        thread.start()
        jobs.put("job")
        done.wait()
        with lock:
            world.step("boss")
        thread.join()
        raise AssertionError("so that there is a trace")

    world.actor("boss", boss)


def test_messages_tell_starts_items_wake_ups_and_ends():
    told = entry(handing_over)["counterexample"]
    steps = {step["number"]: step for step in told["steps"]}
    said = [(one["kind"], steps[one["first"]]["kind"], steps[one["second"]]["kind"]) for one in told["messages"]]
    assert ("start", "thread.start", "queue.get") in said
    assert ("item", "queue.put", "queue.get") in said
    assert any(kind in ("wake-up", "signal") and second == "event.wait" for kind, _, second in said)
    assert any(kind == "end" and second == "thread.join" for kind, _, second in said)
    for one in told["messages"]:
        assert steps[one["first"]]["actor"] != steps[one["second"]]["actor"]


def test_an_item_comes_from_the_step_that_put_it_also_where_the_last_put_comes_out_first():
    def stacked(world):
        jobs = queue.LifoQueue()

        def put(name):
            jobs.put(name)

        def take():
            names = jobs.get(), jobs.get()
            assert names != ("b", "a"), "as it must be once"

        for name in "ab":
            world.actor(name, put, name)
        world.actor("taker", take)

    told = entry(stacked)["counterexample"]
    actors = [step["actor"] for step in told["steps"]]
    items = [(actors[one["first"] - 1], one["second"]) for one in told["messages"] if one["kind"] == "item"]
    assert [name for name, _ in sorted(items, key=lambda item: item[1])] == ["b", "a"]


def test_the_nearest_passing_ordering_is_there_with_its_steps():
    told = entry(small_races.rotation)["counterexample"]
    passing = told["passing"]
    assert passing["trace"]["failed_at"] is None
    keep = passing["parts_at"] - 1
    assert [step["actor"] for step in told["steps"][:keep]] == [step["actor"] for step in passing["trace"]["steps"][:keep]]
    assert passing["trace"]["steps"][keep]["actor"] == passing["actor"]


@pytest.mark.parametrize(("stored", "told"), [(2**60, "1152921504606846976"), (9e999, "inf"), (b"abc", "3 bytes: 616263"), (1.5, 1.5)])
def test_values_that_json_cannot_say_are_told_as_text(stored, told):
    assert value(stored) == told


def test_a_large_table_keeps_the_rows_that_change():
    def large(world):
        import sqlite3

        path = world.path("large.db")
        setup = sqlite3.connect(path)
        setup.execute("CREATE TABLE numbers (n INTEGER, square INTEGER)")
        setup.executemany("INSERT INTO numbers VALUES (?, ?)", [(n, n * n) for n in range(500)])
        setup.commit()
        setup.close()

        def change():
            world.step("before")
            connection = sqlite3.connect(path, isolation_level=None)
            connection.execute("UPDATE numbers SET square = -1 WHERE n = 400")
            connection.close()
            raise AssertionError("so that there is a trace")

        world.actor("a", change)

    told = entry(large)["counterexample"]
    start, after = told["initial"]["tables"]["large.db"]["numbers"], told["steps"][0]["tables"]["large.db"]["numbers"]
    assert len(start["rows"]) == 101
    assert start["left_out"] == 399
    assert [400, 160000] in start["rows"]
    assert [400, -1] in after["rows"]


# What a page is


def test_a_page_holds_its_data_and_asks_for_nothing_from_elsewhere():
    def marked_up(world):
        world.actor("a", world.step, "</script><script>alert(1)</script> <!-- &amp; \u2028")

        @world.at_end
        def never():
            raise AssertionError("</title><b>bold</b>")

    result = explored(marked_up)
    text = html_report.of_results([result], {})
    [case] = embedded(text)["cases"]
    assert case["counterexample"]["steps"] == entry(marked_up)["counterexample"]["steps"]
    assert case["counterexample"]["failure"] == result.counterexample.failure
    assert text.count("<script") == 2
    assert "<b>bold" not in text
    assert "\u2028" not in text
    assert "default-src 'none'" in text
    assert not re.findall(r"""(?:src|href|action)=["'](?!#)|@import|url\(|https?://(?!www.w3.org/2000/svg)""", text)
    assert result.counterexample.token in case["command"]


def test_a_page_of_no_counterexample_and_of_one_execution_can_be_made():
    def fine(world):
        world.actor("a", world.step, "x")

        @world.at_end
        def holds():
            assert True

    assert embedded(html_report.of_results([explored(fine)], {}))["cases"][0]["verdict"] == "verified"
    token = explored(small_races.lost_update).counterexample.token
    execution = simharness.replay(small_races.lost_update, token)
    [case] = embedded(html_report.of_execution(execution, "races.py::lost_update"))["cases"]
    assert case["command"] == f"simharness replay races.py::lost_update '{token}'"
    assert embedded(page([]))["cases"] == []


def test_an_execution_can_stand_beside_another_with_notes_on_top():
    found = explored(small_races.rotation).counterexample
    one, other = (simharness.replay(small_races.rotation, token) for token in (found.token, found.passing.token))
    told = html_report.executed(one, "races.py::rotation", [("Log", ["two lines", "fit"])], beside=other)
    [case] = embedded(page([told]))["cases"]
    assert case["notes"] == [["Log", ["two lines", "fit"]]]
    passing = case["counterexample"]["passing"]
    assert (passing["parts_at"], passing["actor"]) == (found.passing.parts_at, found.passing.actor)
    assert [step["text"] for step in passing["trace"]["steps"]] == [step["text"] for step in recorded(found.passing.trace)["steps"]]


def test_the_command_line_writes_pages_whole_or_not_at_all(tmp_path):
    runner = CliRunner()
    file = tmp_path / "page.html"
    done = runner.invoke(app, ["explore", f"{RACES}::lost_update", "--html", str(file), "--no-timelines"])
    assert done.exit_code == 1
    token = embedded(file.read_text())["cases"][0]["counterexample"]["token"]
    again = tmp_path / "again.html"
    assert runner.invoke(app, ["replay", f"{RACES}::lost_update", token, "--html", str(again)]).exit_code == 1
    assert embedded(again.read_text())["cases"][0]["counterexample"]["token"] == token
    missing = tmp_path / "none" / "page.html"
    for command in (["explore", f"{RACES}::lost_update"], ["replay", f"{RACES}::lost_update", token]):
        done = runner.invoke(app, [*command, "--html", str(missing)])
        assert done.exit_code == 2
        assert re.fullmatch(r"simharness: --html \S+: there is no folder \S+; make it, or give another path\n", done.stderr)
    assert sorted(tmp_path.iterdir()) == [again, file]


# In a browser


@pytest.fixture(scope="module")
def browser():
    if chromium() is None:
        pytest.skip("no chromium: apt-get install -y chromium")
    with Browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """A page for each small race, and one for them all."""
    folder = tmp_path_factory.mktemp("pages")
    results = {name: explored(getattr(small_races, name)) for name in ("rotation", "lapsed_lease", "two_locks", "lost_update")}
    for name, result in results.items():
        (folder / f"{name}.html").write_text(html_report.of_results([result], {}))
    (folder / "all.html").write_text(html_report.of_results(list(results.values()), {}))
    yield folder
    shutil.rmtree(folder)


def current(browser):
    """Return the number of the step that is shown, its text, and which ordering it is of."""
    return browser.run(
        "(() => { const line = document.querySelector('tr[aria-current=step]'); return line && [Number(line.cells[0].textContent),"
        " line.querySelector('.text').textContent, line.closest('section').className]; })()"
    )


def read(browser, selector):
    return browser.run(f"document.querySelector({selector!r}).innerText")


@pytest.mark.long
def test_arrow_keys_and_the_slider_move_through_the_steps(browser, pages):
    browser.open(pages / "rotation.html")
    browser.press("Home")
    assert current(browser) is None
    assert read(browser, "#status").startswith("Before the first step")
    seen = []
    for key in ("ArrowRight", "ArrowDown", "ArrowRight", "ArrowLeft", "ArrowUp"):
        browser.press(key)
        seen.append(current(browser)[0])
    assert seen == [1, 2, 3, 2, 1]
    browser.press("End")
    assert current(browser)[0] == 6
    browser.run("(() => { const s = document.getElementById('slider'); s.value = 3; s.dispatchEvent(new Event('input')); })()")
    assert current(browser)[0] == 3
    assert browser.run("document.getElementById('slider').getAttribute('aria-valuetext')").startswith("failing ordering, step 3 of 6")
    browser.run("document.getElementById('slider').focus()")
    browser.press("ArrowRight")
    assert current(browser)[0] == 4
    browser.click(".order.failing tbody tr:nth-child(2) .text")
    assert current(browser)[0] == 2
    browser.click("#forward")
    assert current(browser)[0] == 3
    browser.press("f")
    assert current(browser)[0] == 6
    assert "the failure shows here" in read(browser, "#status")
    browser.press("p")
    assert current(browser)[0] == 1
    browser.press("o")
    assert current(browser)[2] == "order passing"
    assert browser.run("document.querySelector('[name=side][value=passing]').checked")


@pytest.mark.long
def test_the_tables_at_a_step_have_their_changed_cells_marked(browser, pages):
    browser.open(pages / "rotation.html")
    browser.press("Home")
    for _ in range(3):
        browser.press("ArrowRight")
    rows = "[...document.querySelectorAll('#state .rows tbody tr')].map((row) => [row.className, row.textContent])"
    assert browser.run(rows) == [["changed", "~changed: PARENT–now 1.5now compression"]]
    assert browser.run("document.querySelectorAll('#state td.changed').length") == 2
    browser.press("ArrowRight")
    assert browser.run(rows)[1][0] == "added"
    assert "review_fork has rotated" in read(browser, "#state .log .here")
    assert "connection.execute" in read(browser, "#state .source .named")


@pytest.mark.long
def test_the_choice_points_show_what_else_was_possible_and_where_the_orderings_part(browser, pages):
    browser.open(pages / "two_locks.html")
    browser.press("p")
    assert "the passing ordering goes here" in read(browser, ".choice.other")
    assert read(browser, ".choice.taken").replace("\n", "").startswith("●refunder: acquire lock")
    assert "the failing one continues with refunder, the passing one with payer" in read(browser, ".parting")
    assert "held by refunder" in read(browser, "#state .odd")
    assert "payer holds lock" in read(browser, "#state")
    assert browser.run("document.querySelectorAll('.life.holding').length") >= 2
    assert browser.run("document.querySelectorAll('.order.failing .life.blocked').length") >= 2
    assert browser.run("document.querySelectorAll('.order.passing .message').length") == 2


@pytest.mark.long
def test_bars_show_holder_and_expiry(browser, pages):
    browser.open(pages / "lapsed_lease.html")
    assert browser.run("[...document.querySelectorAll('.bar')].map((bar) => bar.getAttribute('class'))") == [
        "bar",
        "bar lapsed",
        "bar",
        "bar lapsed",
    ]
    assert "until 1 s" in read(browser, ".steps")
    browser.press("Home")
    browser.press("ArrowRight")
    browser.press("ArrowRight")
    assert "main_turn until 1 s (1 s left)" in read(browser, "#state")


@pytest.mark.long
def test_every_step_can_be_shown_and_a_link_keeps_the_place(browser, pages):
    browser.open(pages / "lapsed_lease.html")
    few = browser.run("document.querySelectorAll('.steps tbody tr').length")
    browser.click("#every")
    assert few < browser.run("document.querySelectorAll('.steps tbody tr').length") == 15
    browser.press("Home")
    browser.press("ArrowRight")
    assert browser.run("location.hash") == "#1/failing/1"


@pytest.mark.long
def test_several_counterexamples_are_chosen_from_a_list(browser, pages):
    browser.open(pages / "all.html")
    assert "4 counterexamples in 4 cases" in read(browser, "#cases summary")
    browser.click("#cases tbody tr:nth-child(3) .link")
    assert "deadlock" in read(browser, "h1")
    assert browser.run("location.hash").startswith("#3/")
    assert "orderings run" in read(browser, "#numbers")


@pytest.mark.long
def test_a_cell_without_a_counterexample_shows_its_numbers(browser, tmp_path):
    def fine(world):
        world.actor("a", world.step, "x")
        world.actor("b", world.step, "y")

    (tmp_path / "page.html").write_text(html_report.of_results([explored(fine)], {}))
    browser.open(tmp_path / "page.html")
    assert read(browser, "h1") == "verified: no counterexample"
    assert "each once, up to swapping independent steps" in read(browser, "#numbers")
    assert browser.run("document.getElementById('main').hidden")
    assert browser.complaints() == []


@pytest.mark.long
def test_the_page_has_names_for_everything_and_is_used_without_a_mouse(browser, pages):
    browser.open(pages / "all.html")
    names = browser.names()
    for role in ("button", "slider", "radio", "checkbox", "heading", "table", "columnheader", "complementary", "region"):
        found = [name for kind, name in names if kind == role]
        assert found, role
        assert all(found), (role, found)
    assert ("slider", "Step") in names
    assert any(kind == "status" for kind, _ in names)
    assert browser.run("document.getElementById('status').getAttribute('aria-live')") == "polite"
    order = []
    browser.run("document.body.focus()")
    for _ in range(30):
        browser.press("Tab")
        order.append(browser.run("document.activeElement.id || document.activeElement.className"))
    wanted = ["skip", "back", "slider", "forward", "to-fork", "every", "text"]
    assert [order.index(name) for name in wanted] == sorted(order.index(name) for name in wanted)
    while browser.run("document.activeElement.className") != "text":
        browser.press("Tab")
    browser.press("ArrowRight")
    assert browser.run("document.activeElement === document.querySelector('tr[aria-current=step] .text')")


@pytest.mark.long
def test_the_page_asks_the_network_for_nothing_and_complains_of_nothing(browser, pages):
    for file in sorted(pages.glob("*.html")):
        browser.open(file)
        for key in ("End", "p", "o", "Home"):
            browser.press(key)
        assert browser.requests() == [file.as_uri()]
        assert browser.complaints() == []


CONTRAST = """
(() => {
  const linear = (c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  const light = (text) => {
    const [r, g, b] = text.match(/[\\d.]+/g).slice(0, 3).map((c) => linear(c / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (e) => {
    for (; e; e = e.parentElement) {
      const colour = getComputedStyle(e).backgroundColor;
      if (!/, 0\\)$/.test(colour)) return colour;
    }
  };
  const told = 'h1, h2, h3, p, td, th, span, button, li, code, summary, dt, dd';
  const texts = [...document.querySelectorAll(told)].filter((e) => e.offsetParent && !e.closest('.aside, :disabled'));
  return Math.min(...texts.map((e) => {
    const [one, two] = [light(getComputedStyle(e).color), light(behind(e))];
    return (Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05);
  }));
})()
"""


@pytest.mark.long
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 480])
def test_the_page_is_legible_light_and_dark_wide_and_narrow(browser, pages, tmp_path, scheme, width):
    browser.prefer(scheme)
    browser.resize(width, 900)
    try:
        for name in ("rotation", "all", "lapsed_lease"):
            browser.open(pages / f"{name}.html")
            red, green, blue = map(int, re.findall(r"\d+", browser.run("getComputedStyle(document.body).backgroundColor"))[:3])
            assert (red + green + blue > 600) is (scheme == "light")
            assert browser.run(CONTRAST) >= 4.5
            assert browser.run("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
            browser.picture(tmp_path / f"{name}.png")
            assert (tmp_path / f"{name}.png").stat().st_size > 10_000
    finally:
        browser.prefer("light")
        browser.resize(*browser.size)


@pytest.mark.long
def test_the_page_can_be_printed(browser, pages):
    browser.open(pages / "rotation.html")
    told = browser("Page.printToPDF", printBackground=False)
    assert len(told["data"]) > 10_000
    browser("Emulation.setEmulatedMedia", media="print")
    assert browser.run("getComputedStyle(document.querySelector('.control')).display") == "none"
    assert browser.run("getComputedStyle(document.querySelector('#orders')).display") != "none"
    browser("Emulation.setEmulatedMedia", media="")
