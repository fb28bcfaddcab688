"""Where data is, and who can read it: URLs, sites, and the pilots that are let near."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from p3s.errors import BadInput
from p3s.server.models import dataset
from p3s.server.usecases.datasets import register_dataset
from p3s.wire import ExternalMember, RegisterDatasetBody
from tests.support.workflows import load_text, read_states

READ = 'name: read\ndatasets: {raw: "%s"}\njobs:\n  read: {inputs: [raw], run: cat "$raw"}\n'


def register(core, place, **fields):
    return register_dataset(core, RegisterDatasetBody(place=place, **fields), "ann")


def test_url_is_known_by_one_spelling_at_every_site(core):
    """A workflow that waits for a URL is released by whoever registers it, however they write it."""
    place = "root://EOS.example.org:1094/data/run.root"
    loaded = load_text(core, READ % place, site="cern", externals={"raw": [ExternalMember(place=place)]})
    assert read_states(core, loaded.uuid) == {"read": "waiting"}
    register(core, "xroot://eos.example.org//data/./run.root", site="fnal")
    assert read_states(core, loaded.uuid) == {"read": "defined"}
    with core.db.read() as connection:
        (row,) = connection.execute(sa.select(dataset)).all()
    assert (row.place, row.site) == ("root://eos.example.org//data/run.root", "")


def test_path_is_known_by_its_site(core):
    """One path at two sites is two datasets; a file:// URL is a path."""
    first = register(core, "file:///data/run%201.csv", site="cern")
    assert register(core, "/data//run 1.csv", site="cern") == first
    assert register(core, "/data/run 1.csv", site="fnal") != first


@pytest.mark.parametrize(
    "place", ["run.csv", "s3://key:secret@raw/a", "s3://raw", "root://eos//a/../b", "root://eos//a?authz=x"]
)
def test_place_that_cannot_be_is_refused(core, place):
    """What is no absolute path and no usable URL is bad input, in words that say why."""
    with pytest.raises(BadInput) as caught:
        register(core, place)
    assert place in caught.value.problems[0].message
