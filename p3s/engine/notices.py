"""What people are told: what begins and what is over, what is still owed to whom, and when it goes out. Pure.

The whole state is one value, a `Book`, which its keeper stores before anything is sent and after it was. So a crash at
any moment repeats a letter at worst; none is lost, and nothing that was told is told again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = [
    "Book",
    "Kind",
    "Letter",
    "News",
    "Notice",
    "Pace",
    "Trouble",
    "advance",
    "compose",
    "find_orphans",
    "settle",
    "take_due",
]

#: Notices that are owed to one channel at most; of more, the oldest are counted only.
MOST_OWED = 200
#: Failures that are remembered, so that it can be told when they are over.
MOST_FAILURES = 500
#: Lines of each kind in a letter; the others are counted.
MOST_LINES = 20
#: Seconds that a letter may be under way before it is taken for lost and sent again.
LEASE = 180.0
#: Seconds until the next try after a failed one: doubling, up to the longest.
FIRST_PAUSE, LONGEST_PAUSE = 5.0, 600.0


class Kind(StrEnum):
    """What may be told."""

    #: A workflow or a standalone job failed, or no work could be started for a file.
    FAILURE = "failure"
    #: A workflow is likely to miss its deadline, or has missed it.
    DEADLINE = "deadline"
    #: An injector has not been heard.
    INJECTOR = "injector"
    #: A site has fewer pilots than it should have.
    PILOTS = "pilots"
    #: One of these is over.
    RECOVERED = "recovered"


_HEADS = {
    Kind.FAILURE: "failed",
    Kind.DEADLINE: "deadline at risk",
    Kind.INJECTOR: "silent injector",
    Kind.PILOTS: "too few pilots",
    Kind.RECOVERED: "recovered",
}


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True)


class Trouble(_Value):
    """Something that is wrong with `subject`, told in `text`."""

    kind: Kind
    subject: str
    text: str

    @property
    def key(self) -> str:
        """What tells it from others."""
        return f"{self.kind} {self.subject}"


class Notice(_Value):
    """What a channel is to say: that a trouble has begun or, with `over`, that it is over.

    `tried`: a letter with it went out and may have arrived, so it is no longer taken back.
    """

    trouble: Trouble
    at: float
    over: bool = False
    tried: bool = False

    @property
    def head(self) -> Kind:
        """Under which it is listed."""
        return Kind.RECOVERED if self.over else self.trouble.kind


class Outlet(_Value):
    """One channel: what it owes, since when it owes anything, and how sending goes."""

    owed: tuple[Notice, ...] = ()
    since: float = 0.0
    left_out: int = 0
    sent: float | None = None
    tries: int = 0
    not_before: float = 0.0
    error: str = ""


class Book(_Value):
    """All that is kept: how far the event log was read, troubles that are not over, and the channels."""

    cursor: str = ""
    troubles: dict[str, Trouble] = {}
    outlets: dict[str, Outlet] = {}


@dataclass(frozen=True, slots=True)
class News:
    """What was seen since the last time.

    Attributes
    ----------
    begun : tuple of Trouble
        Failures; each is news, also of a subject that failed before.
    ended : mapping
        For a trouble's key, in words how it ended; empty words forget it without a word.
    standing : tuple of Trouble
        All troubles of the kinds `judged` that there are now.
    judged : frozenset of Kind
        Kinds that could be looked at.
    cursor : str
        How far the event log was read.
    """

    begun: tuple[Trouble, ...] = ()
    ended: Mapping[str, str] = field(default_factory=dict)
    standing: tuple[Trouble, ...] = ()
    judged: frozenset[Kind] = frozenset()
    cursor: str = ""


@dataclass(frozen=True, slots=True)
class Pace:
    """When letters go out, and what each channel wants.

    Attributes
    ----------
    gather : float
        Seconds in which news are gathered before a letter goes out; what begins and ends within is not told.
    every : float
        Seconds between two letters of a channel, at least.
    wants : mapping
        Channel to the kinds that it tells.
    """

    gather: float
    every: float
    wants: Mapping[str, frozenset[Kind]]


@dataclass(frozen=True, slots=True)
class Letter:
    """What goes out on a channel at once; `left_out` counts what it cannot list any more."""

    channel: str
    notices: tuple[Notice, ...]
    left_out: int = 0


def advance(book: Book, news: News, pace: Pace, now: float) -> Book:
    """Return the book after news: what begins and what is over is owed to the channels that want it.

    Channels that `pace` does not name are forgotten with all they owe.

    Examples
    --------
    >>> pace = Pace(gather=30.0, every=300.0, wants={"desk": frozenset(Kind)})
    >>> few = Trouble(kind=Kind.PILOTS, subject="cern", text="site cern has 1 of 3 pilots")
    >>> seen = News(standing=(few,), judged=frozenset({Kind.PILOTS}))
    >>> book = advance(Book(), seen, pace, 0.0)
    >>> [notice.trouble.text for notice in book.outlets["desk"].owed]
    ['site cern has 1 of 3 pilots']
    >>> advance(book, News(judged=frozenset({Kind.PILOTS})), pace, 10.0).outlets["desk"].owed
    ()
    """
    troubles = dict(book.troubles)
    outlets = {name: book.outlets.get(name, Outlet()) for name in pace.wants}
    current = {trouble.key: trouble for trouble in news.standing}
    ended = dict(news.ended)
    for key, trouble in book.troubles.items():
        if trouble.kind in news.judged and key not in current:
            ended.setdefault(key, f"over: {trouble.text}")
    for trouble in news.begun:
        troubles[trouble.key] = trouble
        outlets = _begin(outlets, trouble, pace, now)
    for key, trouble in current.items():
        known = troubles.get(key)
        troubles[key] = trouble
        if known is None:
            outlets = _begin(outlets, trouble, pace, now)
        elif known.text != trouble.text:
            outlets = {name: _reword(outlet, trouble) for name, outlet in outlets.items()}
    for key, words in ended.items():
        over = troubles.pop(key, None)
        if over is not None:
            told = over.model_copy(update={"text": words})
            outlets = {name: _end(outlet, told, pace.wants[name], now) for name, outlet in outlets.items()}
    failures = [key for key, trouble in troubles.items() if trouble.kind is Kind.FAILURE]
    for key in failures[: max(0, len(failures) - MOST_FAILURES)]:
        del troubles[key]
    return Book(cursor=news.cursor or book.cursor, troubles=troubles, outlets=outlets)


def find_orphans(book: Book, pace: Pace) -> list[Letter]:
    """Return what is owed on channels that there are no more; `advance` forgets it.

    Examples
    --------
    >>> few = Notice(trouble=Trouble(kind=Kind.PILOTS, subject="cern", text="site cern has 1 of 3 pilots"), at=0.0)
    >>> book = Book(outlets={"desk": Outlet(owed=(few,), left_out=2), "mail": Outlet()})
    >>> [(letter.channel, len(letter.notices), letter.left_out) for letter in find_orphans(book, Pace(0.0, 0.0, {}))]
    [('desk', 1, 2)]
    """
    return [
        Letter(name, outlet.owed, outlet.left_out)
        for name, outlet in book.outlets.items()
        if name not in pace.wants and outlet.owed
    ]


def take_due(book: Book, pace: Pace, now: float) -> tuple[Book, list[Letter]]:
    """Return the letters that are to go out now, and the book that knows of them.

    A letter that nobody settles, because its sender died, is due again after `LEASE`.
    """
    letters = []
    outlets = dict(book.outlets)
    for name, outlet in book.outlets.items():
        # A clock that was set back must not silence a channel.
        after = now if outlet.sent is None else min(outlet.sent, now) + pace.every
        if not outlet.owed or now < max(outlet.since + pace.gather, after, outlet.not_before):
            continue
        owed = tuple(notice.model_copy(update={"tried": True}) for notice in outlet.owed)
        letters.append(Letter(name, owed, outlet.left_out))
        update = {"owed": owed, "tries": outlet.tries + 1, "not_before": now + LEASE}
        outlets[name] = outlet.model_copy(update=update)
    return book.model_copy(update={"outlets": outlets}), letters


def settle(book: Book, letter: Letter, now: float, error: str = "") -> Book:
    """Return the book after a letter was sent or, with an error, was not."""
    outlet = book.outlets.get(letter.channel)
    if outlet is None:
        return book
    if error:
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(outlet.tries - 1, 10))
        update = {"not_before": now + pause, "error": error}
    else:
        told = {(notice.trouble.key, notice.at, notice.over) for notice in letter.notices}
        owed = tuple(one for one in outlet.owed if (one.trouble.key, one.at, one.over) not in told)
        update = {
            "owed": owed,
            "since": owed[0].at if owed else 0.0,
            "left_out": max(0, outlet.left_out - letter.left_out),
            "sent": now,
            "tries": 0,
            "not_before": 0.0,
            "error": "",
        }
    return book.model_copy(update={"outlets": {**book.outlets, letter.channel: outlet.model_copy(update=update)}})


def compose(letter: Letter, name: str) -> tuple[str, str]:
    """Return the subject and the text of a letter; `name` is that of the system it comes from.

    Examples
    --------
    >>> few = Trouble(kind=Kind.PILOTS, subject="cern", text="site cern has 1 of 3 pilots")
    >>> subject, text = compose(Letter("desk", (Notice(trouble=few, at=0.0),)), "farm")
    >>> print(subject, text, sep="; ")
    farm: too few pilots; too few pilots:
      site cern has 1 of 3 pilots
    """
    listed = {kind: [one for one in letter.notices if one.head is kind] for kind in Kind}
    heads = []
    parts = []
    for kind, notices in listed.items():
        if not notices:
            continue
        heads.append(_HEADS[kind] if len(notices) == 1 else f"{len(notices)} {_HEADS[kind]}")
        lines = [f"  {notice.trouble.text}" for notice in notices[:MOST_LINES]]
        if len(notices) > MOST_LINES:
            lines.append(f"  and {len(notices) - MOST_LINES} more")
        parts.append("\n".join([f"{_HEADS[kind]}:", *lines]))
    if letter.left_out:
        parts.append(f"{letter.left_out} earlier ones could not be sent and are not listed; `p3s event list` has them")
    return f"{name}: {', '.join(heads)}", "\n\n".join(parts)


def _begin(outlets: dict[str, Outlet], trouble: Trouble, pace: Pace, now: float) -> dict[str, Outlet]:
    """Owe the beginning of a trouble to all who want it."""
    changed = {}
    for name, outlet in outlets.items():
        if trouble.kind not in pace.wants[name]:
            changed[name] = outlet
            continue
        kept, dropped = _split(outlet, trouble)
        if any(one.over for one in dropped) and trouble.kind is not Kind.FAILURE:
            # Whoever was told of it believes that it still lasts, and that is so.
            changed[name] = outlet.model_copy(update={"owed": tuple(kept)})
        else:
            changed[name] = _owe(outlet, kept, Notice(trouble=trouble, at=now))
    return changed


def _end(outlet: Outlet, trouble: Trouble, wants: frozenset[Kind], now: float) -> Outlet:
    """Owe the end of a trouble, or take its beginning back if that was never sent."""
    if trouble.kind not in wants or not trouble.text:
        return outlet
    kept, dropped = _split(outlet, trouble)
    # A failure did happen, however soon somebody mended it.
    if trouble.kind is not Kind.FAILURE and dropped:
        return outlet.model_copy(update={"owed": tuple(kept)})
    if Kind.RECOVERED not in wants:
        return outlet
    return _owe(outlet, outlet.owed, Notice(trouble=trouble, at=now, over=True))


def _split(outlet: Outlet, trouble: Trouble) -> tuple[list[Notice], list[Notice]]:
    """Return what a channel owes apart from a trouble, and what it owes of that one and never tried to say."""
    key = trouble.key
    mine = [one.trouble.key == key and not one.tried for one in outlet.owed]
    return (
        [one for one, drop in zip(outlet.owed, mine, strict=True) if not drop],
        [one for one, drop in zip(outlet.owed, mine, strict=True) if drop],
    )


def _owe(outlet: Outlet, kept: Iterable[Notice], fresh: Notice) -> Outlet:
    owed = (*kept, fresh)
    surplus = max(0, len(owed) - MOST_OWED)
    update = {
        "owed": owed[surplus:],
        "since": outlet.since if outlet.owed else fresh.at,
        "left_out": outlet.left_out + surplus,
    }
    return outlet.model_copy(update=update)


def _reword(outlet: Outlet, trouble: Trouble) -> Outlet:
    """Say of a trouble what is so now, where nobody was told of it yet."""
    owed = tuple(
        one.model_copy(update={"trouble": trouble})
        if one.trouble.key == trouble.key and not (one.over or one.tried)
        else one
        for one in outlet.owed
    )
    return outlet.model_copy(update={"owed": owed})
