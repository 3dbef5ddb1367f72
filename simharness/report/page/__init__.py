"""The page: executions as one HTML file, to look at and to step through in a browser.

It is made from the entries that `--json` writes and the files in this folder. It makes no network requests (its content security
policy forbids them); without scripts it shows the same timelines as text. No text in it is read as HTML. What is not visible in a text
(`simharness.visible`) is escaped in the data, and shown as an escape: `data.js` makes all texts visible where it reads them.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from simharness.visible import escaped, visible, visible_lines

Entry = Mapping[str, Any]
"""A result as `json_report.entry` returns it, or an execution as `html_report.executed` does."""

_FILES = {"/*STYLE*/": ("page.css",), "/*SCRIPT*/": ("data.js", "diagram.js", "world.js", "page.js")}
"""Marks in the template, and the files whose texts stand there."""


def page(entries: Sequence[Entry], title: str = "") -> str:
    """Return a page that shows these results or executions, with a list to choose from when there are several.

    Args:
        entries: each may also have `command`, which repeats it, `timeline`, its text, and `notes`: pairs of a heading and its lines.
        title: of the page; by default the failure of the first execution that fails.
    """
    folder = files(__name__)
    first = next((entry["counterexample"]["failure"] for entry in entries if entry.get("counterexample")), None)
    title = visible(title)
    said = title or (f"{visible(entries[0]['scenario'])}: {visible(first)}" if first else "simharness")
    texts = {mark: "\n".join((folder / name).read_text(encoding="utf-8") for name in names) for mark, names in _FILES.items()}
    texts["<!--TITLE-->"] = html.escape(said)
    texts["<!--PLAIN-->"] = _plain(entries)
    texts["{/*DATA*/}"] = _embedded({"title": title, "cases": list(entries)})
    template = (folder / "page.html").read_text(encoding="utf-8")
    return re.sub("|".join(map(re.escape, texts)), lambda mark: texts[mark.group()], template)


def _embedded(value: Mapping[str, Any]) -> str:
    """Return JSON that ends no element of the page early, whatever texts it holds."""
    return escaped(json.dumps(value, ensure_ascii=False, separators=(",", ":"))).replace("<", "\\u003c")


def _plain(entries: Sequence[Entry]) -> str:
    """Return the timelines as text, for a browser that runs no scripts."""
    texts = [f"{entry['scenario']}\n\n{entry['timeline']}" for entry in entries if entry.get("timeline")]
    return html.escape(visible_lines("\n\n\n".join(texts)))
