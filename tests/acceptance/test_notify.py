"""The server tells people what goes wrong: real receivers, real letters."""

from __future__ import annotations

import json
import os
import signal
import subprocess

import pytest

from tests.acceptance.support import await_job, call, create_job
from tests.support.programs import need_program
from tests.support.receivers import run_mail, run_web
from tests.support.servers import System, wait_until

NOTIFY = """\
name: farm
gather: 2s
every: 1s
channels:
  hook:
    webhook: {env: HOOK}
  mail:
    mail: {to: [shift@example.org, boss@example.org], from: p3s@example.org, host: 127.0.0.1, port: %d, tls: none}
    on: [failure, recovered]
  file:
    command: [sh, -c, 'cat >> told; echo "$P3S_NOTICE_SUBJECT, $P3S_TOKEN." >> told']
    on: [pilots]
"""


@pytest.fixture
def unstarted(tmp_path):
    """Room for a system whose server a test starts itself."""
    system = System(tmp_path, settings={"P3S_LEASE": "4s", "P3S_HEARTBEAT": "1s"})
    yield system
    system.stop()


def test_each_trouble_is_told_once(unstarted):
    """Failures come as one letter by webhook and by mail, not again after a crash of the server, and then that all is
    well; a command tells of a site that lacks pilots; a hook that answers with an error is tried again.
    """
    system = unstarted
    with run_web() as web, run_mail() as mail:
        mail.refuses.add("boss@example.org")
        web.status = 500
        system.settings["HOOK"] = web.url
        path = system.write("notify.yaml", NOTIFY % mail.port)
        system.start_server("--notify", str(path))
        system.start_pilot()
        jobs = [create_job(system, "--name", name, "--run", f"cat {system.folder}/good") for name in ("one", "two")]
        for ident in jobs:
            await_job(system, ident, "failed")
        wait_until(lambda: mail.got and web.refused, 30, "the mail, and a refusal by the hook")
        (letter,) = mail.got
        assert (letter["Subject"], letter["To"], mail.to) == (
            "farm: 2 failed",
            "shift@example.org, boss@example.org",
            [["shift@example.org"]],
        )
        assert [line.split(";")[0] for line in letter.get_content().splitlines()] == [
            "failed:",
            *(
                f"  job {name} {ident[:8]} of {os.environ.get('USER', 'root')} failed: exit-code"
                for name, ident in zip(("one", "two"), jobs, strict=True)
            ),
        ]
        said = call(system, "status")
        assert "notifications by hook are not sent (the webhook answered 500); 2 wait" in said.stdout + said.stderr
        system.stop_server(signal.SIGKILL)
        web.status = 200
        system.start_server("--notify", str(path))
        wait_until(lambda: web.got, 40, "the second try of the hook")
        assert [f"  {item['text']}" for item in web.got[0]["notices"]] == letter.get_content().splitlines()[1:]
        (system.folder / "good").touch()
        for ident in jobs:
            call(system, "job", "retry", ident)
        wait_until(lambda: len(mail.got) == 2 and len(web.got) == 2, 40, "that the jobs are well")
        assert mail.got[1]["Subject"] == "farm: 2 recovered"
        assert [item["over"] for item in web.got[1]["notices"]] == [True, True]
        call(system, "site", "define", '{"name": "cern", "pilots": 1}')
        told = system.folder / "told"
        wait_until(lambda: told.exists() and "farm: too few pilots, ." in told.read_text(), 40, "the command")
        assert "  site cern has 0 of 1 pilots\n" in told.read_text()
        assert len(mail.got) == 2
        assert "secret-word" not in system.read_log("server")
        seen = system.client.list_events(noun="notice", limit=100).items
        assert {(item.uuid, item.signal) for item in seen} >= {("hook", "failed"), ("hook", "sent"), ("mail", "sent")}


def test_a_removed_channel_leaves_word_of_what_it_owed(unstarted):
    """A channel that is taken out of the file with unsent notices is no alarm any more; the event log tells them."""
    system = unstarted
    with run_web() as web:
        web.status = 500
        text = f"gather: 0s\nevery: 1s\nchannels:\n  hook: {{webhook: '{web.url}'}}\n"
        system.start_server("--notify", str(system.write("notify.yaml", text)))
        system.start_pilot()
        ident = create_job(system, "--name", "one", "--run", "false")
        await_job(system, ident, "failed")
        wait_until(lambda: web.refused, 30, "a refusal by the hook")
        system.stop_server(signal.SIGTERM)
        system.start_server("--notify", str(system.write("notify.yaml", "channels: {log: {command: ['true']}}\n")))
        told = wait_until(
            lambda: [line for line in call(system, "event", "list").stdout.splitlines() if "dropped" in line], 30, "it"
        )
        assert "the channel is gone from the file of notifications with 1 unsent notice: job one" in told[0]
        assert ident[:8] in told[0]
        said = call(system, "status")
        assert "hook" not in said.stdout + said.stderr


def test_mail_goes_encrypted_after_a_login(unstarted, tmp_path):
    """STARTTLS with a checked certificate, then the password from its file; a wrong certificate gets nothing."""
    need_program("openssl")
    key, chain = tmp_path / "key.pem", tmp_path / "chain.pem"
    make = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", str(key), "-out", str(chain))
    names = ("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-days", "2")
    subprocess.run([*make, *names], check=True, capture_output=True, timeout=60)
    unstarted.write("password", "open sesame\n")
    with run_mail(chain, key) as mail:
        text = "channels: {m: {mail: {to: a@example.org, from: b@example.org, host: localhost, port: %d, user: u, "
        path = unstarted.write("notify.yaml", text % mail.port + "password: {file: password}}}}\n")
        done = call(unstarted, "notify", "test", str(path), check=1)
        assert "certificate" in done.stderr
        assert mail.logins == []
        call(unstarted, "notify", "test", str(path), "--channel", "m", env={"SSL_CERT_FILE": str(chain)})
        assert (mail.logins, mail.encrypted) == ([("u", "open sesame")], [True])
        assert "Somebody tried" in mail.got[0].get_content()


def test_a_test_says_how_each_channel_went(unstarted, tmp_path):
    """`notify test` reports each failure without showing a secret; `check` lists all problems with their places."""
    with run_web() as web:
        web.status = 302
        text = "channels:\n  moved: {webhook: '%s'}\n  closed: {webhook: 'http://127.0.0.1:9/secret-word'}\n"
        path = unstarted.write("notify.yaml", text % web.url + "  bad: {command: [sh, -c, 'echo no >&2; exit 3']}\n")
        done = call(unstarted, "notify", "test", str(path), "--json", check=1)
        assert {item["channel"]: item["error"] for item in json.loads(done.stdout)} == {
            "moved": "the webhook answered 302",
            "closed": "the webhook cannot be reached (Connection refused)",
            "bad": "sh ended with 3: no",
        }
    bad = unstarted.write(
        "bad.yaml",
        "gather: soon\nchannels:\n  a: {webhook: 'no address'}\n  b: {}\n  c: {command: [no-such-program]}\n"
        "  d: {mail: {to: x, from: b@c, host: mail.example.org, tls: none, user: u, password: {env: NOPE}}}\n",
    )
    said = call(unstarted, "notify", "check", str(bad), check=64).stderr
    assert [line.split(": ")[0].removeprefix(f"{bad}:") for line in said.splitlines()] == [
        "1:9",
        "3:16",
        "4:3",
        "5:17",
        "6:18",
        "6:61",
        "6:86",
    ]
    assert "server did not" not in call(unstarted, "up", "--notify", str(bad), check=64).stderr
