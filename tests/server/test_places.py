"""Where data is, and who can read it: URLs, sites, and the pilots that are let near."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from p3s.errors import BadInput
from p3s.server.models import dataset, job, requirement
from p3s.server.queries.find import find_row
from p3s.server.queries.why import explain_job
from p3s.server.usecases.datasets import register_dataset
from p3s.wire import ExternalMember, RegisterDatasetBody
from tests.support.pilots import ScriptedPilot
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


def explain(core, name):
    with core.db.read() as connection:
        return explain_job(connection, find_row(connection, "job", name), 0.0)


CHAIN = """\
name: chain
datasets: {raw: "/data/raw"}
jobs:
  make: {outputs: [hits], run: "true"}
  use: {inputs: [hits], outputs: [out], run: "true"}
  last: {inputs: [out, raw], run: "true"}
"""
HERE = {"raw": [ExternalMember(place="/data/raw", available=True)]}


def test_external_path_binds_its_consumers_to_its_site(core):
    """A job that reads a path of a named site is claimed there and nowhere else; `why` says what it waits for."""
    loaded = load_text(core, READ % "/data/raw", site="cern", externals=HERE)
    other = ScriptedPilot(core, site="fnal")
    assert other.claim() == []
    assert explain(core, f"{loaded.uuid}/read") == (
        "It is ready, and waits for a pilot of site cern, because dataset raw exists only there; "
        "`p3s pilot start --site cern` starts one there."
    )
    pilot = ScriptedPilot(core, site="cern")
    (order,) = pilot.claim()
    pilot.succeed(order)
    assert read_states(core, loaded.uuid) == {"read": "finished"}


def test_site_that_nobody_named_binds_nobody(core):
    """Where no site is named, all pilots are taken to see the same files."""
    loaded = load_text(core, CHAIN, externals=HERE)
    maker, other = ScriptedPilot(core), ScriptedPilot(core, site="fnal")
    maker.succeed(*maker.claim())
    (order,) = other.claim()
    assert order.job_name == "use"
    assert read_states(core, loaded.uuid)["use"] == "dispatched"


def test_outputs_in_a_folder_bind_their_consumers_to_its_site(core):
    """What a pilot of a site left in its data folder is read by pilots of that site only."""
    loaded = load_text(core, CHAIN, externals=HERE)
    maker, other = ScriptedPilot(core, site="cern"), ScriptedPilot(core, site="fnal", labels=["s3://"])
    maker.succeed(*maker.claim())
    assert other.claim() == []
    (order,) = maker.claim()
    assert order.job_name == "use"
    maker.succeed(order)
    # An input that binds nobody does not loosen what another one binds.
    assert other.claim() == []
    maker.succeed(*maker.claim())
    assert set(read_states(core, loaded.uuid).values()) == {"finished"}


def test_outputs_at_a_url_are_read_wherever_it_can_be_staged(core):
    """What was brought to a URL binds its consumers to pilots that can stage it, of any site."""
    loaded = load_text(core, CHAIN, externals=HERE)
    maker, other = ScriptedPilot(core, site="cern"), ScriptedPilot(core, site="fnal", labels=["s3://"])
    (order,) = maker.claim()
    place = f"s3://store/{order.workflow}/make/{order.attempt}/hits"
    maker.report(order, "succeeded", outputs=[{"name": "hits", "path": place, "size": 3}])
    assert maker.claim() == []
    (order,) = other.claim()
    assert (order.job_name, order.inputs[0].place) == ("use", place)
    with core.db.read() as connection:
        wish = connection.execute(sa.select(requirement).join(job).where(job.c.uuid == order.job)).one()
        (made,) = connection.execute(sa.select(dataset).where(dataset.c.place == place)).all()
    assert (wish.site, wish.labels, made.site) == ("", ["s3://"], "")
    assert read_states(core, loaded.uuid)["use"] == "dispatched"


def test_report_of_a_place_outside_the_attempt_is_refused_at_urls_too(core):
    """A URL counts as an output's place only in its one spelling and below the attempt's folder."""
    load_text(core, CHAIN, externals=HERE)
    pilot = ScriptedPilot(core)
    (order,) = pilot.claim()
    below = f"{order.workflow}/make/{order.attempt}"
    for place in (f"s3://store/{below}/../hits", f"S3://store/{below}/hits", "s3://store/hits", f"{below}/hits"):
        outputs = [{"name": "hits", "path": place, "size": 3}]
        assert pilot.report(order, "succeeded", outputs=outputs).verdict in {"refused", "superseded"}


def test_url_asks_for_a_pilot_that_can_stage_it(core):
    """A job whose data, or whose published name, is at a URL goes to pilots that declare its scheme."""
    plain = ScriptedPilot(core)
    place = "s3://raw/run.h5"
    read = load_text(core, READ % place, externals={"raw": [ExternalMember(place=place)]})
    register(core, place)
    text = "name: show\njobs:\n  show: {outputs: [page], publish: {page: 'root://eos//dqm/page'}, run: x}\n"
    show = load_text(core, text)
    assert plain.claim(2) == []
    assert explain(core, f"{read.uuid}/read").startswith(
        "It is ready, and no live pilot can stage s3://, where dataset raw is; `pip install 'p3s[s3]'`"
    )
    assert "no live pilot can stage root://, where its results go" in explain(core, f"{show.uuid}/show")
    assert [order.job_name for order in ScriptedPilot(core, labels=["s3://"]).claim()] == ["read"]
    assert [order.job_name for order in ScriptedPilot(core, labels=["root://"]).claim()] == ["show"]


def test_inputs_at_two_sites_fail_the_job_in_words(core):
    """A job whose inputs no pilot has both of fails when the second comes; what hangs on it is skipped."""
    text = CHAIN.replace("inputs: [hits]", "inputs: [hits, raw]")
    loaded = load_text(core, text, site="fnal", externals=HERE)
    maker = ScriptedPilot(core, site="cern")
    maker.succeed(*maker.claim())
    assert read_states(core, loaded.uuid) == {"make": "finished", "use": "failed", "last": "skipped"}
    told = explain(core, f"{loaded.uuid}/use")
    assert "no pilot can read all its inputs: dataset hits only at site cern, dataset raw only at site fnal" in told
