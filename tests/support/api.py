"""The application with a token for each role, called without a network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from p3s.server.app import create_app
from p3s.server.auth import Role
from p3s.server.db import Database
from p3s.server.models import token
from p3s.server.secrets import hash_token, make_token
from p3s.settings import Home, ServerSettings

if TYPE_CHECKING:
    from p3s.server.usecases.core import Core

SMALL = 'name: small\njobs:\n  a: {run: "true"}\n  b: {needs: [a], run: "true"}\n'
UUID = "11111111-2222-4333-8444-%012d"


class Api:
    """The application and a token for each role."""

    def __init__(self, address: str, home: Home, **given: Any) -> None:
        self.db = Database(address)
        self.app = create_app(self.db, ServerSettings(database=address, home=home, **({"page": 50} | given)))
        self.core: Core = self.app.extensions["p3s"]
        self.tokens = {role: self.make_token(role) for role in (Role.VIEWER, Role.SUBMITTER, Role.PILOT, Role.ADMIN)}

    def make_token(self, role: Role, name: str | None = None, **fields: object) -> str:
        secret = make_token()
        row = {"name": name or str(role), "role": role, "hash": hash_token(secret), "created": 0.0} | fields
        self.db.write(lambda connection: connection.execute(sa.insert(token).values(row)))
        return secret

    def call(self, method: str, path: str, role: Role | None = Role.ADMIN, body: object = None, secret: str = ""):
        shown = secret or (self.tokens[role] if role else "")
        headers = {"Authorization": f"Bearer {shown}"} if shown else {}
        return self.app.test_client().open("/api/v1" + path, method=method, headers=headers, json=body)

    def load(self, number: int = 1, role: Role = Role.SUBMITTER, **fields: object):
        return self.call("POST", "/workflows", role, {"uuid": UUID % number, "text": SMALL} | fields)

    def register(self, number: int = 1, secret: str = "", **fields: object):
        """Register a pilot and return the answer."""
        body = {"uuid": UUID % number, "host": "h", "pid": 1, "version": "0", "slots": 1, "cpus": 1} | fields
        return self.call("POST", "/pilots", Role.PILOT, body, secret)
