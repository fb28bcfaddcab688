"""The committed daily files, and the script that cut them."""

import json
import re
from datetime import UTC, datetime

import pytest


@pytest.fixture
def days(quakes):
    """Return the decoded daily files by name."""
    return {path.stem: json.loads(path.read_text()) for path in sorted((quakes / "data").glob("*.geojson"))}


def test_days_add_up_to_the_week(days):
    """The daily files hold the week's 1,707 events, each once."""
    identities = [feature["id"] for content in days.values() for feature in content["features"]]
    assert len(identities) == len(set(identities)) == 1707


def test_each_event_is_in_the_file_of_its_day(days):
    """An event's origin lies in the UTC day that its file and the file's metadata name."""
    for name, content in days.items():
        day = content["metadata"]["day"]
        origins = [feature["properties"]["time"] / 1000 for feature in content["features"]]
        assert {datetime.fromtimestamp(origin, UTC).date().isoformat() for origin in origins} == {day}
        assert name == f"quakes-{day}"
        assert content["metadata"]["count"] == len(origins)


def test_readme_states_the_counts_of_the_files(days, quakes):
    """The table in the data's README agrees with the files, and so does its sum."""
    text = (quakes / "data/README.md").read_text()
    stated = dict(re.findall(r"^\| ([\d-]{10}|all) \| (\d+) \|$", text, re.MULTILINE))
    counts = {content["metadata"]["day"]: str(len(content["features"])) for content in days.values()}
    assert stated == {**counts, "all": "1707"}


def make_feed(features, count=None):
    """Return a saved feed."""
    metadata = {"generated": 1_517_968_154_000, "url": "https://example.org", "count": count or len(features)}
    return json.dumps({"type": "FeatureCollection", "metadata": metadata, "features": features})


def test_cut_splits_at_midnight_and_keeps_values(run_script, make_feature, tmp_path):
    """Two events on either side of midnight UTC land in two files; what is kept is unchanged."""
    midnight = 1_517_875_200_000
    late, early = make_feature("a1", time=midnight - 1, tz=-480), make_feature("a2", time=midnight, mag=None)
    (tmp_path / "feed.json").write_text(make_feed([early, late]))
    assert run_script("cut_catalogue.py", tmp_path / "feed.json", tmp_path / "out").returncode == 0
    cut = {path.stem: json.loads(path.read_text())["features"] for path in (tmp_path / "out").iterdir()}
    del late["properties"]["tz"]
    assert cut == {"quakes-2018-02-05": [late], "quakes-2018-02-06": [early]}


@pytest.mark.parametrize(
    ("feed", "message"),
    [
        ('{"features": []}', "is not a feed of the USGS"),
        (make_feed([], count=3), "holds 0 events but its metadata says 3"),
        ("{", "is not JSON"),
    ],
)
def test_cut_refuses_what_is_no_whole_feed(run_script, tmp_path, feed, message):
    """A feed that is broken or incomplete makes no files and says why in one line."""
    (tmp_path / "feed.json").write_text(feed)
    done = run_script("cut_catalogue.py", tmp_path / "feed.json", tmp_path / "out")
    assert done.returncode == 65
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()
