"""The three daily payloads, on real, made, empty and broken days."""

import json
import xml.etree.ElementTree as ET

import pytest

PAYLOADS = ["monitor.py", "spectrum.py", "evdisp.py"]
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def run_json(run_script, tmp_path):
    """Return a function that runs a payload on a day and decodes the JSON file it made."""

    def run(name, source):
        done = run_script(name, source, tmp_path / "out.json")
        assert done.returncode == 0, done.stderr
        return json.loads((tmp_path / "out.json").read_text())

    return run


def read_svg(run_script, source, tmp_path):
    """Draw a day's map and return its root element."""
    done = run_script("evdisp.py", source, tmp_path / "out.svg")
    assert done.returncode == 0, done.stderr
    return ET.parse(tmp_path / "out.svg").getroot()


def test_monitor_counts_a_real_day(run_json, quakes):
    """The counts per network, kind and status each add up to the day's events."""
    found = run_json("monitor.py", quakes / "data/quakes-2018-02-04.geojson")
    assert found["events"] == 301
    assert sum(row["events"] for row in found["networks"].values()) == 301
    assert sum(found["kinds"].values()) == sum(found["status"].values()) == 301
    assert found["largest"]["magnitude"] == 6.1
    assert found["missing_magnitudes"] == []


def test_monitor_names_the_pair_of_the_real_week(run_json, quakes):
    """The one pair of origins in the week within 2 s and 10 km is found, with its distances."""
    found = run_json("monitor.py", quakes / "data/quakes-2018-02-05.geojson")
    pair = {"ids": ["ci38100288", "ci38100280"], "seconds": 1.33, "kilometres": 0.42}
    assert found["possible_duplicates"] == [pair]


def test_monitor_names_events_without_magnitude(run_json, write_day, make_feature):
    """An event without a magnitude is named, counted for its network, and does not disturb the largest."""
    day = write_day([make_feature("a1", mag=None), make_feature("a2", mag=-0.4, net="yy", at=(0, 0, 0))])
    found = run_json("monitor.py", day)
    assert found["missing_magnitudes"] == ["a1"]
    assert found["networks"]["xx"]["missing_magnitudes"] == 1
    assert found["networks"]["yy"]["missing_magnitudes"] == 0
    assert found["largest"]["id"] == "a2"


@pytest.mark.parametrize(
    ("milliseconds", "at", "expected"),
    [
        (0, (-120.0, 38.0, 5.0), 1),
        (2000, (-120.0, 38.0, 5.0), 1),
        (2001, (-120.0, 38.0, 5.0), 0),
        (1000, (-120.0, 38.0899, 5.0), 1),  # A degree of latitude is 111.19 km: this is 9.996 km.
        (1000, (-120.0, 38.0901, 5.0), 0),  # And this is 10.018 km.
        (1000, (240.0 - 360.0, 38.0, 600.0), 1),
    ],
)
def test_duplicates_are_within_two_seconds_and_ten_kilometres(
    run_json, write_day, make_feature, milliseconds, at, expected
):
    """A pair counts up to and including 2 s and 10 km between epicentres, and not beyond."""
    first = make_feature("a1")
    second = make_feature("a2", time=first["properties"]["time"] + milliseconds, at=at)
    found = run_json("monitor.py", write_day([second, first]))
    assert len(found["possible_duplicates"]) == expected


def test_duplicates_are_found_across_the_date_line(run_json, write_day, make_feature):
    """Two origins a few km apart on both sides of 180 degrees are a pair."""
    day = write_day([make_feature("a1", at=(179.99, 0.0, 5.0)), make_feature("a2", at=(-179.99, 0.0, 5.0))])
    assert [pair["ids"] for pair in run_json("monitor.py", day)["possible_duplicates"]] == [["a1", "a2"]]


def test_three_origins_at_once_make_three_pairs(run_json, write_day, make_feature):
    """Each pair among three equal origins is named once."""
    day = write_day([make_feature(identity) for identity in ("a1", "a2", "a3")])
    assert len(run_json("monitor.py", day)["possible_duplicates"]) == 3


def test_spectrum_bins_and_sums_agree(run_json, quakes):
    """On a real day the cumulative relation is the running sum of the bins, for all and for each network."""
    found = run_json("spectrum.py", quakes / "data/quakes-2018-02-02.geojson")
    for relation in (found["all"], *found["networks"].values()):
        left = sum(row["count"] for row in relation["bins"])
        assert left == relation["estimate"]["magnitudes"]
        for row in relation["bins"]:
            assert row["at_least"] == left
            left -= row["count"]
        assert left == 0
    assert found["all"]["estimate"]["magnitudes"] + found["left_out"]["not_an_earthquake"] == 242


def test_spectrum_leaves_out_blasts_and_unknown_magnitudes(run_json, write_day, make_feature):
    """Explosions and events without a magnitude enter no bin but are counted as left out."""
    features = [
        make_feature("a1", mag=None),
        make_feature("a2", type="explosion"),
        make_feature("a3", mag=1.15),
    ]
    found = run_json("spectrum.py", write_day(features))
    assert found["left_out"] == {"not_an_earthquake": 1, "earthquake_without_magnitude": 1}
    assert found["all"]["bins"] == [{"magnitude": 1.2, "count": 1, "at_least": 1}]


def test_too_few_magnitudes_give_no_estimate(run_json, quakes):
    """The last, short day of the week has a relation but neither completeness nor b-value."""
    estimate = run_json("spectrum.py", quakes / "data/quakes-2018-02-07.geojson")["all"]["estimate"]
    assert estimate["magnitudes"] == 14
    assert estimate["completeness"] is estimate["b_value"] is estimate["b_uncertainty"] is None


def test_map_is_self_contained_svg(run_script, quakes, tmp_path):
    """A real day's map is well-formed, has each event on the world panel, and refers to nothing outside."""
    root = read_svg(run_script, quakes / "data/quakes-2018-02-01.geojson", tmp_path)
    assert root.tag == f"{SVG}svg"
    assert root.get("data-day") == "2018-02-01"
    world, detail = root.findall(f"{SVG}g")
    assert len(world.findall(f"{SVG}circle")) == 231
    assert 0 < len(detail.findall(f"{SVG}circle")) < 231
    text = (tmp_path / "out.svg").read_text()
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")
    assert "<script" not in text


def test_map_tells_each_event_once(run_script, quakes, tmp_path):
    """Every event has a text for the pointer on exactly one of the two panels."""
    root = read_svg(run_script, quakes / "data/quakes-2018-02-06.geojson", tmp_path)
    assert len(root.findall(f".//{SVG}title")) == 213


def test_map_escapes_names_and_bears_gaps(run_script, write_day, make_feature, tmp_path):
    """A hostile place name stays text; a missing magnitude, a missing depth and the date line are drawn."""
    nasty = make_feature("a1", place='<script>"&', mag=None, at=(180.0, 89.0, None))
    root = read_svg(run_script, write_day([nasty, make_feature("a2", at=(-180.0, -89.0, 700.0))]), tmp_path)
    titles = [title.text for title in root.iter(f"{SVG}title")]
    assert 'no magnitude, <script>"&, depth unknown, 06:53 UTC' in titles


@pytest.mark.parametrize("name", PAYLOADS)
def test_empty_day_is_no_error(run_script, write_day, tmp_path, name):
    """A day without any event still gives a result."""
    done = run_script(name, write_day([]), tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out").stat().st_size > 0


@pytest.mark.parametrize("name", PAYLOADS)
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not JSON"),
        ('{"type": "FeatureCollection", "features": [', "is not JSON"),
        ("[]", "is not a GeoJSON FeatureCollection"),
        ('{"type": "FeatureCollection"}', "has no list of features"),
        ('{"type": "FeatureCollection", "features": [{"id": 1}]}', "feature 1 has no 'properties'"),
        ('{"type": "FeatureCollection", "features": [null]}', "feature 1 is malformed"),
    ],
)
def test_broken_input_ends_with_one_line(run_script, tmp_path, name, text, message):
    """A broken file gives exit code 65, one line that names the file, and no output."""
    (tmp_path / "quakes-broken.geojson").write_text(text)
    done = run_script(name, tmp_path / "quakes-broken.geojson", tmp_path / "out")
    assert done.returncode == 65
    assert message in done.stderr
    assert "quakes-broken.geojson" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "changed",
    [
        {"mag": "5"},
        {"mag": float("nan")},
        {"mag": True},
        {"time": None},
        {"at": (None, 1.0, 1.0)},
        {"at": (1, 91, 1)},
    ],
    ids=str,
)
def test_impossible_values_are_refused(run_script, write_day, make_feature, tmp_path, changed):
    """A value that is no number, or none that can be, is an error and not a quiet gap."""
    done = run_script("monitor.py", write_day([make_feature(**changed)]), tmp_path / "out")
    assert done.returncode == 65
    assert "feature 1 is malformed" in done.stderr


@pytest.mark.parametrize("name", PAYLOADS)
def test_absent_input_is_named(run_script, tmp_path, name):
    """A file that does not exist is named in one line."""
    done = run_script(name, tmp_path / "nothing.geojson", tmp_path / "out")
    assert done.returncode == 65
    assert "nothing.geojson cannot be read" in done.stderr


@pytest.mark.parametrize("name", [*PAYLOADS, "summary.py", "cut_catalogue.py"])
def test_wrong_arguments_show_the_usage(run_script, name):
    """A call without arguments shows how to call and fails."""
    done = run_script(name)
    assert done.returncode != 0
    assert done.stderr.startswith(f"usage: {name} ")


def test_unwritable_output_is_an_error(run_script, quakes, tmp_path):
    """An output that cannot be written fails in one line with the reason."""
    done = run_script("monitor.py", quakes / "data/quakes-2018-02-07.geojson", tmp_path / "no/such/folder.json")
    assert done.returncode != 0
    assert done.stderr.count("\n") == 1
    assert "No such file or directory" in done.stderr
