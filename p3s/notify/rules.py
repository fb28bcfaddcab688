"""What a file of notifications may say, and every problem of one with its place."""

from __future__ import annotations

import os
import re
import shutil
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field

from p3s.engine.load import validate_data
from p3s.engine.notices import Kind, Pace
from p3s.engine.problems import Fault, Source, make_problems
from p3s.engine.spec import Spec
from p3s.engine.units import Duration, Shorthand, Text, describe
from p3s.engine.yamltext import read_yaml
from p3s.errors import BadInput, Problem
from p3s.settings import is_loopback, read_secret
from p3s.submit import read_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["Channel", "ChannelSpec", "MailSpec", "Notify", "NotifySpec", "SecretSpec", "load_notify"]

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,35}")
ADDRESS = re.compile(r"[^\s@<>,;:\"()\[\]\\]+@[^\s@<>,;:\"()\[\]\\]+")
#: Ports of mail servers by how they speak TLS.
PORTS = {"starttls": 587, "tls": 465, "none": 25}


class SecretSpec(Spec):
    """A value that need not stand in the file: the first line of another file, or a variable of the server."""

    value: Text | None = None
    file: Text | None = None
    env: Text | None = None


Secret = Annotated[SecretSpec, Shorthand(lambda value: {"value": value} if isinstance(value, str) else value)]


class MailSpec(Spec):
    """A mail server and who gets mail; `sender` is written `from`."""

    to: Annotated[list[Text], Shorthand(lambda value: [value] if isinstance(value, str) else value)] = Field(
        min_length=1, max_length=100
    )
    sender: Text = Field(alias="from")
    host: Text
    port: int | None = Field(default=None, ge=1, le=65535)
    tls: Literal["starttls", "tls", "none"] = "starttls"
    user: Text | None = None
    password: Secret | None = None


class ChannelSpec(Spec):
    """One way to tell people: `webhook`, `mail` or `command`; `on` is what it tells, by default everything."""

    webhook: Secret | None = None
    mail: MailSpec | None = None
    command: list[Text] | None = Field(default=None, min_length=1)
    on: list[Literal["failure", "deadline", "injector", "pilots", "recovered"]] | None = Field(
        default=None, min_length=1
    )


class NotifySpec(Spec):
    """A file of notifications; `name` is that of the system in each of them."""

    name: Text = ""
    gather: Duration = 30.0
    every: Duration = 300.0
    channels: dict[str, ChannelSpec] = Field(min_length=1, max_length=100)


@dataclass(frozen=True, slots=True)
class Channel:
    """A channel ready for use; `base` is where relative paths of its definition start."""

    name: str
    spec: ChannelSpec
    base: Path

    def read_secret(self, secret: SecretSpec) -> str:
        """Return a value that the definition names; it is looked up each time, so that it may change.

        Raises
        ------
        BadInput
            If it is not there.
        """
        if secret.value is not None:
            return secret.value
        return read_secret(self.base / secret.file if secret.file else None, secret.env)


@dataclass(frozen=True, slots=True)
class Notify:
    """What a file of notifications says."""

    name: str
    pace: Pace
    channels: Mapping[str, Channel]


def load_notify(path: str | Path) -> Notify:
    """Read and check a file of notifications.

    Raises
    ------
    BadInput
        With all problems, each with its place.
    """
    text, name, base = read_file(path)
    data = read_yaml(text, name)
    if not isinstance(data, dict):
        raise BadInput([Problem(f"must hold `channels:`, is {describe(data)}", file=name, line=1, column=1)])
    spec, faults = validate_data(NotifySpec, data)
    channels: dict[str, Channel] = {}
    for key, channel in (spec.channels if spec is not None else {}).items():
        channels[key] = Channel(key, channel, base)
        faults += _check_channel(channels[key])
    if faults or spec is None:
        raise BadInput(make_problems(faults, Source(text, name)))
    wants = {key: frozenset(Kind(word) for word in channel.on or Kind) for key, channel in spec.channels.items()}
    return Notify(spec.name or socket.gethostname(), Pace(spec.gather, spec.every, wants), channels)


def _check_channel(channel: Channel) -> list[Fault]:
    """Return what is wrong with one channel."""
    spec = channel.spec
    path = ("channels", channel.name)
    faults = []
    if not NAME.fullmatch(channel.name):
        message = f"'{channel.name}' is no name of a channel; use at most 36 letters, digits, and _ . : - within"
        faults.append(Fault(path, message, at_key=True))
    ways = [word for word in ("webhook", "mail", "command") if getattr(spec, word) is not None]
    if len(ways) != 1:
        faults.append(Fault(path, "give `webhook:`, `mail:` or `command:`, exactly one of them", at_key=True))
        return faults
    if spec.webhook is not None:
        faults += _check_secret(channel, spec.webhook, (*path, "webhook"), _check_address)
    if spec.mail is not None:
        faults += _check_mail(channel, spec.mail, (*path, "mail"))
    if spec.command is not None:
        program = find_program(spec.command[0], channel.base)
        if program is None:
            message = f"program {describe(spec.command[0])} is not there, or cannot be executed"
            faults.append(Fault((*path, "command", 0), message))
    return faults


def find_program(word: str, base: Path) -> str | None:
    """Return the path of a program: by its name on the PATH, else relative to `base`; None if there is none."""
    return shutil.which(word if os.sep not in word else str(base / word))


def _check_mail(channel: Channel, mail: MailSpec, path: tuple[str | int, ...]) -> list[Fault]:
    faults = [
        Fault((*path, *where), f"{describe(text)} is no address of mail")
        for where, text in [(("from",), mail.sender), *((("to", number), text) for number, text in enumerate(mail.to))]
        if not ADDRESS.fullmatch(text)
    ]
    if not re.fullmatch(r"[A-Za-z0-9.:_-]+", mail.host):
        faults.append(Fault((*path, "host"), f"{describe(mail.host)} is no name of a host"))
    if (mail.user is None) != (mail.password is None):
        faults.append(Fault(path, "give both `user:` and `password:`, or none of them", at_key=True))
    if mail.password is not None:
        faults += _check_secret(channel, mail.password, (*path, "password"))
        if mail.tls == "none" and not is_loopback(f"http://{mail.host}"):
            message = "the password would travel in the clear; use `starttls` or `tls`"
            faults.append(Fault((*path, "tls"), message))
    return faults


def _check_secret(
    channel: Channel, secret: SecretSpec, path: tuple[str | int, ...], check: Any = lambda _: ""
) -> list[Fault]:
    """Return what is wrong with a value that may stand elsewhere; the value itself is in no message."""
    if sum(one is not None for one in (secret.value, secret.file, secret.env)) != 1:
        return [Fault(path, "write the value, or `{file: PATH}` or `{env: NAME}`")]
    try:
        value = channel.read_secret(secret)
    except BadInput as error:
        return [Fault(path, str(problem)) for problem in error.problems]
    wrong = check(value)
    return [Fault(path, wrong)] if wrong else []


def _check_address(value: str) -> str:
    try:
        parts = urlsplit(value)
        good = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        good = False
    return "" if good else "is no address of a webhook; write https://HOST/PATH"
