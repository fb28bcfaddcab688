"""How a letter goes out: a webhook, mail, or a command; each within bounded time."""

from __future__ import annotations

import os
import signal
import smtplib
import ssl
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

import requests

from p3s.errors import BadInput, P3sError
from p3s.notify.rules import PORTS, find_program

if TYPE_CHECKING:
    from collections.abc import Sequence

    from p3s.engine.notices import Notice
    from p3s.notify.rules import Channel, MailSpec

__all__ = ["Message", "NotSent", "send"]

#: Seconds that a receiver may take for each step of an exchange, and a command for all it does.
TIMEOUT = 10.0
COMMAND_TIMEOUT = 60.0
#: Characters of a receiver's own words that an error shows.
MOST_WORDS = 200


class NotSent(P3sError):
    """A letter could not be sent."""

    kind = "not-sent"

    def __init__(self, channel: str, reason: str) -> None:
        self.channel, self.reason = channel, reason
        super().__init__(f"channel {channel}: {reason}")


@dataclass(frozen=True, slots=True)
class Message:
    """A letter as it is sent; a repeated one has the same `ident`."""

    ident: str
    name: str
    subject: str
    text: str
    notices: Sequence[Notice] = ()


def send(channel: Channel, message: Message) -> str:
    """Send a message on a channel, and return a remark if not all went well.

    Raises
    ------
    NotSent
        If the receiver did not take it; secrets are in no message.
    """
    try:
        if channel.spec.webhook is not None:
            return _post(channel, message)
        if channel.spec.mail is not None:
            return _mail(channel, channel.spec.mail, message)
        return _run(channel, message)
    except BadInput as error:
        raise NotSent(channel.name, str(error)) from error


def _post(channel: Channel, message: Message) -> str:
    assert channel.spec.webhook is not None
    body = {
        "id": message.ident,
        "from": message.name,
        "subject": message.subject,
        # What chat systems show of a message.
        "text": f"{message.subject}\n{message.text}",
        "notices": [
            {
                "kind": notice.trouble.kind,
                "over": notice.over,
                "subject": notice.trouble.subject,
                "text": notice.trouble.text,
                "at": notice.at,
            }
            for notice in message.notices
        ],
    }
    url = channel.read_secret(channel.spec.webhook)
    try:
        # The operator's own address: where it leads to is not for p3s to judge, but it is not led elsewhere.
        answer = requests.post(url, json=body, timeout=TIMEOUT, allow_redirects=False)
    except requests.Timeout as error:
        raise NotSent(channel.name, f"the webhook did not answer within {TIMEOUT:g} s") from error
    except requests.RequestException as error:
        # The error's own words have the address, which is a secret of many webhooks.
        raise NotSent(channel.name, f"the webhook cannot be reached ({_find_cause(error)})") from None
    if not answer.ok or answer.is_redirect:
        raise NotSent(channel.name, f"the webhook answered {answer.status_code}")
    return ""


def _find_cause(error: BaseException) -> str:
    """Return what the system said, below all that libraries put around it."""
    seen: set[int] = set()
    found: Any = error
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        if isinstance(found, OSError) and found.strerror and not isinstance(found, requests.RequestException):
            return found.strerror
        inner = [part for part in (getattr(found, "reason", None), *found.args) if isinstance(part, BaseException)]
        found = inner[0] if inner else found.__cause__ or found.__context__
    return type(error).__name__


def _mail(channel: Channel, mail: MailSpec, message: Message) -> str:
    letter = EmailMessage()
    # A line break in a header would begin another one.
    letter["Subject"] = " ".join(message.subject.split())
    letter["From"], letter["To"] = mail.sender, ", ".join(mail.to)
    letter["Date"] = formatdate()
    letter["Message-ID"] = f"<{message.ident}@{mail.sender.rpartition('@')[2]}>"
    letter["Auto-Submitted"] = "auto-generated"
    letter.set_content(message.text)
    port = mail.port or PORTS[mail.tls]
    try:
        context = ssl.create_default_context()
        opened = (
            smtplib.SMTP_SSL(mail.host, port, timeout=TIMEOUT, context=context)
            if mail.tls == "tls"
            else smtplib.SMTP(mail.host, port, timeout=TIMEOUT)
        )
        with opened as server:
            if mail.tls == "starttls":
                server.starttls(context=context)
            if mail.user is not None and mail.password is not None:
                server.login(mail.user, channel.read_secret(mail.password))
            refused = server.send_message(letter)
    except (OSError, smtplib.SMTPException) as error:
        raise NotSent(channel.name, f"{mail.host}:{port} did not take the mail: {_describe_refusal(error)}") from error
    # Taken for some: to send it to all again would be noise for them.
    return f" (but {mail.host} did not take it for {', '.join(refused)})" if refused else ""


def _describe_refusal(error: Exception) -> str:
    match error:
        case smtplib.SMTPRecipientsRefused():
            return f"no recipient was accepted ({', '.join(error.recipients)})"
        case smtplib.SMTPResponseException():
            words = error.smtp_error.decode(errors="replace") if isinstance(error.smtp_error, bytes) else ""
            return f"{error.smtp_code} {words}"[:MOST_WORDS]
        case OSError() if error.strerror:
            return error.strerror
        case _:
            return str(error)[:MOST_WORDS] or type(error).__name__


def _run(channel: Channel, message: Message) -> str:
    """Run a command with the text on its stdin; it gets no variable of p3s, among which are tokens."""
    assert channel.spec.command is not None
    word, *args = channel.spec.command
    program = find_program(word, channel.base)
    if program is None:
        raise NotSent(channel.name, f"program {word} is not there, or cannot be executed")
    environ = {name: value for name, value in os.environ.items() if not name.startswith("P3S_")}
    environ |= {"P3S_NOTICE_ID": message.ident, "P3S_NOTICE_SUBJECT": message.subject}
    process = subprocess.Popen(
        [program, *args],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=environ,
        cwd=channel.base,
        start_new_session=True,
    )
    try:
        _, said = process.communicate(f"{message.subject}\n\n{message.text}\n".encode(), timeout=COMMAND_TIMEOUT)
    except subprocess.TimeoutExpired as error:
        # It has not been waited for, so its id is still its own.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise NotSent(channel.name, f"{word} did not end within {COMMAND_TIMEOUT:g} s and was killed") from error
    if process.returncode != 0:
        words = " ".join(said.decode(errors="replace").split())[:MOST_WORDS]
        raise NotSent(channel.name, f"{word} ended with {process.returncode}" + (f": {words}" if words else ""))
    return ""
