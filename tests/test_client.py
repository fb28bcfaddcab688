"""The HTTP client against scripted answers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from p3s import Client, errors
from p3s.client import Answer, PoolTransport, SessionTransport, Whole, choose_transport
from p3s.client.sending import Sender, make_error
from p3s.wire import ExchangeBody, LoadBody, WhoReply

if TYPE_CHECKING:
    from collections.abc import Mapping

URL = "http://127.0.0.1:9"
WHO = Answer(200, b'{"name": "ann", "role": "viewer", "new": 1}')


class Script(Whole):
    """Answers what it was told to, in order, and keeps what was sent."""

    def __init__(self, *answers: Answer | errors.P3sError) -> None:
        self.answers = list(answers)
        self.sent: list[tuple[str, str, dict[str, str], bytes | None]] = []

    def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, timeout: float) -> Answer:
        self.sent.append((method, url, dict(headers), body))
        answer = self.answers.pop(0)
        if isinstance(answer, errors.P3sError):
            raise answer
        return answer


def make_refusal(status: int, kind: str, **fields: Any) -> Answer:
    body = {"error": {"kind": kind, "message": "what happened"} | fields}
    return Answer(status, json.dumps(body).encode())


def make_sender(script: Script) -> tuple[Sender, list[float]]:
    pauses: list[float] = []
    return Sender(URL, "secret", script, pauses.append), pauses


def test_request() -> None:
    """A request carries the token and asks the right address; unknown fields of the answer are ignored."""
    script = Script(WHO)
    assert Client(URL + "/", "secret", script).ask_who() == WhoReply(name="ann", role="viewer")
    method, url, headers, body = script.sent[0]
    assert (method, url, body) == ("GET", f"{URL}/api/v1/who", None)
    assert headers["Authorization"] == "Bearer secret"


def test_token_is_not_shown() -> None:
    """The token is in no representation of the client."""
    assert "secret" not in repr(Client(URL, "secret")) + repr(make_sender(Script())[0])


@pytest.mark.parametrize(
    ("status", "leaf"),
    [
        (400, errors.BadInput),
        (401, errors.NoToken),
        (403, errors.NotAllowed),
        (404, errors.NotFound),
        (404, errors.Ambiguous),
        (409, errors.Conflict),
    ],
)
def test_refusals(status: int, leaf: type[errors.P3sError]) -> None:
    """The kind of an error names its class, and the server's message arrives unchanged."""
    with pytest.raises(leaf) as caught:
        Client(URL, "secret", Script(make_refusal(status, leaf.kind))).ask_who()
    assert type(caught.value) is leaf
    assert str(caught.value) == "what happened"


def test_problems() -> None:
    """Bad input arrives with each problem and its place."""
    problems = [{"message": "no such key", "file": "a.yaml", "line": 3, "column": 4}]
    error = make_error(make_refusal(400, "bad-input", problems=problems), URL)
    assert str(error) == "a.yaml:3:4: no such key"


def test_server_error() -> None:
    """The server's own error tells the id under which its log says more."""
    error = make_error(make_refusal(500, "error", request_id="abc"), URL)
    assert type(error) is errors.P3sError
    assert "abc" in str(error)


@pytest.mark.parametrize("answer", [Answer(200, b"<html>"), Answer(404, b"not here"), Answer(302), Answer(200, b"{}")])
def test_no_p3s_server(answer: Answer) -> None:
    """What answers otherwise than a p3s server is told as such."""
    with pytest.raises(errors.BadReply, match=r"http://127\.0\.0\.1:9"):
        Client(URL, "secret", Script(answer)).ask_who()


def test_lost_reply_is_repeated() -> None:
    """A submission whose reply was lost is sent again with the same uuid."""
    reply = {"uuid": "u", "name": "n", "dag": None, "version": None, "state": "running"}
    answer = Answer(200, json.dumps(reply | {"jobs": 1, "datasets": 0, "created": False}).encode())
    script = Script(errors.Unreachable(URL, "lost"), answer)
    body = LoadBody(uuid="00000000-0000-4000-8000-000000000000", text="x")
    assert not Client(URL, "secret", script).load_workflow(body).created
    assert script.sent[0] == script.sent[1]


def test_exchange_is_sent_once() -> None:
    """An exchange is not repeated: what a lost reply means only the pilot can say."""
    script = Script(errors.Unreachable(URL, "lost"))
    with pytest.raises(errors.Unreachable):
        Client(URL, "token", script).exchange("uuid", "own secret", ExchangeBody(ack=3))
    method, url, headers, body = script.sent[0]
    assert (method, url, body) == ("POST", f"{URL}/api/v1/pilots/uuid/exchange", b'{"ack":3}')
    assert headers["Authorization"] == "Bearer own secret"


def test_retry_after() -> None:
    """A server that is busy is asked again after the time it names, spread by up to a half."""
    sender, pauses = make_sender(Script(Answer(503, b"", {"retry-after": "2"}), Answer(429), WHO))
    sender.send("GET", "/x", timeout=1)
    assert 2.0 <= pauses[0] <= 3.0
    assert 0.3 <= pauses[1] <= 0.45


def test_tries_are_bounded() -> None:
    """A server that stays away is given up."""
    sender, pauses = make_sender(Script(*[errors.Unreachable(URL, "lost")] * 4))
    with pytest.raises(errors.Unreachable):
        sender.send("GET", "/x", timeout=1)
    assert len(pauses) == 3


def test_pages() -> None:
    """Iterating follows the cursor to the end."""
    dag = {"name": "a", "owner": "o", "version": 1, "digest": "d", "created": 0}
    pages = [{"items": [dag], "next": "two"}, {"items": [dag | {"name": "b"}], "next": None}]
    script = Script(*(Answer(200, json.dumps(page).encode()) for page in pages))
    assert [dag.name for dag in Client(URL, "t", script).iterate_dags(owner="o")] == ["a", "b"]
    assert script.sent[1][1].endswith("/dags?owner=o&cursor=two")


@pytest.mark.parametrize("ident", ["", "..", "a//b", "../who"])
def test_bad_id(ident: str) -> None:
    """An id that would lead to another address is refused before anything is sent."""
    with pytest.raises(errors.BadInput):
        Client(URL, "t", Script()).delete_workflow(ident)


def test_quoting() -> None:
    """An id with odd characters stays one part of the address."""
    script = Script(WHO)
    with pytest.raises(errors.BadReply):
        Client(URL, "t", script).show_job("@last/track-a b?c#d")
    assert script.sent[0][1] == f"{URL}/api/v1/jobs/@last/track-a%20b%3Fc%23d"


def test_body_that_is_no_text() -> None:
    """Bytes that are no UTF-8, as in a file's name, are bad input that is shown; nothing is sent."""
    script = Script()
    body = LoadBody(uuid=str(uuid.uuid4()), text="name: x", params={"run": "a\udcff"})
    with pytest.raises(errors.BadInput, match=r"'a\\udcff' is not UTF-8 text"):
        Client(URL, "secret", script).load_workflow(body)
    assert script.sent == []


def test_bad_address() -> None:
    """An address that is none is told with an example."""
    with pytest.raises(errors.BadInput, match="http://127"):
        Client("localhost:8440")


@pytest.mark.parametrize("transport", [PoolTransport(), SessionTransport()])
def test_refused_connection(transport: PoolTransport | SessionTransport) -> None:
    """Both transports say who did not answer and why, in words of the system."""
    with pytest.raises(errors.Unreachable, match=r"127\.0\.0\.1:9 \(Connection refused\)"):
        transport.send("GET", URL, {}, None, 5.0)


def test_choice_of_transport(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy of the environment is used for other machines, never for this one."""
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert isinstance(choose_transport("http://127.0.0.1:1"), PoolTransport)
    assert isinstance(choose_transport("http://farm.example"), SessionTransport)
    monkeypatch.delenv("http_proxy")
    assert isinstance(choose_transport("https://farm.example"), SessionTransport)


def test_light_import() -> None:
    """The client starts without the server's libraries."""
    code = "import p3s, sys; p3s.Client; print([m for m in ('networkx', 'sqlalchemy', 'flask') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout == "[]\n"


def test_every_route_has_a_method():
    """What the API can do, the client can do: each route has a method of its name, or of the name given here."""
    from p3s.server.auth import NEEDS

    others = {"status": "ask_status", "who": "ask_who", "why": "explain", "why_place": "explain_place"}
    routes = [name.removeprefix("api.") for name in NEEDS if name.startswith("api.")]
    assert len(routes) > 50
    assert [name for name in routes if not callable(getattr(Client, others.get(name, name), None))] == []
