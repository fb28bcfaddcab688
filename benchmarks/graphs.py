"""How long a browser takes to draw the graph of a large workflow, and whether its page can be used then.

``python -m benchmarks.graphs --nodes 1000 --nodes 5000`` starts a server, loads for each size a workflow of families
and one in which each job has a name of its own, and opens their pages in Chromium. It times what a viewer does: open
the page, open all families, mark what fits a text, zoom, drag, and open a job by a click.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from playwright.sync_api import sync_playwright

from tests.support.servers import System

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import CDPSession, Page

__all__ = ["main", "make_text", "measure"]

#: The family that a click opens where families are closed.
FAMILY = "step3"
#: Layers of a workflow; a job and what it makes are two nodes.
LAYERS = 8
#: Seconds for one drawing.
LIMIT = 100
HEAD = "| nodes | names | drawn, s | longest freeze, s | heap, MB | search, ms | zoom, ms | drag, ms | click, ms |\n"
#: Keeps how long the page stood still, at most.
WATCH = """
window.longest = 0;
new PerformanceObserver((list) => {
  for (const one of list.getEntries()) window.longest = Math.max(window.longest, one.duration);
}).observe({ type: "longtask", buffered: true });
"""
#: Waits until what was done is painted.
PAINTED = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"


def make_text(nodes: int, *, has_families: bool) -> str:
    """Return a workflow of about so many jobs and data in layers; each job reads what two of the layer before make."""
    width = max(1, nodes // 2 // LAYERS)
    lines = ["name: graph", "jobs:"]
    for layer in range(LAYERS):
        run = "run: 'true'"
        if has_families:
            axis = ", ".join(f'"{number:05}"' for number in range(width))
            reads = f"inputs: [d{layer - 1}], " if layer else ""
            made = f'd{layer}: "d{layer}-${{{{ matrix.n }}}}"'
            lines.append(f"  step{layer}: {{matrix: {{n: [{axis}]}}, {reads}outputs: {{{made}}}, {run}}}")
            continue
        for number in range(width):
            before = sorted({number, (number + 1) % width})
            reads = ", ".join(f"d{layer - 1}_{one}" for one in before)
            inputs = f"inputs: [{reads}], " if layer else ""
            lines.append(f"  step{layer}_{number:05}: {{{inputs}outputs: {{d{layer}_{number}: x}}, {run}}}")
    return "\n".join(lines) + "\n"


def measure(page: Page, browser: CDPSession, address: str, job: str, *, opens: bool) -> str:
    """Open a workflow's page, use its graph, and return what it took as cells of a table."""
    page.goto("about:blank")
    start = time.perf_counter()
    page.goto(address, wait_until="commit")
    _wait_until_drawn(page)
    if opens:
        page.evaluate("window.longest = 0")
        start = time.perf_counter()
        page.locator("#dag button", has_text="Open families").click()
        page.locator("#dag button", has_text="Close families").wait_for()
        _wait_until_drawn(page)
    cells = [f"{time.perf_counter() - start:.1f}"]
    told = page.locator("#dag [role=status]").text_content() or ""
    if told:
        return f"{told} |"
    cells.append(f"{page.evaluate('window.longest') / 1000:.1f}")
    browser.send("HeapProfiler.collectGarbage")
    cells.append(f"{page.evaluate('performance.memory.usedJSHeapSize') / 1e6:.0f}")
    find = page.locator("#dag input[type=search]")
    page.locator("#dag .canvas").scroll_into_view_if_needed()
    box = page.locator("#dag .canvas").bounding_box()
    assert box is not None
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)

    def drag() -> None:
        page.mouse.move(*middle)
        page.mouse.down()
        page.mouse.move(middle[0] - 40, middle[1], steps=2)
        page.mouse.up()

    def click() -> None:
        find.press("Enter")
        if job == FAMILY:
            page.wait_for_function("document.querySelector('#dag .tools button').textContent === 'Close families'")
        else:
            page.wait_for_url("**/jobs/*", wait_until="commit")

    acts = (
        lambda: find.fill("step1"),
        lambda: page.locator("#dag button[aria-label='Zoom out']").click(),
        drag,
    )
    cells += [_time(page, act) for act in acts]
    # A family closed is one node, which a click opens.
    find.fill(job)
    page.evaluate(PAINTED)
    start = time.perf_counter()
    click()
    cells.append(f"{(time.perf_counter() - start) * 1000:.0f}")
    return " | ".join(cells) + " |"


def _time(page: Page, act: Callable[[], None]) -> str:
    start = time.perf_counter()
    act()
    page.evaluate(PAINTED)
    return f"{(time.perf_counter() - start) * 1000:.0f}"


def _wait_until_drawn(page: Page) -> None:
    """Wait until the states are told, which happens after all is drawn, or until it is said why there is no drawing."""
    page.wait_for_function(
        """() => {
            const told = document.querySelector('#dag [role=status]');
            const isOver = told !== null && (told.hidden || !told.textContent.endsWith('…'));
            return isOver && (document.querySelector('#dag .legend li') !== null || told.textContent !== '');
        }""",
        timeout=LIMIT * 1000,
    )
    page.evaluate(PAINTED)


def main() -> None:
    """Load, open, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.graphs", description="graphs in a real browser")
    parser.add_argument("--nodes", type=int, action="append", help="jobs and data; may be repeated")
    parser.add_argument("--shape", choices=("families", "single"), action="append", help="by default both")
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    program = shutil.which("chromium")
    if program is None:
        raise SystemExit("chromium is not installed; on Debian: apt-get install chromium")
    folder = Path(tempfile.mkdtemp(prefix="p3s-bench-"))
    system = System(folder)
    try:
        system.start_server()
        token = (system.home / "admin.token").read_text().strip()
        with sync_playwright() as playwright:
            options = ["--no-sandbox", "--disable-gpu", "--enable-precise-memory-info"]
            browser = playwright.chromium.launch(executable_path=program, args=options)
            # Waiting for a condition is a script that the page's policy would refuse.
            page = browser.new_page(viewport={"width": 1400, "height": 900}, bypass_csp=True)
            page.set_default_timeout(LIMIT * 1000)
            page.add_init_script(WATCH)
            session = page.context.new_cdp_session(page)
            page.goto(system.url)
            page.fill("#token", token)
            page.press("#token", "Enter")
            page.wait_for_selector("#live")
            sys.stdout.write(HEAD + "| --- " * 9 + "|\n")
            for nodes in chosen.nodes or [1000]:
                for shape in chosen.shape or ("families", "single"):
                    text = make_text(nodes, has_families=shape == "families")
                    file = system.write(f"{shape}{nodes}.yaml", text)
                    ident = system.run("workflow", "load", str(file), "-q").stdout.strip()
                    for opens in (False, True) if shape == "families" else (False,):
                        what = "its own" if shape == "single" else "families, all opened" if opens else "families"
                        job = "step3_00001" if shape == "single" else "step3-00001" if opens else FAMILY
                        told = measure(page, session, f"{system.url}/workflows/{ident}", job, opens=opens)
                        sys.stdout.write(f"| {nodes:,} | {what} | {told}\n")
                        sys.stdout.flush()
            browser.close()
    finally:
        system.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
