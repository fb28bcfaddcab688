"""`p3s token` against a real server."""

from __future__ import annotations

import json

from tests.support.servers import System, wait_until


def test_tokens_from_first_to_last(system: System):
    """A token is printed alone on stdout, works, is listed without its secret, and is refused once revoked."""
    made = system.run("token", "create", "anna", "--role", "submitter", "--expires", "30d")
    secret = made.stdout.strip()
    assert made.stdout == f"{secret}\n"
    assert secret.startswith("p3s_")
    mine = {"P3S_TOKEN": secret}
    system.run("status", env=mine)
    assert "is a submitter" in system.run("token", "list", env=mine, check=4).stderr
    listed = system.run("token", "list").stdout
    assert "anna" in listed
    assert secret not in listed
    fresh = json.loads(system.run("token", "rotate", "anna", "--json").stdout)["secret"]
    system.run("status", env=mine, check=4)
    system.run("status", env={"P3S_TOKEN": fresh})
    assert "--yes" in system.run("token", "revoke", "anna", check=64).stderr
    system.run("token", "revoke", "anna", "--dry-run")
    system.run("status", env={"P3S_TOKEN": fresh})
    system.run("token", "revoke", "anna", "--yes")
    assert "no longer valid" in system.run("status", env={"P3S_TOKEN": fresh}, check=4).stderr
    assert "last admin" in system.run("token", "revoke", who(system), "--yes", check=4).stderr
    assert (
        "is bound to a site" in system.run("token", "create", "x", "--role", "viewer", "--site", "s", check=64).stderr
    )


def who(system):
    """Return the name of the token of the first start."""
    return system.client.ask_who().name


def test_pilots_of_a_revoked_token_leave(system: System):
    """A waiting pilot whose token is revoked is told at once and exits with the code of one sent away."""
    secret = system.run("token", "create", "farm", "--role", "pilot").stdout.strip()
    process = system.start_pilot(env={"P3S_TOKEN": secret})
    wait_until(lambda: system.client.list_pilots(live=True).items, 30, "a pilot")
    system.run("token", "revoke", "farm", "--yes")
    assert process.wait(30) == 2
    assert "no longer valid" in system.read_log("pilot")
