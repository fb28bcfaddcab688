"""The fan-in: all days, some days, no day."""

import json
import re
from html.parser import HTMLParser

import pytest

VOID = {"meta", "br", "img", "hr", "input", "link"}


class Balance(HTMLParser):
    """Checks that every element is closed in order, and collects the text."""

    def __init__(self):
        super().__init__()
        self.open, self.words = [], []

    def handle_starttag(self, tag, attrs):
        """Remember an element that must be closed."""
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        """Check that the innermost open element is closed."""
        assert self.open.pop() == tag, f"</{tag}> at {self.getpos()}"

    def handle_data(self, data):
        """Keep the text that a reader sees."""
        if "style" not in self.open:
            self.words.append(data)


def read_page(path):
    """Return the page's text, spaces made single, after checking that its elements balance."""
    parser = Balance()
    parser.feed(path.read_text(encoding="utf-8"))
    parser.close()
    assert parser.open == []
    return re.sub(r"\s+", " ", "".join(parser.words))


@pytest.fixture
def run_week(run_script, quakes, tmp_path):
    """Return a function that runs the daily payloads, then the summary on what it is told to let arrive."""

    def run(days, without=(), manifest=None):
        lists = {}
        for name, suffix in (("monitor", "json"), ("spectrum", "json"), ("evdisp", "svg")):
            made = []
            for day in days:
                if (day, name) in without:
                    continue
                target = tmp_path / f"{name}-{day}.{suffix}"
                done = run_script(f"{name}.py", quakes / f"data/quakes-{day}.geojson", target)
                assert done.returncode == 0, done.stderr
                made.append(f"{target}\n")
            lists[name] = tmp_path / f"{name}.list"
            lists[name].write_text("".join(made))
        env = {}
        if manifest is not None:
            (tmp_path / "manifest.json").write_text(json.dumps(manifest))
            env["P3S_MANIFEST"] = str(tmp_path / "manifest.json")
        results = tmp_path / "summary.json", tmp_path / "report.html"
        return run_script("summary.py", *lists.values(), *results, **env)

    return run


def test_whole_week_is_merged(run_week, quakes, tmp_path):
    """All days together give 1,707 events, pooled relations that add up, and a page with every map."""
    days = [path.stem.removeprefix("quakes-") for path in sorted((quakes / "data").glob("*.geojson"))]
    done = run_week(days)
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["missing"] == {}
    assert summary["totals"]["events"] == 1707
    assert summary["totals"]["possible_duplicates"] == 1
    assert [row["day"] for row in summary["days"]] == days
    relation = summary["relation"]
    assert sum(row["count"] for row in relation["bins"]) == 1707 - 28
    assert sum(row["magnitudes"] for row in summary["networks"].values()) == 1707 - 28
    assert relation["estimate"]["b_value"] == pytest.approx(0.34, abs=0.01)
    assert summary["networks"]["us"]["completeness"] == 4.7
    assert summary["networks"]["us"]["b_value"] == pytest.approx(0.89, abs=0.01)
    page = read_page(tmp_path / "report.html")
    assert "All 8 days are complete." in page
    assert all(f"Earthquakes of {day}, UTC" in page for day in days)


def test_page_needs_nothing_from_elsewhere(run_week, tmp_path):
    """The report loads no script, style, font or picture, and adapts to narrow and dark screens."""
    assert run_week(["2018-02-07"]).returncode == 0
    text = (tmp_path / "report.html").read_text()
    assert not re.search(r"<script|<link|<img|src=|@import|url\((?!#)|href=", text)
    assert "prefers-color-scheme: dark" in text
    assert "max-width: 560px" in text
    assert "$" not in text


def test_missing_parts_are_named(run_week, tmp_path):
    """A day without its spectrum, and one without anything, are named in every result."""
    manifest = {"missing": [{"dataset": "maps", "axes": {"day": "quakes-2018-02-07"}}]}
    done = run_week(["2018-02-05", "2018-02-06"], {("2018-02-06", "spectrum")}, manifest)
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["missing"] == {"2018-02-06": ["spectrum"], "2018-02-07": ["monitoring", "spectrum", "map"]}
    assert summary["totals"]["complete_days"] == 1
    assert summary["relation"]["days_used"] == ["2018-02-05"]
    page = read_page(tmp_path / "report.html")
    assert "2018-02-06: no spectrum" in page
    assert "2018-02-07: the whole day" in page
    assert "2018-02-07: map missing" in page
    assert "days are complete" not in page
    assert "2018-02-06: no spectrum" in done.stdout


def test_a_gap_in_the_calendar_is_a_missing_day(run_week, tmp_path):
    """A day between two others that had no file at all is missing, too."""
    assert run_week(["2018-02-05", "2018-02-07"]).returncode == 0
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert list(summary["missing"]) == ["2018-02-06"]


@pytest.mark.parametrize("name", ["monitor", "spectrum", "evdisp"])
def test_one_collection_alone_is_enough(run_week, tmp_path, name):
    """The report is made even if all members of two collections are missing."""
    others = {("2018-02-07", other) for other in ("monitor", "spectrum", "evdisp") if other != name}
    done = run_week(["2018-02-07"], others)
    assert done.returncode == 0, done.stderr
    assert "0 of 1 days are complete" in done.stdout
    read_page(tmp_path / "report.html")


def test_nothing_at_all_is_an_error(run_week, tmp_path):
    """A report of no day is no result: the job fails and says what to look at."""
    done = run_week([])
    assert done.returncode == 65
    assert "no day arrived at all" in done.stderr
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize(
    ("position", "text", "message"),
    [
        (0, "{", "is not JSON"),
        (0, "{}", "names no day"),
        (0, '{"day": "2018-02-07"}', "has not the expected shape"),
        (1, '{"day": "2018-02-07"}', "has not the expected shape"),
        (2, "<svg>", "is not a map of a day"),
    ],
)
def test_broken_member_ends_with_one_line(run_script, tmp_path, position, text, message):
    """A member that is not what a daily payload makes fails in one line, without a report."""
    (tmp_path / "member").write_text(text)
    lists = [tmp_path / f"{number}.list" for number in range(3)]
    for number, path in enumerate(lists):
        path.write_text(f"{tmp_path / 'member'}\n" if number == position else "")
    done = run_script("summary.py", *lists, tmp_path / "summary.json", tmp_path / "report.html")
    assert done.returncode == 65
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "report.html").exists()


def test_empty_day_is_shown(run_script, write_day, tmp_path):
    """A day without events is complete: it appears with zeros, not as missing."""
    day = write_day([])
    lists = []
    for name in ("monitor", "spectrum", "evdisp"):
        assert run_script(f"{name}.py", day, tmp_path / name).returncode == 0
        lists.append(tmp_path / f"{name}.list")
        lists[-1].write_text(f"{tmp_path / name}\n")
    done = run_script("summary.py", *lists, tmp_path / "summary.json", tmp_path / "report.html")
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["missing"] == {}
    assert summary["totals"]["events"] == 0
    assert "No magnitudes arrived." in read_page(tmp_path / "report.html")


def test_hostile_text_stays_text(run_script, write_day, make_feature, tmp_path):
    """Markup in a place, a network or an id appears as text in the page."""
    nasty = "<script>alert(1)</script>"
    day = write_day([make_feature(nasty, place=nasty, net=nasty), make_feature(f"{nasty}2", mag=2.0)])
    lists = []
    for name in ("monitor", "spectrum", "evdisp"):
        assert run_script(f"{name}.py", day, tmp_path / name).returncode == 0
        lists.append(tmp_path / f"{name}.list")
        lists[-1].write_text(f"{tmp_path / name}\n")
    done = run_script("summary.py", *lists, tmp_path / "summary.json", tmp_path / "report.html")
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "report.html").read_text()
    assert "<script" not in text
    assert nasty in read_page(tmp_path / "report.html")
