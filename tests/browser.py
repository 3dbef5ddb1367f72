"""A headless Chromium for tests, driven by its DevTools protocol through a pipe: no driver, no port, nothing to install beside it."""

import base64
import fcntl
import itertools
import json
import os
import select
import shutil
import signal
import tempfile
import time
from pathlib import Path

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--force-color-profile=srgb",
    "--remote-debugging-pipe",
]
KEYS = {"ArrowRight": 39, "ArrowLeft": 37, "ArrowDown": 40, "ArrowUp": 38, "Home": 36, "End": 35, "Tab": 9, "Enter": 13, " ": 32}
SLOW = 60


def chromium():
    """Return the browser's path, or None."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


class Browser:
    """One browser with one page; use as a context."""

    def __init__(self, width=1280, height=900):
        self._numbers = itertools.count(1)
        self._buffer = b""
        self.events = []
        self.size = (width, height)

    def __enter__(self):
        self._profile = tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True)
        to_browser, from_us = os.pipe()
        from_browser, to_us = os.pipe()
        self._in, self._out = from_us, from_browser

        command = [chromium(), *FLAGS, f"--user-data-dir={self._profile.name}", "about:blank"]
        theirs = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in (to_browser, to_us)]
        nowhere = os.open(os.devnull, os.O_RDWR)
        becomes = zip((theirs[0], theirs[1], nowhere, nowhere), (3, 4, 1, 2), strict=True)
        actions = [(os.POSIX_SPAWN_DUP2, end, number) for end, number in becomes]
        self._process = os.posix_spawn(command[0], command, os.environ, file_actions=actions)
        for end in (to_browser, to_us, nowhere, *theirs):
            os.close(end)
        targets = self("Target.getTargets", page=False)["targetInfos"]
        target = next(found["targetId"] for found in targets if found["type"] == "page")
        self._session = self("Target.attachToTarget", page=False, targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self(f"{domain}.enable")
        self.resize(*self.size)
        return self

    def __exit__(self, *_):
        os.kill(self._process, signal.SIGKILL)
        os.waitpid(self._process, 0)
        os.close(self._in)
        os.close(self._out)
        self._profile.cleanup()

    def __call__(self, method, page=True, **parameters):
        """Send a command; return its result."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if page:
            message["sessionId"] = self._session
        os.write(self._in, json.dumps(message).encode() + b"\0")
        while True:
            told = self._read()
            if told.get("id") == number:
                if "error" in told:
                    raise AssertionError(f"{method}: {told['error']['message']}")
                return told["result"]
            self.events.append(told)

    def _read(self):
        end = time.monotonic() + SLOW
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._out], [], [], max(0, end - time.monotonic()))
            if not ready:
                raise AssertionError("the browser does not answer")
            self._buffer += os.read(self._out, 1 << 16)
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def open(self, file):
        """Show a file, and return when its scripts have run."""
        for url in ("about:blank", Path(file).as_uri()):
            self.events.clear()
            self("Page.navigate", url=url)
            while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
                self.events.append(self._read())

    def run(self, script):
        """Return what an expression comes to in the page; a promise is awaited."""
        told = self("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in told, told["exceptionDetails"]
        return told["result"].get("value")

    def press(self, key):
        """Press and release a key."""
        text = {"text": key} if len(key) == 1 else {}
        code = KEYS.get(key, ord(key[0].upper()))
        self("Input.dispatchKeyEvent", type="keyDown", key=key, windowsVirtualKeyCode=code, **text)
        self("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code)

    def click(self, selector):
        """Click into the middle of an element, once nothing moves it any more."""
        box = self.run(
            f"(async () => {{ const e = document.querySelector({selector!r}); e.scrollIntoView({{block: 'center', behavior: 'instant'}});"
            " const place = () => { const b = e.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]; };"
            " const frame = () => new Promise((done) => requestAnimationFrame(done));"
            " for (let last = null, now = place(); `${last}` !== `${now}`; now = place()) { last = now; await frame(); await frame(); }"
            " return place(); })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self("Input.dispatchMouseEvent", type=kind, x=box[0], y=box[1], button="left", clickCount=1)

    def resize(self, width, height):
        """Change the size of the window."""
        self("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def prefer(self, scheme):
        """Prefer light or dark colours."""
        self("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def names(self):
        """Return (role, name) of everything in the accessibility tree."""
        nodes = self("Accessibility.getFullAXTree")["nodes"]
        return [
            (node["role"]["value"], node.get("name", {}).get("value", ""))
            for node in nodes
            if not node.get("ignored") and node.get("role", {}).get("type") == "role"
        ]

    def requests(self):
        """Return the addresses that the page has asked for since it was opened."""
        return [event["params"]["request"]["url"] for event in self.events if event.get("method") == "Network.requestWillBeSent"]

    def complaints(self):
        """Return what the page has written to its console, and its errors."""
        return [
            event
            for event in self.events
            if event.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled")
        ]

    def picture(self, file, whole=False):
        """Write what is to be seen, or the whole page, into a PNG file."""
        told = self("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        Path(file).write_bytes(base64.b64decode(told["data"]))
