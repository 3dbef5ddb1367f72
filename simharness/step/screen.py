"""Stepping on a terminal: the timeline so far, what can come next and what cannot, what actors hold, rows, log lines."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Horizontal, VerticalScroll
from textual.widgets import Footer, OptionList, Static
from textual.widgets.option_list import Option

from simharness.errors import Misuse, SimharnessError
from simharness.step import words
from simharness.step.stepper import Point, Stepper
from simharness.timeline.render import render
from simharness.timeline.words import cut
from simharness.visible import visible

NARROW = 110
"""Columns below which the parts are stacked."""
LONGEST_CELL = 40


class Screen(App[None]):
    """Lets the user step. When it ends, the stepper is where the user left it; `failed` is the error that ended it early, if any."""

    CSS = """
    #top { height: auto; padding: 0 1; }
    #failure { height: auto; padding: 0 1; color: $error; text-style: bold; }
    #parts { height: 1fr; layout: horizontal; }
    #past { width: 1fr; border: round $panel; border-title-color: $text; }
    #rest { width: 48; layout: vertical; }
    #next { height: auto; max-height: 60%; min-height: 4; border: round $accent; border-title-color: $text; }
    #world { height: 1fr; border: round $panel; border-title-color: $text; }
    #parts.narrow { layout: vertical; }
    #parts.narrow #past { width: 100%; height: 1fr; min-height: 5; }
    #parts.narrow #rest { width: 100%; height: 60%; }
    #parts.narrow #next { max-height: 50%; }
    OptionList > .option-list--option-disabled { color: $text-muted; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left,b", "step_back", "back", key_display="←"),
        Binding("right,f", "forward", "forward", key_display="→"),
        Binding("enter", "pick_marked", "move", key_display="⏎", show=True),
        Binding("j", "to_failure", "failure"),
        Binding("a", "to_start", "start"),
        Binding("c", "copy_token", "copy token"),
        Binding("q", "quit", "quit"),
        *(Binding(str(number), f"pick({number})", show=False) for number in range(1, 10)),
    ]
    ENABLE_COMMAND_PALETTE = False

    def __init__(self, stepper: Stepper) -> None:
        super().__init__()
        self.stepper = stepper
        self.failed: SimharnessError | None = None

    def compose(self) -> ComposeResult:
        """Make the parts."""
        yield Static(id="top")
        yield Static(id="failure")
        with Horizontal(id="parts"):
            with VerticalScroll(id="past"):
                yield Static(id="timeline")
            with Container(id="rest"):
                yield OptionList(id="next")
                with VerticalScroll(id="world"):
                    yield Static(id="state")
        yield Footer()

    def on_mount(self) -> None:
        """Show the first point."""
        self.query_one("#past").border_title = "so far"
        self.query_one("#next").border_title = "next move: its number, or ⏎"
        self.query_one("#world").border_title = "the world"
        self.query_one("#next").focus()
        self._fit()

    def on_resize(self) -> None:
        """Lay out anew."""
        self._fit()

    def _fit(self) -> None:
        self.query_one("#parts").set_class(self.size.width < NARROW, "narrow")
        self.call_after_refresh(self._show)

    # What the keys do

    def action_step_back(self) -> None:
        """Unmake the last step."""
        self._try(self.stepper.back)

    def action_forward(self) -> None:
        """Make the step ahead."""
        self._try(self.stepper.forward)

    def action_to_failure(self) -> None:
        """Go to where the failure shows."""
        self._try(self.stepper.to_failure)

    def action_to_start(self) -> None:
        """Go to the start."""
        self._try(lambda: self.stepper.go(0))

    def action_pick(self, number: int) -> None:
        """Make the move of this number."""
        self._try(lambda: self.stepper.pick(number))

    def action_pick_marked(self) -> None:
        """Make the move that is marked in the list."""
        marked = self.query_one("#next", OptionList).highlighted
        if marked is not None:
            self.action_pick(marked + 1)

    def action_copy_token(self) -> None:
        """Give the token to the terminal's clipboard, and show it."""
        token = self.stepper.point.token
        self.copy_to_clipboard(token)
        self.notify(token, title="copied", markup=False)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Make the move that was selected."""
        self.action_pick(event.option_index + 1)

    def _try(self, request: Callable[[], Point]) -> None:
        try:
            request()
        except Misuse as error:
            self.notify(visible(str(error)), severity="warning", markup=False)
        except SimharnessError as error:
            self.failed = error
            self.exit()
        self._show()

    # What is shown

    def _show(self) -> None:
        point = self.stepper.point
        case = visible("  ".join(f"{name}={value}" for name, value in point.trace.parameters.items()))
        top = Text.assemble((visible(point.trace.scenario), "bold"), f"  {case}  ", (words.title(point), "bold"))
        if point.notice:
            top.append(f"\n{visible(point.notice)}", "italic")
        self.query_one("#top", Static).update(top)
        said = [f"✗ {visible(point.trace.failure)}"] if point.trace.failure else []
        self.query_one("#failure", Static).update(Text("\n".join([*said, *([visible(point.end)] if point.end else [])])))
        self.query_one("#failure").display = bool(said or point.end)
        past = self.query_one("#past", VerticalScroll)
        text = render(point.trace, max(40, past.size.width - 3), colour=True, full=True).partition("\n\n")[2]
        self.query_one("#timeline", Static).update(Text.from_ansi(text, no_wrap=True))
        past.scroll_end(animate=False)
        self._show_moves(point)
        self.query_one("#state", Static).update(_world(point))

    def _show_moves(self, point: Point) -> None:
        choices = self.query_one("#next", OptionList)
        width = max(20, choices.size.width - 6)
        choices.clear_options()
        for number, move in enumerate(point.possible, 1):
            mark = "▸" if move is point.ahead else " "
            choices.add_option(Option(Text(f"{mark}{number} {words.move(move, width)}")))
        for move in point.blocked:
            choices.add_option(Option(Text(f" – {words.move(move, 2 * width)}"), disabled=True))
        if point.possible:
            choices.highlighted = next((rank for rank, move in enumerate(point.possible) if move is point.ahead), 0)


def _world(point: Point) -> Text:
    """Return what actors hold, the rows of databases (the tables that the last step changed first), and the log."""
    text = Text("\n".join(words.held(point)))
    changed = words.changed_now(point)
    every = [(database, name) for database, tables in point.tables.items() for name in tables]
    for database, name in sorted(every, key=lambda table: table not in changed):
        table = point.tables[database][name]
        if table.rows or (database, name) in changed:
            text.append(f"\n\n{visible(name)}", "bold")
            text.append(" changed by this step" if (database, name) in changed else "", "yellow")
        for row in table.rows:
            rest = [
                f"{visible(column)}={words.cell(value)}"
                for column, value in zip(table.columns[1:], row[1:], strict=False)
                if value is not None
            ]
            text.append(f"\n{words.cell(row[0])}", "bold")
            text.append(f"  {'  '.join(cut(part, LONGEST_CELL) for part in rest)}")
    lines = words.log(point)
    if lines:
        text.append("\n\nlog", "bold")
        text.append("".join(f"\n{line}" for line in lines))
    return text
