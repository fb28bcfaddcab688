"""One look after another: list the folders, ask what is known, decide, tell the server, start."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field
from fnmatch import fnmatch
from typing import TYPE_CHECKING, TypeVar

from p3s.clock import read_clock
from p3s.engine.fates import SETTLED, Fate
from p3s.errors import BadInput, Conflict, NotAllowed, NotFound, P3sError
from p3s.inject.choose import Choice, Ready, choose_units, is_sampled
from p3s.inject.files import Found, Unreadable, identify, list_files, read_stamp
from p3s.inject.starts import start_work
from p3s.wire import ArrivalView, Sighting, SightingsBody

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from p3s.client import Client
    from p3s.inject.rules import Rule, Rules

__all__ = ["Injector", "Report"]

#: Files in one request.
BATCH = 500
Item = TypeVar("Item")
#: Rule and path of a file.
Key = tuple[str, str]


@dataclass(slots=True)
class Report:
    """What one look did.

    Attributes
    ----------
    decided : list of ArrivalView
        Files whose fate is new or changed.
    troubles : list of str
        What could not be looked at.
    folders : set of Path
        Where files were looked for.
    soon : float or None
        Seconds until a file may be quiet; None if none is awaited.
    open : int
        Files that grow, or wait for others of this look.
    """

    decided: list[ArrivalView] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)
    folders: set[str | Path] = field(default_factory=set)
    soon: float | None = None
    open: int = 0


class Injector:
    """Decides about the files of all rules, look by look. What must outlive it is on the server.

    Parameters
    ----------
    client : Client
        The server.
    rules : Rules
        What to look for.
    patient : bool
        Whether a file is quiet only when its quiet time was watched from here; else the time of its last change tells.
    match : str, optional
        Only files whose name or path fits this pattern of a shell.
    again : bool
        Whether to start what was settled before.
    dry_run : bool
        Whether to change nothing anywhere.
    """

    def __init__(
        self,
        client: Client,
        rules: Rules,
        *,
        patient: bool = True,
        match: str | None = None,
        again: bool = False,
        dry_run: bool = False,
        between: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._client, self._rules = client, rules
        self._patient, self._match, self._again, self._dry_run = patient, match, again, dry_run
        self._between = between
        #: The stamp under which a file was settled.
        self._settled: dict[Key, str] = {}
        #: The stamp that a file was last seen with, and since when by this process's clock.
        self._since: dict[Key, tuple[str, float]] = {}
        self._identities: dict[Key, tuple[str, str]] = {}
        #: What the server was told last of a file that is not settled.
        self._told: dict[Key, tuple[str, Fate, str]] = {}
        self._resumed = False

    def look(self) -> Report:
        """Look at all rules once.

        Raises
        ------
        P3sError
            If the server cannot be asked; the next look goes on where this one stopped.
        """
        report = Report()
        try:
            if not self._resumed and not self._dry_run:
                self._resume(report)
                self._resumed = True
            for rule in self._rules.rules:
                self._look_at(rule, report)
        except P3sError:
            self._resumed = False
            raise
        return report

    # What was left by a crash -----------------------------------------------------------------------

    def _resume(self, report: Report) -> None:
        """Go on with starts that were cut off, and settle files that went away while nobody looked."""
        rules = {rule.name: rule for rule in self._rules.rules}
        units: dict[str, list[ArrivalView]] = {}
        for view in self._client.iterate_arrivals(service=self._rules.name, fate=Fate.STARTING):
            units.setdefault(view.workflow or "", []).append(view)
        for views in units.values():
            self._resume_unit(rules.get(views[0].rule), views, report)
        for fate in (Fate.GROWING, Fate.TOO_SMALL, Fate.WAITING):
            views = list(self._client.iterate_arrivals(service=self._rules.name, fate=fate))
            for view in views:
                self._told[view.rule, view.place] = (view.stamp, view.fate, view.message)
            lost = [view for view in views if not read_stamp(view.place)]
            self._tell(report, [_repeat(view, Fate.GONE) for view in lost])

    def _resume_unit(self, rule: Rule | None, views: list[ArrivalView], report: Report) -> None:
        if views[0].workflow_state is not None:
            self._tell(report, [_repeat(view, Fate.STARTED) for view in views])
            return
        lost = [view.place for view in views if not read_stamp(view.place)]
        if rule is None or lost:
            message = f"{lost[0]} is gone" if lost else f"there is no rule {views[0].rule} any more"
            self._tell(report, [_repeat(view, Fate.FAILED, message) for view in views])
            return
        files = []
        for view in sorted(views, key=lambda one: one.place):
            name = view.place.removeprefix(f"{rule.folder}/")
            match = rule.pattern.fullmatch(name)
            values = {key: value for key, value in match.groupdict().items() if value is not None} if match else {}
            files.append(Found(view.place, view.size, view.arrived, view.stamp, values))
        sightings = [_repeat(view, Fate.STARTING) for view in views]
        self._start(rule, files, sightings, report, age=max(0.0, read_clock() - max(one.arrived for one in files)))

    # One rule ---------------------------------------------------------------------------------------

    def _look_at(self, rule: Rule, report: Report) -> None:
        found, folders, troubles = list_files(rule)
        report.troubles += troubles
        report.folders |= folders
        if self._match is not None:
            found = [file for file in found if _fits(file.place, self._match)]
        elif not troubles:
            self._forget(rule, found, report)
        if not self._again:
            self._learn(rule, found)
        fresh = [file for file in found if self._again or self._settled.get((rule.name, file.place)) != file.stamp]
        ready = self._sift(rule, fresh, report)
        spec = rule.spec.model_copy(update={"limit": None, "backlog": None}) if self._again else rule.spec
        self._carry_out(rule, choose_units(spec, ready, read_clock()), report)

    def _forget(self, rule: Rule, found: Sequence[Found], report: Report) -> None:
        """Drop what is remembered of files that went away; those without a last word get theirs."""
        here = {(rule.name, file.place) for file in found}
        gone = {key for key in self._told if key[0] == rule.name} - here
        views = [view for key in gone for view in self._client.ask_arrivals(self._rules.name, key[0], [key[1]])]
        self._tell(report, [_repeat(view, Fate.GONE) for view in views if view.fate not in SETTLED])
        for memory in (self._settled, self._since, self._identities, self._told):
            for key in [key for key in memory if key[0] == rule.name and key not in here]:
                del memory[key]

    def _learn(self, rule: Rule, found: Sequence[Found]) -> None:
        """Ask the server about files that this process has not seen before."""
        strange = [file.place for file in found if (rule.name, file.place) not in self._since]
        for places in _split(strange):
            for view in self._client.ask_arrivals(self._rules.name, rule.name, places):
                if view.fate in SETTLED:
                    self._settled[rule.name, view.place] = view.stamp

    def _sift(self, rule: Rule, files: Sequence[Found], report: Report) -> list[Ready]:
        """Tell the server of files that are not good yet, or not taken, and return the others."""
        sightings: list[Sighting] = []
        ready: dict[str, Ready] = {}
        for file in files:
            fate, message, identity = self._judge(rule, file, report)
            if fate is Fate.WAITING and identity:
                ready[file.place] = Ready(file, identity)
            if not (self._again and identity):
                sightings.append(_sight(rule, file, fate, message, identity=identity))
        for view in self._tell(report, sightings):
            if view.fate is not Fate.WAITING and not self._again:
                ready.pop(view.place, None)
                # A start that was cut off meanwhile, by another process of this name.
                self._resumed = self._resumed and view.fate is not Fate.STARTING
        return list(ready.values())

    def _judge(self, rule: Rule, file: Found, report: Report) -> tuple[Fate, str, str]:
        """Return the fate of a file by itself, why, and what identifies its content where that is known."""
        left = self._compute_quiet(rule, file)
        if left > 0:
            report.open += 1
            report.soon = left if report.soon is None else min(left, report.soon)
            return Fate.GROWING, f"it changed less than {rule.spec.quiet:g} s before", ""
        if file.size < rule.spec.min_size:
            return Fate.TOO_SMALL, f"it has {file.size} bytes, its rule asks for {rule.spec.min_size}", ""
        try:
            identity = self._identify(rule, file)
        except Unreadable as error:
            report.troubles.append(str(error))
            return Fate.WAITING, str(error), ""
        if identity is None:
            report.open += 1
            return Fate.GROWING, "it changed while it was read", ""
        if not self._again and not is_sampled(identity, rule.spec.sample):
            return Fate.SAMPLED_OUT, f"its rule takes {rule.spec.sample:g} of all files", identity
        return Fate.WAITING, "", identity

    def _compute_quiet(self, rule: Rule, file: Found) -> float:
        """Return for how many seconds a file must not change before it is taken."""
        key, now = (rule.name, file.place), time.monotonic()
        stamp, since = self._since.get(key, ("", now))
        if stamp != file.stamp:
            since = now
        self._since[key] = (file.stamp, since)
        if self._patient:
            return rule.spec.quiet - (now - since) if rule.spec.quiet else 0.0
        return rule.spec.quiet - (read_clock() - file.arrived)

    def _identify(self, rule: Rule, file: Found) -> str | None:
        key = (rule.name, file.place)
        stamp, known = self._identities.get(key, ("", ""))
        if stamp == file.stamp:
            return known
        self._between(file.place)
        identity = identify(file, rule.spec.identity)
        if identity is not None:
            self._identities[key] = (file.stamp, identity)
        return identity

    # Acting -----------------------------------------------------------------------------------------

    def _carry_out(self, rule: Rule, choices: Iterable[Choice], report: Report) -> None:
        """Tell the server what was chosen, and start what is to be started, one after another."""
        quiet: list[Sighting] = []
        starts: list[Choice] = []
        for choice in choices:
            if choice.fate is Fate.STARTING:
                starts.append(choice)
                continue
            quiet += [
                _sight(rule, one.file, choice.fate, choice.message, identity=one.identity) for one in choice.files
            ]
            report.open += choice.fate is Fate.WAITING and choice.message.endswith("before it")
        self._tell(report, quiet)
        for choice in starts:
            ident = str(uuid.uuid4())
            self._between(choice.files[0].file.place)
            sightings = [
                _sight(rule, one.file, Fate.STARTING, "", identity=one.identity, workflow=ident, again=self._again)
                for one in choice.files
            ]
            age = None if self._again else max(0.0, read_clock() - choice.arrived)
            self._start(rule, [one.file for one in choice.files], sightings, report, age=age)

    def _start(
        self, rule: Rule, files: list[Found], sightings: list[Sighting], report: Report, *, age: float | None
    ) -> None:
        """Have a start written down, do it, and have its end written down: each step may be repeated."""
        views = self._tell(report, sightings, silent=not self._dry_run)
        if self._dry_run or any(view.fate is not Fate.STARTING for view in views):
            report.decided += [] if self._dry_run else [view for view in views if view.fate is not Fate.STARTING]
            return
        ident = views[0].workflow or ""
        fate, message = Fate.STARTED, ""
        try:
            start_work(self._client, rule, files, ident, age)
        except Conflict:
            # It is being loaded at this moment, by a call whose answer was lost: the next look asks again.
            self._resumed = False
            return
        except (BadInput, NotAllowed, NotFound) as error:
            fate, message = Fate.FAILED, str(error)[:4000]
        self._tell(report, [_repeat(view, fate, message) for view in views])

    def _tell(self, report: Report, sightings: Sequence[Sighting], *, silent: bool = False) -> list[ArrivalView]:
        """Have decisions written down, leave out what the server knows, and return what it decided.

        A start is told each time that it is tried: whoever starts needs the answer.
        """
        news = [
            item
            for item in sightings
            if item.again
            or item.fate is Fate.STARTING
            or self._told.get((item.rule, item.place)) != (item.stamp, item.fate, item.message)
        ]
        views: list[ArrivalView] = []
        for batch in _split(news):
            body = SightingsBody(service=self._rules.name, items=batch, dry_run=self._dry_run)
            views += self._client.record_arrivals(body)
        for view in views:
            key = (view.rule, view.place)
            if view.fate in SETTLED:
                self._settled[key] = view.stamp
                self._told.pop(key, None)
            else:
                self._told[key] = (view.stamp, view.fate, view.message)
        if not silent:
            report.decided += views
        return views


def _fits(place: str, pattern: str) -> bool:
    return fnmatch(place, pattern) or fnmatch(place.rpartition("/")[2], pattern)


def _sight(
    rule: Rule,
    file: Found,
    fate: Fate,
    message: str,
    *,
    identity: str = "",
    workflow: str | None = None,
    again: bool = False,
) -> Sighting:
    return Sighting(
        rule=rule.name,
        place=file.place,
        stamp=file.stamp,
        size=file.size,
        identity=identity,
        fate=fate,
        message=message,
        workflow=workflow,
        age=max(0.0, read_clock() - file.arrived),
        again=again,
    )


def _repeat(view: ArrivalView, fate: Fate, message: str = "") -> Sighting:
    """Return a sighting of what the server knows already, with a new fate."""
    return Sighting(
        rule=view.rule,
        place=view.place,
        stamp=view.stamp,
        size=view.size,
        identity=view.identity,
        fate=fate,
        message=message,
        workflow=view.workflow,
    )


def _split(items: Sequence[Item]) -> Iterator[list[Item]]:
    for start in range(0, len(items), BATCH):
        yield list(items[start : start + BATCH])
