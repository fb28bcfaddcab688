"""A server of three processes behind nginx with TLS, as the guide shows it: what passes, and what does not."""

from __future__ import annotations

import os
import re
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import requests

from tests.acceptance.support import call, create_job
from tests.support.programs import need_program
from tests.support.servers import System, end_process, find_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLE = Path(__file__).parents[2] / "docs/guide/nginx.conf"
#: What a whole nginx.conf has around the example; everything that it writes goes below one folder.
AROUND = """\
{user}daemon off;
worker_processes 1;
pid {folder}/pid;
error_log stderr;
events {{ worker_connections 100; }}
http {{
    access_log {folder}/access.log;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {example}
}}
"""
LIMIT = 6


def write_config(folder: Path, port: int, behind: int) -> Path:
    """Write a whole configuration around the example of the guide, for other ports and another certificate."""
    text = EXAMPLE.read_text()
    for old, new in (
        ("127.0.0.1:8440", f"127.0.0.1:{behind}"),
        ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
        ("/etc/ssl/certs/farm.pem", str(folder / "farm.pem")),
        ("/etc/ssl/private/farm.key", str(folder / "farm.key")),
    ):
        assert text.count(old) == 1
        text = text.replace(old, new)
    path = folder / "nginx.conf"
    path.write_text(AROUND.format(folder=folder, example=text, user="user root;\n" if os.getuid() == 0 else ""))
    return path


def make_certificate(folder: Path) -> Path:
    """Make a self-signed certificate for the loopback address."""
    command = f"{need_program('openssl')} req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    command += " -keyout farm.key -out farm.pem -subj /CN=farm -addext subjectAltName=IP:127.0.0.1"
    subprocess.run(command.split(), cwd=folder, check=True, capture_output=True, timeout=60)
    return folder / "farm.pem"


class Gate(System):
    """A system whose address is that of nginx in front of it."""

    front: int = 0

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.front}" if self.front else super().url


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory, postgres) -> Iterator[Gate]:
    program, folder = need_program("nginx", "nginx-light"), tmp_path_factory.mktemp("gate")
    certificate = make_certificate(folder)
    system = Gate(folder, str(postgres.copy()), settings={"P3S_SUBMISSIONS": str(LIMIT), "P3S_LOGINS": str(LIMIT)})
    try:
        system.start_server("--workers", "3", "--trusted-proxies", "1")
        front = find_port()
        config = write_config(folder, front, system.port)
        with (folder / "nginx.log").open("wb") as log:
            command = [program, "-p", str(folder), "-c", str(config), "-e", "stderr"]
            nginx = subprocess.Popen(command, stdout=log, stderr=log)
        system.front = front
        system.settings |= {"P3S_CA_FILE": str(certificate), "P3S_TOKEN": read_token(system)["Authorization"][7:]}
        try:
            wait_until(lambda: _answers(system, certificate), 20, f"nginx: {system.read_log('nginx')}")
            yield system
        finally:
            end_process(nginx)
    finally:
        system.stop()


def _answers(system: Gate, certificate: Path) -> bool:
    try:
        return requests.get(f"{system.url}/readyz", verify=str(certificate), timeout=5).status_code == 200
    except requests.ConnectionError:
        return False


def ask(gate: Gate, method: str, path: str, **options) -> requests.Response:
    """Send one request through nginx on a connection of its own."""
    return requests.request(method, gate.url + path, verify=gate.settings["P3S_CA_FILE"], timeout=20, **options)


def read_mark(session: requests.Session, gate: Gate) -> str:
    """Load the form and return its mark."""
    found = re.search(r'name="mark" value="([^"]+)"', session.get(gate.url, timeout=20).text)
    assert found is not None
    return found[1]


def read_token(gate: Gate, role: str = "admin") -> dict[str, str]:
    """Return the header of a token of the first start."""
    return {"Authorization": f"Bearer {(gate.home / f'{role}.token').read_text().strip()}"}


def test_commands_and_pilots_work_through_the_proxy(gate: Gate) -> None:
    """A pilot's call is held through nginx, a job starts at once, and the end of the pilot's token ends the call."""
    made = call(gate, "token", "create", "farm", "--role", "pilot")
    pilot = gate.start_pilot(env={"P3S_TOKEN": made.stdout.strip()})
    wait_until(lambda: '"idle": 1' in call(gate, "status", "--json").stdout, 30, "the pilot's held call")
    uuid = create_job(gate, "--run", "echo through")
    start = time.monotonic()
    wait_until(lambda: '"state": "finished"' in call(gate, "job", "show", uuid, "--json").stdout, 30, "the job's end")
    assert time.monotonic() - start < 10
    assert call(gate, "job", "log", uuid).stdout == "through\n"
    call(gate, "token", "revoke", "farm", "--yes")
    wait_until(lambda: pilot.poll() is not None, 15, "the end of a pilot whose token was revoked")
    assert "p3s_" not in gate.read_log("pilot")


def test_a_certificate_that_nobody_vouches_for_is_refused(gate: Gate) -> None:
    """Without the authority's file the command sends nothing, and says what is wrong."""
    done = call(gate, "status", env={"P3S_CA_FILE": ""}, check=3)
    assert "certificate" in done.stderr.lower()


def test_the_monitor_is_entered_through_the_proxy(gate: Gate) -> None:
    """The form works, its cookie is for TLS only, redirects stay here, and nginx names the request and the caller."""
    with requests.Session() as session:
        session.verify, session.trust_env = gate.settings["P3S_CA_FILE"], False
        mark = read_mark(session, gate)

        def enter(number: int, token: str) -> requests.Response:
            form = {"token": token, "mark": mark}
            headers = {"X-Forwarded-For": f"192.0.2.{number}", "X-Forwarded-Host": "evil.example"}
            headers["X-Request-Id"] = "chosen-by-the-caller"
            return session.post(f"{gate.url}/login", data=form, headers=headers, allow_redirects=False, timeout=20)

        # Addresses that a caller makes up give no further tries.
        codes = [enter(number, "p3s_no").status_code for number in range(LIMIT - 1)]
        answer = enter(100, read_token(gate)["Authorization"][7:])
        assert (set(codes), answer.status_code) == ({401}, 303)
        assert "evil" not in answer.headers["Location"]
        assert "Secure" in answer.headers["Set-Cookie"]
        assert re.fullmatch("[0-9a-f]{32}", answer.headers["X-Request-Id"])
        assert "Log out" in session.get(gate.url, timeout=20).text
    with requests.Session() as session:
        session.verify, session.trust_env = gate.settings["P3S_CA_FILE"], False
        mark = read_mark(session, gate)
        assert enter(101, "p3s_no").status_code == 429


def test_rates_hold_for_all_processes_together(gate: Gate) -> None:
    """Requests that three processes share are admitted as often as the limit says, not three times that."""
    made = call(gate, "token", "create", "busy", "--role", "submitter").stdout.strip()
    headers = {"Authorization": f"Bearer {made}"}

    def submit(number: int) -> requests.Response:
        return ask(gate, "POST", "/api/v1/datasets", json={"place": f"/data/{number}"}, headers=headers)

    start = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(submit, range(4 * LIMIT)))
    filled = (time.monotonic() - start) * LIMIT / 60
    admitted = [answer for answer in answers if answer.status_code == 201]
    assert LIMIT <= len(admitted) <= LIMIT + filled + 1
    refused = [answer for answer in answers if answer.status_code == 429]
    assert len(admitted) + len(refused) == len(answers)
    assert all(0 < int(answer.headers["Retry-After"]) <= 60 for answer in refused)


def test_prometheus_accepts_the_metrics(gate: Gate) -> None:
    """Debian's promtool finds nothing wrong with the metrics of several processes, also with odd names in them."""
    body: dict[str, object] = {"uuid": f"{9:08d}-0000-4000-8000-000000000009", "site": 'a"b\\c', "host": "h"}
    body |= {"pid": 1, "version": "0", "slots": 1, "cpus": 1}
    assert ask(gate, "POST", "/api/v1/pilots", json=body, headers=read_token(gate, "pilot")).status_code == 201
    text = ask(gate, "GET", "/metrics", headers=read_token(gate)).content
    assert b'site="a\\"b\\\\c"' in text
    command = [need_program("promtool", "prometheus"), "check", "metrics"]
    done = subprocess.run(command, input=text, capture_output=True, check=False, timeout=60)
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")
