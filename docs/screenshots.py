"""Makes the pictures in docs/images: the monitor, with the quakes workflow in a system of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from playwright.sync_api import sync_playwright

from p3s.client import Client
from p3s.settings import Home, read_running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Page

HERE = Path(__file__).resolve().parent
QUAKES = HERE.parent / "workflows" / "quakes" / "quakes.yaml"
#: Seconds for a system to start, and for the workflow to end.
LIMIT = 120.0
P3S = (sys.executable, "-m", "p3s.cli.main")


@contextmanager
def run_system(home: Path) -> Iterator[tuple[Client, str]]:
    """Run a server and three pilots in a folder of their own; give its client and its token."""
    environ = os.environ | {"P3S_HOME": str(home)}
    with (home / "up.log").open("wb") as log:
        process = subprocess.Popen(
            [*P3S, "up", "--pilots", "3", "--slots", "1", "--port", "8540"], env=environ, stderr=log
        )
        try:
            end = time.monotonic() + LIMIT
            while not (url := read_running(Home(home))):
                if process.poll() is not None or time.monotonic() > end:
                    raise RuntimeError(f"no server came up: {(home / 'up.log').read_text()}")
                time.sleep(0.2)
            subprocess.run(
                [*P3S, "workflow", "load", str(QUAKES), "--watch", "-q"], env=environ, check=True, timeout=LIMIT
            )
            token = Home(home).token_file("admin").read_text(encoding="utf-8").strip()
            # The sweeper adds up what the plots show.
            time.sleep(7)
            yield Client(url, token), token
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)


def take(page: Page, name: str, selector: str | None = None) -> None:
    """Take one picture, of the window or of a part of the page."""
    path = str(HERE / "images" / f"{name}.png")
    if selector is None:
        page.screenshot(path=path)
    else:
        page.locator(selector).screenshot(path=path)


def main() -> None:
    """Take all pictures."""
    program = shutil.which("chromium")
    if program is None:
        raise SystemExit("chromium is not installed; on Debian: apt-get install chromium")
    (HERE / "images").mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="p3s-shots-") as folder,
        sync_playwright() as playwright,
        run_system(Path(folder)) as (client, token),
    ):
        workflow = client.list_workflows().items[0].uuid
        job = next(one.uuid for one in client.list_jobs().items if one.name == "summary")
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1200, "height": 800})
        page.goto(client.url)
        page.fill("#token", token)
        page.press("#token", "Enter")
        page.wait_for_selector("#plot-hour canvas")
        take(page, "overview")
        page.goto(f"{client.url}/workflows/{workflow}")
        page.wait_for_selector("#dag .legend li")
        take(page, "graph", "section:has(> #dag)")
        take(page, "timeline", "section:has(> #timeline)")
        page.goto(f"{client.url}/jobs/{job}")
        page.wait_for_selector("pre[data-log]")
        take(page, "job")
        browser.close()


if __name__ == "__main__":
    main()
