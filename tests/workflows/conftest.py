"""Run the example payloads as the processes they are, on real and on made days."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

QUAKES = Path(__file__).parents[2] / "workflows" / "quakes"


@pytest.fixture
def quakes():
    """Return the folder of the earthquake workflow."""
    return QUAKES


@pytest.fixture
def run_script(tmp_path):
    """Return a function that runs one payload in an empty folder, with only the environment it is given."""

    def run(name, *arguments, **env):
        folder = tmp_path / "sandbox"
        folder.mkdir(exist_ok=True)
        return subprocess.run(
            [sys.executable, str(QUAKES / name), *map(str, arguments)],
            cwd=folder,
            env={"PATH": os.environ["PATH"], **env},
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=60,
            check=False,
        )

    return run


@pytest.fixture
def make_feature():
    """Return a factory of GeoJSON features; what a test does not care about has a default."""

    def make(identity="xx1", **changed):
        longitude, latitude, depth = changed.pop("at", (-120.0, 38.0, 5.0))
        properties = {
            "mag": 1.0,
            "place": "somewhere",
            "time": 1_517_900_000_000,
            "net": "xx",
            "type": "earthquake",
            "status": "reviewed",
            **changed,
        }
        geometry = {"type": "Point", "coordinates": [longitude, latitude, depth]}
        return {"type": "Feature", "properties": properties, "geometry": geometry, "id": identity}

    return make


@pytest.fixture
def write_day(tmp_path):
    """Return a function that writes features as the file of a day."""

    def write(features, day="2018-02-06"):
        path = tmp_path / f"quakes-{day}.geojson"
        content = {"type": "FeatureCollection", "metadata": {"day": day}, "features": features}
        path.write_text(json.dumps(content), encoding="utf-8")
        return path

    return write
