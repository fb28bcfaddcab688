"""One real system for all tests of the command line in a module."""

from __future__ import annotations

import pytest

from tests.support.servers import System, wait_until

DIAMOND = """\
name: diamond
params: {word: {default: hello}}
results: [joined]
jobs:
  top: {outputs: [seed], run: 'echo "$word" > "$seed"'}
  left: {inputs: [seed], outputs: [one], run: 'cp "$seed" "$one"'}
  right: {inputs: [seed], outputs: [two], run: 'cp "$seed" "$two"'}
  join: {inputs: [one, two], outputs: {joined: joined.txt}, run: 'cat "$one" "$two" | tee "$joined"'}
"""


@pytest.fixture(scope="module")
def farm(tmp_path_factory):
    """A server with one pilot of two slots, shared by the tests of a module."""
    found = System(tmp_path_factory.mktemp("farm"))
    found.write("diamond.yaml", DIAMOND)
    found.start_server()
    found.start_pilot("--slots", "2")
    wait_until(lambda: found.client.list_pilots(live=True).items, 30, "the pilot")
    yield found
    found.stop()
