"""What the server writes to its log: lines for people, or JSON; with the request's id, without any token."""

from __future__ import annotations

import json
import logging
import re
import time
from typing import TYPE_CHECKING, Any

from flask import g, has_request_context
from gunicorn.glogging import Logger

if TYPE_CHECKING:
    from gunicorn.config import Config

__all__ = ["GunicornLogger", "JsonFormatter", "TextFormatter", "make_formatter", "open_log"]

#: Whatever looks like a token, should one ever stray into a message.
_TOKEN = re.compile(r"p3s_[A-Za-z0-9_-]{20,}")


def open_log(style: str, level: str) -> None:
    """Send all logging of this process to stderr.

    Parameters
    ----------
    style : str
        ``text`` or ``json``.
    level : str
        ``debug``, ``info``, ``warning`` or ``error``; at ``info`` each request is a line.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(make_formatter(style))
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger("p3s").setLevel(level.upper())


def make_formatter(style: str) -> logging.Formatter:
    """Return what turns records into lines."""
    return JsonFormatter() if style == "json" else TextFormatter()


class TextFormatter(logging.Formatter):
    """A line for people; a traceback follows it."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - its name in the standard library
        """Return the line itself; what callers say stays in it, whatever characters they choose."""
        record.message = _escape(record.message)
        return super().formatMessage(record)

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        text = super().format(record)
        request = _find_request(record)
        return _hide(f"{text} [request {request}]" if request and request not in text else text)


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        fields: dict[str, Any] = {
            "time": f"{moment}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        request = _find_request(record)
        if request:
            fields["request_id"] = request
        fields |= getattr(record, "fields", {})
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return _hide(_escape(json.dumps(fields, ensure_ascii=False, default=str)))


class GunicornLogger(Logger):
    """Gunicorn's own messages, in the same form and place."""

    def setup(self, cfg: Config) -> None:
        """Hand the records on to the root logger."""
        super().setup(cfg)
        for one in (self.error_log, self.access_log):
            one.handlers.clear()
            one.propagate = True


def _find_request(record: logging.LogRecord) -> str:
    if has_request_context():
        return str(g.get("request_id", ""))
    return str(getattr(record, "request_id", ""))


def _escape(text: str) -> str:
    """Return the text with line ends, control characters and marks of direction written as JSON writes them."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in text)


def _hide(text: str) -> str:
    return _TOKEN.sub("p3s_***", text)
