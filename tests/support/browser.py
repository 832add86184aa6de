"""A real browser, driven over its debugging pipe: pages from disk, JavaScript asked in them, pictures of them."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import tempfile
import time
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGS: Final = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--hide-scrollbars",
    "--window-size=1280,800",
    "--remote-debugging-pipe",
)
PATIENCE_S: Final = 30.0


def find_browser() -> str | None:
    """The program, or none."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Browser:
    """One headless Chromium with one tab; the protocol is JSON with a NUL behind each message."""

    def __init__(self, program: str, profile: str) -> None:
        its_input, self._commands = os.pipe()
        self._replies, its_output = os.pipe()
        # Chromium reads its commands from descriptor 3 and writes to descriptor 4.
        shell = f'exec "$@" 3<&{its_input} 4>&{its_output}'
        self._process = subprocess.Popen(
            ["bash", "-c", shell, "bash", program, *ARGS, f"--user-data-dir={profile}"],
            pass_fds=(its_input, its_output),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(its_input)
        os.close(its_output)
        self._number, self._read = 0, b""
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session: str | None = None
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.ask("Emulation.setDeviceMetricsOverride", width=1280, height=800, deviceScaleFactor=1, mobile=False)

    _session: str | None = None

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """One command of the DevTools protocol, and its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            reply = self._next()
            if reply.get("id") == self._number:
                assert "error" not in reply, reply
                result: dict[str, Any] = reply["result"]
                return result

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._read:
            data = os.read(self._replies, 1 << 20)
            assert data, "the browser is gone"
            self._read += data
        message, _, self._read = self._read.partition(b"\0")
        reply: dict[str, Any] = json.loads(message)
        return reply

    def open(self, page: Path, fragment: str = "") -> None:
        """Open a page from disk and wait until it has drawn itself."""
        self.ask("Page.navigate", url="about:blank")
        self.ask("Page.navigate", url=page.as_uri() + (f"#{fragment}" if fragment else ""))
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            if self.run("(({ready, problem}) => ready || problem || '')(document.documentElement?.dataset ?? {})"):
                return
        pytest.fail(f"{page} did not open within {PATIENCE_S:.0f} s")

    def run(self, code: str) -> Any:
        """The value of an expression, awaited."""
        done = self.ask("Runtime.evaluate", expression=code, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def key(self, key: str, text: str | None = None) -> None:
        """Press a key."""
        self.ask("Input.dispatchKeyEvent", type="keyDown", key=key, **({"text": text} if text else {}))
        self.ask("Input.dispatchKeyEvent", type="keyUp", key=key)

    def click(self, x: float, y: float) -> None:
        """Click somewhere."""
        for kind in ("mousePressed", "mouseReleased"):
            self.ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1)

    def picture(self, path: Path) -> None:
        """Write what is seen as PNG."""
        path.write_bytes(base64.b64decode(self.ask("Page.captureScreenshot", format="png")["data"]))

    def close(self) -> None:
        """End it."""
        os.close(self._commands)
        os.close(self._replies)
        self._process.kill()
        self._process.wait()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A headless Chromium; the test is skipped where there is none."""
    program = find_browser()
    if program is None:
        pytest.skip("no Chromium here: the page is not tested (apt-get install chromium)")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        running = Browser(program, profile)
        yield running
        running.close()
