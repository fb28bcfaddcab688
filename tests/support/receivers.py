"""Receivers of notifications: a web server and a mail server on loopback that keep what they get."""

from __future__ import annotations

import base64
import contextlib
import json
import socketserver
import ssl
import threading
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from email.message import EmailMessage
    from pathlib import Path


@dataclass
class Web:
    """What a webhook got; it answers with `status`."""

    url: str = ""
    status: int = 204
    got: list[dict[str, Any]] = field(default_factory=list)
    refused: int = 0


@contextlib.contextmanager
def run_web(port: int = 0) -> Iterator[Web]:
    """Run a web server for the length of a block."""
    web = Web()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if web.status < 300:
                web.got.append(body)
            else:
                web.refused += 1
            self.send_response(web.status)
            self.send_header("Content-Length", "0")
            self.send_header("Location", "http://127.0.0.1:9/elsewhere")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    web.url = f"http://127.0.0.1:{server.server_address[1]}/hook/secret-word"
    with _serve(server):
        yield web


@dataclass
class Mail:
    """What a mail server got: messages with their envelopes, and who logged in."""

    port: int = 0
    got: list[EmailMessage] = field(default_factory=list)
    to: list[list[str]] = field(default_factory=list)
    logins: list[tuple[str, str]] = field(default_factory=list)
    encrypted: list[bool] = field(default_factory=list)
    #: Recipients that it refuses.
    refuses: set[str] = field(default_factory=set)


@contextlib.contextmanager
def run_mail(certificate: Path | None = None, key: Path | None = None) -> Iterator[Mail]:
    """Run a mail server for the length of a block; with a certificate it offers STARTTLS, and asks for a login."""
    mail = Mail()

    class Handler(socketserver.StreamRequestHandler):
        def say(self, text: str) -> None:
            self.wfile.write(f"{text}\r\n".encode())

        def finish(self) -> None:
            super().finish()
            self.connection.close()

        def handle(self) -> None:
            encrypted, known, to = False, certificate is None, list[str]()
            self.say("220 receiver")
            while line := self.rfile.readline().decode().strip():
                word, _, rest = line.partition(" ")
                match word.upper():
                    case "EHLO":
                        offers = ["AUTH PLAIN"] if encrypted else ["STARTTLS"] if certificate else []
                        for number, offer in enumerate(["receiver", *offers]):
                            self.say(f"250{'-' if number < len(offers) else ' '}{offer}")
                    case "STARTTLS":
                        self.say("220 go on")
                        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                        context.load_cert_chain(str(certificate), key)
                        try:
                            self.connection = context.wrap_socket(self.connection, server_side=True)
                        except ssl.SSLError:
                            # The client did not trust the certificate.
                            return
                        self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb", 0)
                        encrypted = True
                    case "AUTH":
                        _, user, password = base64.b64decode(rest.split()[1]).decode().split("\0")
                        mail.logins.append((user, password))
                        known = True
                        self.say("235 welcome")
                    case "MAIL" if not known:
                        self.say("530 log in first")
                    case "RCPT" if rest.partition(":")[2].strip("<>") in mail.refuses:
                        self.say("550 no such user")
                    case "MAIL" | "RCPT" | "RSET":
                        to += [rest.partition(":")[2].strip("<>")] if word.upper() == "RCPT" else []
                        self.say("250 ok")
                    case "DATA":
                        self.say("354 go on")
                        lines = list(iter(self.rfile.readline, b".\r\n"))
                        mail.got.append(message_from_bytes(b"".join(lines), policy=policy.default))
                        mail.to.append(to)
                        mail.encrypted.append(encrypted)
                        self.say("250 taken")
                    case "QUIT":
                        self.say("221 bye")
                        return
                    case _:
                        self.say("502 what?")

    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    mail.port = server.server_address[1]
    with _serve(server):
        yield mail


@contextlib.contextmanager
def _serve(server: socketserver.BaseServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
