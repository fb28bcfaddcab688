"""Notifications: grouped, bounded, told once, and never lost, whatever fails while they are sent."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from p3s.engine.notices import (
    LEASE,
    MOST_LINES,
    MOST_OWED,
    Book,
    Kind,
    News,
    Pace,
    Trouble,
    advance,
    compose,
    settle,
    take_due,
)

PACE = Pace(gather=30.0, every=300.0, wants={"desk": frozenset(Kind)})
SITES = frozenset({Kind.PILOTS})


def thin(name="cern", text="few"):
    return Trouble(kind=Kind.PILOTS, subject=name, text=text)


def failure(name):
    return Trouble(kind=Kind.FAILURE, subject=name, text=f"{name} failed")


def look(book, now, *standing, begun=(), ended=None):
    return advance(book, News(tuple(begun), ended or {}, standing, SITES), PACE, now)


def send(book, now, pace=PACE):
    """Take what is due, have it arrive, and return the book with the texts of all."""
    book, letters = take_due(book, pace, now)
    for letter in letters:
        book = settle(book, letter, now)
    return book, [(one.over, one.trouble.text) for letter in letters for one in letter.notices]


def test_what_comes_together_goes_out_together():
    """Nothing goes before `gather` is over, then all at once; what follows waits for `every`."""
    book = look(Book(), 0.0, begun=[failure("a")])
    book = look(book, 20.0, begun=[failure("b"), failure("c")])
    assert send(book, 29.0)[1] == []
    book, texts = send(book, 30.0)
    assert texts == [(False, "a failed"), (False, "b failed"), (False, "c failed")]
    book = look(book, 40.0, begun=[failure("d")])
    assert send(book, 329.0)[1] == []
    assert send(book, 330.0)[1] == [(False, "d failed")]


def test_a_flood_neither_delays_nor_swells_a_letter():
    """A failure each second for ever: the first letter goes out in time, and what it cannot hold is counted."""
    book = Book()
    for second in range(31):
        book = look(book, second, begun=[failure(f"{second}-{number}") for number in range(20)])
    book, (letter,) = take_due(book, PACE, 30.0)
    assert (len(letter.notices), letter.left_out) == (MOST_OWED, 31 * 20 - MOST_OWED)
    subject, text = compose(letter, "farm")
    assert subject == f"farm: {MOST_OWED} failed"
    assert text.count("\n  ") == MOST_LINES + 1
    assert f"and {MOST_OWED - MOST_LINES} more" in text
    assert f"{31 * 20 - MOST_OWED} earlier ones" in text
    assert settle(book, letter, 31.0).outlets["desk"].left_out == 0


def test_what_is_over_before_it_was_told_is_not_told():
    """A trouble that comes and goes within `gather` is silent, one that lasts is told as it is when it goes out."""
    book = look(Book(), 0.0, thin())
    book = look(book, 10.0)
    assert send(book, 100.0)[1] == []
    book = look(book, 200.0, thin(text="2 of 3"))
    book = look(book, 210.0, thin(text="1 of 3"))
    book, texts = send(book, 230.0)
    assert texts == [(False, "1 of 3")]
    # Over and back again before the next letter: the receiver believes that it lasts, and so it is.
    book = look(book, 240.0)
    book = look(book, 250.0, thin())
    assert send(book, 900.0)[1] == []


def test_a_failure_is_told_even_if_mended_at_once():
    """It did happen: both its failure and its end are told, in that order."""
    book = look(Book(), 0.0, begun=[failure("a")])
    book = look(book, 1.0, ended={failure("a").key: "a has finished after all"})
    assert send(book, 60.0)[1] == [(False, "a failed"), (True, "a has finished after all")]


def test_each_channel_tells_what_it_wants():
    """A channel hears of the kinds it names, and of an end only where it heard, or could, of the beginning."""
    wants = {"all": frozenset(Kind), "ends": frozenset({Kind.RECOVERED}), "sites": SITES}
    pace = Pace(0.0, 0.0, wants)
    book = advance(Book(), News(begun=(failure("a"),), standing=(thin(),), judged=SITES), pace, 0.0)
    book, letters = take_due(book, pace, 0.0)
    assert {letter.channel: len(letter.notices) for letter in letters} == {"all": 2, "sites": 1}
    for letter in letters:
        book = settle(book, letter, 1.0)
    book, letters = take_due(advance(book, News(judged=SITES), pace, 2.0), pace, 2.0)
    assert [letter.channel for letter in letters] == ["all"]


def test_failed_letters_are_tried_again_with_growing_pauses():
    """5 s, 10 s, 20 s ... until it arrives; news meanwhile join it."""
    book = look(Book(), 0.0, begun=[failure("a")])
    now, pauses = 30.0, []
    for _ in range(9):
        book, (letter,) = take_due(book, PACE, now)
        book = settle(book, letter, now, "no answer")
        pauses.append(book.outlets["desk"].not_before - now)
        now = book.outlets["desk"].not_before
    assert pauses == [5, 10, 20, 40, 80, 160, 320, 600, 600]
    book = look(book, now, begun=[failure("b")])
    book, texts = send(book, now)
    assert texts == [(False, "a failed"), (False, "b failed")]
    assert book.outlets["desk"].error == ""


class Receiver(RuleBasedStateMachine):
    """Troubles come and go, letters fail, arrive unacknowledged, or their sender dies.

    In the end whoever received them knows exactly what is wrong, has heard of every failure, and was told nothing
    twice that was not sent in doubt.
    """

    def __init__(self) -> None:
        super().__init__()
        self.book, self.now = Book(), 0.0
        self.standing: set[str] = set()
        self.believed: set[str] = set()
        self.failed: set[str] = set()
        self.heard: set[str] = set()
        self.doubtful = False
        self.number = 0

    def look(self, *begun: Trouble) -> None:
        # Stored and read back, as between two processes.
        self.book = Book.model_validate_json(self.book.model_dump_json())
        self.book = look(self.book, self.now, *map(thin, sorted(self.standing)), begun=begun)

    def receive(self, letter) -> None:
        for notice in letter.notices:
            key, subject = notice.trouble.key, notice.trouble.subject
            if notice.trouble.kind is Kind.FAILURE:
                assert self.doubtful or subject not in self.heard, f"{subject} was told twice"
                self.heard.add(subject)
            else:
                assert self.doubtful or (key in self.believed) is notice.over, f"{key} was told twice"
                (self.believed.discard if notice.over else self.believed.add)(key)

    @rule(seconds=st.sampled_from([1.0, 30.0, 200.0, 1000.0]))
    def wait(self, seconds) -> None:
        self.now += seconds

    @rule(name=st.sampled_from("abc"))
    def turn(self, name) -> None:
        self.standing ^= {name}
        self.look()

    @rule()
    def fail(self) -> None:
        self.number += 1
        self.failed.add(str(self.number))
        self.look(failure(str(self.number)))

    @rule(arrives=st.booleans(), told=st.sampled_from(["sent", "not sent", "died"]))
    def send(self, arrives, told) -> None:
        self.book, letters = take_due(self.book, PACE, self.now)
        for letter in letters:
            if arrives or told == "sent":
                self.receive(letter)
            if told != "died":
                self.book = settle(self.book, letter, self.now, "" if told == "sent" else "no answer")
            self.doubtful |= told != "sent"

    @precondition(lambda self: self.number < 40)
    @rule()
    def settle_all(self) -> None:
        for _ in range(3):
            self.now += 10_000 + LEASE
            self.look()
            self.send(arrives=True, told="sent")
        assert self.believed == {thin(name).key for name in self.standing}
        assert self.heard == self.failed


Receiver.TestCase.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
TestReceiver = Receiver.TestCase
