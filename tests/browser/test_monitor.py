"""The monitor in a real browser, before a real server and pilot."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import expect, sync_playwright

from tests.acceptance.support import call
from tests.support.programs import lack, need_program
from tests.support.servers import System, wait_until

AXE = Path(__file__).parent.parent.parent / ".venv" / "axe.js"
BUILT = Path(__file__).parent.parent.parent / "p3s" / "server" / "static" / "built" / "stamp"
# What a page shows within a second on a quiet machine.
expect.set_options(timeout=30_000)
pytestmark = [pytest.mark.processes, pytest.mark.xdist_group("browser"), pytest.mark.timeout(240)]

GATED = """\
name: gated
jobs:
  first: {{outputs: {{x: x.txt}}, run: 'until [ -e {gate} ]; do sleep 0.1; done; echo opened; echo done > "$x"'}}
  part: {{matrix: {{n: ["1", "2", "3"]}}, inputs: [x], outputs: {{y: "y-${{{{ matrix.n }}}}"}}, run: cp "$x" "$y"}}
  last: {{inputs: {{y: all}}, run: "echo said; test -e {mended}"}}
"""


@pytest.fixture(scope="module")
def browser():
    program = need_program("chromium")
    if not BUILT.exists():
        lack("the monitor's assets were not fetched (make assets)")
    with sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-background-networking", "--disable-gpu"]
        found = playwright.chromium.launch(executable_path=program, args=options)
        yield found
        found.close()


@pytest.fixture(scope="module")
def farm(tmp_path_factory):
    system = System(tmp_path_factory.mktemp("browser"))
    try:
        system.start_server()
        system.start_pilot("--slots", "4")
        wait_until(lambda: system.client.list_pilots(live=True).items, 30, "the pilot")
        yield system
    finally:
        system.stop()


def open_page(browser, farm, *, width=1400, theme="light", **options):
    """Return a page of somebody who has logged in, and the list of what went wrong on it."""
    view = {"viewport": {"width": width, "height": 900}, "color_scheme": theme, "reduced_motion": "reduce"}
    context = browser.new_context(**view, **options)
    page = context.new_page()
    page.set_default_timeout(30_000)
    page.goto(farm.url)
    page.fill("#token", (farm.home / "admin.token").read_text().strip())
    page.press("#token", "Enter")
    expect(page.locator("#live")).to_be_visible()
    # With its scripts: without them it cannot tell that its server has gone.
    page.wait_for_load_state("load")
    wrong: list[str] = []
    page.on("console", lambda message: wrong.append(message.text) if message.type in {"error", "warning"} else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    return page, wrong


def test_refused_without_a_token(browser, farm):
    """Nobody sees a page without a token, or with a wrong one."""
    page = browser.new_page()
    page.goto(f"{farm.url}/jobs")
    page.fill("#token", "p3s_wrong")
    page.press("#token", "Enter")
    expect(page.get_by_role("alert")).to_be_visible()
    assert page.locator("#live").count() == 0


def test_a_workflow_from_waiting_to_finished(browser, farm, tmp_path):
    """Without a reload: it runs, its log follows, a job fails, is retried from its page, and all is finished."""
    gate, mended = tmp_path / "gate", tmp_path / "mended"
    file = farm.write("gated.yaml", GATED.format(gate=gate, mended=mended))
    ident = call(farm, "workflow", "load", str(file), "-q").stdout.strip()
    page, wrong = open_page(browser, farm)
    page.goto(f"{farm.url}/workflows/{ident}")
    page.evaluate("window.same = true")
    lead = page.locator("p.lead")
    expect(lead).to_contain_text("running")
    # The graph is drawn, and a job opens by a click on it.
    expect(page.locator("#dag .legend")).to_contain_text("running")
    expect(page.locator("#timeline svg a")).to_have_count(1)
    page.fill("#dag input[type=search]", "first")
    page.press("#dag input[type=search]", "Enter")
    page.wait_for_url("**/jobs/*")
    page.go_back()
    page.evaluate("window.same = true")
    job = call(farm, "job", "show", f"{ident}/first", "-q").stdout.strip()
    follower, wrong_there = open_page(browser, farm)
    follower.goto(f"{farm.url}/jobs/{job}")
    gate.touch()
    expect(follower.locator("pre[data-log*=stdout]")).to_contain_text("opened")
    expect(lead).to_contain_text("failed", timeout=45_000)
    assert page.evaluate("window.same"), "the page was not loaded again"
    # Retried from the job's own page.
    mended.touch()
    bad = call(farm, "job", "show", f"{ident}/last", "-q").stdout.strip()
    follower.goto(f"{farm.url}/jobs/{bad}")
    follower.get_by_role("button", name="Retry").first.click()
    expect(lead).to_contain_text("finished", timeout=45_000)
    expect(page.locator("#dag .legend")).not_to_contain_text("failed")
    assert page.evaluate("window.same")
    assert wrong == wrong_there == []


def test_a_list_is_filtered_and_exported(browser, farm):
    """A filter stands in the address, and what is exported is what is shown."""
    text = 'name: mixed\njobs:\n  sweet: {run: "true"}\n  sour: {run: "false"}\n'
    call(farm, "workflow", "load", str(farm.write("mixed.yaml", text)), "--watch", "-q", check=1)
    page, wrong = open_page(browser, farm)
    page.goto(f"{farm.url}/jobs")
    page.select_option("select[name=state]", "failed")
    page.get_by_role("button", name="Filter").click()
    page.wait_for_url("**state=failed*")
    expect(page.locator("tbody")).to_contain_text("sour")
    expect(page.locator("tbody")).not_to_contain_text("sweet")
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV").click()
    exported = Path(download.value.path()).read_text()
    assert "sour" in exported
    assert "sweet" not in exported
    assert wrong == []


NUMBERS = """\
name: numbers
params: {run: {type: str, required: true}}
results: [sum]
jobs:
  count: {outputs: {sum: sum.json}, run: 'echo "{\\"hits\\": $run}" > "$sum"'}
"""


def test_numbers_of_results_are_plotted(browser, farm):
    """The page of a DAG's results plots a number of its JSON results against a param."""
    file = str(farm.write("numbers.yaml", NUMBERS))
    for run in ("3", "5"):
        call(farm, "workflow", "load", file, "-p", f"run={run}", "--watch", "-q", check=0)
    page, wrong = open_page(browser, farm)
    page.goto(f"{farm.url}/results?dag=numbers")
    page.fill("input[name=number]", "hits")
    page.fill("input[name=x]", "run")
    page.get_by_role("button", name="Filter").click()
    page.wait_for_url("**number=hits*")
    expect(page.locator("#plot-results canvas")).to_be_visible()
    expect(page.locator("#plot-results")).to_contain_text("hits against run")
    assert wrong == []


def test_the_api_is_described(browser, farm):
    """The page of the API lists each call, loads nothing from elsewhere, and tries one without showing the token."""
    page, wrong = open_page(browser, farm)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.locator("footer a", has_text="API").click()
    document = page.request.get(f"{farm.url}/api/v1/openapi.json").json()
    expect(page.locator(".opblock")).to_have_count(sum(len(found) for found in document["paths"].values()))
    page.locator("#operations-tokens-list_tokens .opblock-summary-control").click()
    page.get_by_role("button", name="Authorize").first.click()
    token = (farm.home / "admin.token").read_text().strip()
    page.locator(".modal-ux input").fill(token)
    page.locator(".modal-ux .authorize").click()
    page.locator(".modal-ux .btn-done").click()
    page.get_by_role("button", name="Try it out").click()
    page.get_by_role("button", name="Execute").click()
    expect(page.locator(".live-responses-table .response-col_status").last).to_contain_text("200")
    assert token not in page.content()
    assert [url for url in asked if not url.startswith(farm.url)] == []
    assert wrong == []


def test_the_first_screen_of_a_phone(browser, tmp_path):
    """On a phone the overview's first screen has the search, the verdict and all four tiles, and all pages' names."""
    system = System(tmp_path)
    try:
        system.start_server()
        page, wrong = open_page(browser, system, width=400)
        for place in ("input[type=search]", ".verdict", ".tile >> nth=3", "nav[aria-label=Pages] li:last-child"):
            box = page.locator(place).bounding_box()
            assert box["x"] >= 0, place
            assert (box["x"] + box["width"] <= 400, box["y"] + box["height"] <= 900) == (True, True), (place, box)
        assert wrong == []
    finally:
        system.stop()


def test_fingers_zoom_the_graph_and_open_jobs(browser, farm):
    """Two fingers zoom a graph and not the page; a tap on a job opens its page."""
    text = 'name: touched\njobs: {only: {run: "true"}}\n'
    ident = call(farm, "workflow", "load", str(farm.write("touched.yaml", text)), "--watch", "-q").stdout.split()[0]
    page, wrong = open_page(browser, farm, width=400, has_touch=True)
    page.goto(f"{farm.url}/workflows/{ident}")
    expect(page.locator("#dag .legend")).to_contain_text("finished")
    canvas = page.locator("#dag .canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    before = canvas.screenshot()
    session = page.context.new_cdp_session(page)
    for kind, apart in (("touchStart", 20), ("touchMove", 40), ("touchMove", 60), ("touchEnd", None)):
        points = [] if apart is None else [{"x": x - apart, "y": y, "id": 0}, {"x": x + apart, "y": y, "id": 1}]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    for _ in range(100):
        if canvas.screenshot() != before:
            break
    assert canvas.screenshot() != before
    assert page.evaluate("visualViewport.scale") == 1
    page.touchscreen.tap(x, y)
    page.wait_for_url("**/jobs/*")
    assert wrong == []


def test_pages_work_without_scripts(browser, farm):
    """Filters, pages, exports and forms work without scripts; what only scripts draw says so, without dead buttons."""
    text = (
        'name: plain\njobs:\n  sour: {run: "false"}\n  late: {needs: [sour], run: "true"}\n  still: {run: sleep 60}\n'
    )
    ident = call(farm, "workflow", "load", str(farm.write("plain.yaml", text)), "-q").stdout.strip()
    wait_until(lambda: farm.client.show_job(f"{ident}/sour").state == "failed", 30, "the failed job")
    page, _ = open_page(browser, farm, java_script_enabled=False)
    page.goto(f"{farm.url}/jobs?limit=1")
    first = page.locator("tbody a").first.get_attribute("href")
    page.get_by_role("link", name="Older").click()
    assert page.locator("tbody a").first.get_attribute("href") != first
    page.goto(f"{farm.url}/workflows/{ident}")
    expect(page.locator("#dag")).to_contain_text(f"p3s workflow graph {ident[:8]}")
    assert page.locator("#dag button, #timeline button, #live button:not(form button)").count() == 0
    page.select_option("select[name=state]", "failed")
    page.get_by_role("button", name="Filter").click()
    page.wait_for_url("**state=failed*")
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV").first.click()
    exported = Path(download.value.path()).read_text()
    assert ("sour" in exported, "still" in exported) == (True, False)
    page.get_by_role("link", name="sour").click()
    expect(page.locator("p.lead")).to_contain_text("failed")
    page.get_by_role("button", name="Retry").click()
    expect(page.locator("p.told")).to_be_visible()
    page.goto(f"{farm.url}/workflows/{ident}")
    page.locator("summary", has_text="Cancel").click()
    page.get_by_role("button", name="Yes, cancel it").click()
    expect(page.locator("p.told")).to_contain_text("cancelled")
    page.goto(f"{farm.url}/jobs/ffffffff")
    expect(page.get_by_role("alert")).to_contain_text("No job 'ffffffff'")
    expect(page.locator("nav[aria-label=Pages]")).to_be_visible()
    page.goto(f"{farm.url}/")
    page.get_by_role("button", name="Log out").click()
    expect(page.locator("#token")).to_be_visible()


def test_a_lost_server_greys_the_page(browser, tmp_path):
    """A page says that its server is lost, and how old it is; once the server is back the page is as before."""
    system = System(tmp_path)
    try:
        system.start_server()
        page, _ = open_page(browser, system)
        system.stop_server()
        expect(page.locator("#lost")).to_contain_text("does not answer")
        expect(page.locator("html")).to_have_class("lost")
        system.start_server()
        expect(page.locator("#lost")).to_have_count(0)
    finally:
        system.stop()


#: Rules of axe-core that look at colours and sizes: asked again in each theme, at each width.
LOOKS = ["color-contrast", "link-in-text-block", "scrollable-region-focusable", "target-size"]
#: Widths and themes beside the first one, which all rules are asked in.
OTHERS = [(1400, "dark"), (400, "dark"), (400, "light")]


def list_names(farm):
    """Return the addresses of all pages: lists, one thing of each kind, a search."""
    # The second name is longer than its bar in the timeline.
    text = "name: one\nresults: [x]\njobs:\n  a: {outputs: {x: x.json}, run: 'sleep 2; echo 1 > $x'}\n"
    text += "  a_name_that_is_cut_where_it_stands_in_the_timeline: {inputs: [x], run: sleep 0.2}\n"
    call(farm, "workflow", "load", str(farm.write("one.yaml", text)), "--watch", "-q", check=0)
    client = farm.client
    workflow = client.list_workflows().items[0].uuid
    job = client.list_jobs().items[0].uuid
    pilot = client.list_pilots().items[0].uuid
    dataset = client.list_datasets().items[0].uuid
    lists = (
        "",
        "workflows",
        "archive",
        "jobs",
        "pilots",
        "datasets",
        "dags",
        "events",
        "results",
        "services",
        "jobtypes",
        "files",
    )
    things = (f"workflows/{workflow}", f"jobs/{job}", f"jobs/{job}?attempt=1", f"pilots/{pilot}", f"datasets/{dataset}")
    return (*lists, "hosts", "sites", "datatypes", *things, "dags/one", "search?q=one", "workflows?state=failed")


def test_pages_are_accessible(browser, farm):
    """On no page does axe-core find a serious violation, the console an error, or the width a page wider than it."""
    if not AXE.exists():
        lack("axe-core was not fetched (make assets)")
    page, wrong = open_page(browser, farm)
    for name in list_names(farm):
        page.set_viewport_size({"width": 1400, "height": 900})
        page.emulate_media(color_scheme="light")
        page.goto(f"{farm.url}/{name}")
        if name.startswith("workflows/"):
            expect(page.locator("#dag .legend li").first).to_be_visible()
        page.evaluate(AXE.read_text())
        assert find_serious(page, None) == [], f"/{name}"
        for width, theme in OTHERS:
            page.set_viewport_size({"width": width, "height": 900})
            page.emulate_media(color_scheme=theme, reduced_motion="reduce")
            assert find_serious(page, LOOKS) == [], f"/{name}, {theme}, {width} pixels"
            over = page.evaluate("document.documentElement.scrollWidth - innerWidth")
            assert over <= 0, f"/{name} is {over} pixels wider than a window of {width}"
        assert wrong == [], f"/{name}"


def find_serious(page, rules):
    """Return what axe-core finds serious: the rule, and where."""
    options = {} if rules is None else {"runOnly": {"type": "rule", "values": rules}}
    found = page.evaluate("(options) => axe.run(options).then((all) => all.violations)", options)
    return [
        (one["id"], [node["html"][:120] for node in one["nodes"]][:3])
        for one in found
        if one["impact"] in {"serious", "critical"}
    ]


def test_a_keyboard_is_enough(browser, farm):
    """Without a mouse: past the header, through a filter, to a job, and to what asks twice."""
    text = 'name: keys\njobs: {stays: {run: "sleep 60"}}\n'
    ident = call(farm, "workflow", "load", str(farm.write("keys.yaml", text)), "-q").stdout.strip()
    page, wrong = open_page(browser, farm)
    page.goto(f"{farm.url}/workflows")
    page.keyboard.press("Tab")
    expect(page.locator("a.skip")).to_be_focused()
    page.keyboard.press("Enter")
    # Past the names of the pages beside this one.
    for _ in range(4):
        if page.locator("select[name=state]:focus").count():
            break
        page.keyboard.press("Tab")
    expect(page.locator("select[name=state]")).to_be_focused()
    page.keyboard.type("run")
    page.keyboard.press("Enter")
    for _ in range(12):
        if page.locator("button:text-is('Filter'):focus").count():
            break
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url("**state=running*")
    page.goto(f"{farm.url}/workflows/{ident}")
    asks = page.locator("summary", has_text="Cancel")
    asks.focus()
    page.keyboard.press("Enter")
    sure = page.get_by_role("button", name="Yes, cancel it").first
    expect(sure).to_be_visible()
    page.keyboard.press("Tab")
    expect(sure).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("p.told")).to_contain_text("cancelled")
    assert wrong == []
