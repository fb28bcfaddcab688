"""Which reports the server has not answered yet, and what its verdicts mean. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from p3s.pilot.events import Discard, Forget, Note, Publish, Stop, Upload

if TYPE_CHECKING:
    from collections.abc import Iterable

    from p3s.pilot.events import Instruction
    from p3s.wire import AttemptReport, Verdict

__all__ = ["Ledger"]

#: Reports in one call; each may carry 128 KiB of output.
BATCH = 100
#: Tries to publish before it is left to the next pilot.
PUBLISH_TRIES = 5
#: Seconds before an upload or a publication is tried again; each pause in a row doubles.
RETRY_PAUSE = 0.5
LONGEST_RETRY_PAUSE = 30.0


class Ledger:
    """Keeps every report until its verdict, and every accepted attempt until its names are published."""

    def __init__(self) -> None:
        self._reports: dict[tuple[str, str], AttemptReport] = {}
        self._sent: set[tuple[str, str]] = set()
        self._publishes: set[str] = set()
        self._waiting: set[str] = set()
        self._stopped: set[str] = set()
        self._publishing: set[str] = set()
        self._tries: dict[str, int] = {}
        self._retries: list[tuple[float, Upload | Publish]] = []
        self._foreign: set[str] = set()
        #: After the server refused a call's content: one report at a time, to find the one that it cannot take.
        self.suspicious = False

    def add(
        self, report: AttemptReport, *, uploads: bool = False, publishes: bool = False, foreign: bool = False
    ) -> list[Instruction]:
        """Keep a report for delivery.

        Parameters
        ----------
        report : AttemptReport
            A final one replaces the report of the start, which then need not travel.
        uploads : bool
            Whether its results must reach the server first.
        publishes : bool
            Whether acceptance is followed by publication.
        foreign : bool
            Whether an earlier pilot made it.

        Returns
        -------
        list of Instruction
            What to do first.
        """
        if report.kind != "started" and (report.attempt, "started") not in self._sent:
            self._reports.pop((report.attempt, "started"), None)
        self._reports[report.attempt, report.kind] = report
        if foreign:
            self._foreign.add(report.attempt)
        if publishes:
            self._publishes.add(report.attempt)
        if uploads:
            self._waiting.add(report.attempt)
            return [Upload(report.attempt)]
        return []

    def resume_publication(self, attempt: str) -> list[Instruction]:
        """Publish what an earlier pilot had accepted but not published."""
        self._publishing.add(attempt)
        return [Publish(attempt)]

    def take(self) -> list[AttemptReport]:
        """Return the reports to send now, and remember that they are on their way."""
        limit = 1 if self.suspicious else BATCH
        chosen = [key for key in self._reports if key not in self._sent and key[0] not in self._waiting][:limit]
        self._sent.update(chosen)
        return [self._reports[key] for key in chosen]

    def has_due(self) -> bool:
        """Return whether a report could be sent now."""
        return any(key not in self._sent and key[0] not in self._waiting for key in self._reports)

    def list_open(self) -> list[str]:
        """Return this pilot's own attempts whose reports have no verdict."""
        return [attempt for attempt, _ in self._reports if attempt not in self._foreign]

    def has_uploads(self) -> bool:
        """Return whether results must still reach the server."""
        return bool(self._waiting)

    def list_waiting(self) -> list[str]:
        """Return the attempts whose outputs are still being brought where they belong."""
        return sorted(self._waiting)

    def list_stopped(self) -> list[str]:
        """Return those of them that are no longer wanted."""
        return sorted(self._stopped & self._waiting)

    def stop(self, attempt: str, reason: str, now: float) -> list[Instruction]:
        """Have the outputs of an attempt not brought any further; what comes of it is reported."""
        if attempt not in self._waiting or attempt in self._stopped:
            return []
        self._stopped.add(attempt)
        # The next try, if there is to be one, finds out at once.
        self._retries = [(now if one.attempt == attempt else at, one) for at, one in self._retries]
        return [Stop(attempt, force=True, reason=reason)]

    def has_publications(self) -> bool:
        """Return whether published names are still to be put in place."""
        return bool(self._publishing)

    def give_back(self, reports: Iterable[AttemptReport]) -> None:
        """Let reports of a failed call be sent again."""
        self._sent.difference_update((report.attempt, report.kind) for report in reports)

    def note_verdicts(self, reports: Iterable[AttemptReport], verdicts: Iterable[Verdict]) -> list[Instruction]:
        """Settle the reports of an answered call.

        Parameters
        ----------
        reports : iterable of AttemptReport
            What the call carried.
        verdicts : iterable of Verdict
            What the server made of it; a report without one is sent again.

        Returns
        -------
        list of Instruction
            What follows: forget, publish, discard; for a start that was not taken, stop, if it still runs.
        """
        found = {(verdict.attempt, verdict.kind): verdict for verdict in verdicts}
        instructions: list[Instruction] = []
        for report in reports:
            key = (report.attempt, report.kind)
            verdict = found.get(key)
            self._sent.discard(key)
            if verdict is None or key not in self._reports:
                continue
            del self._reports[key]
            if verdict.verdict in {"superseded", "refused"}:
                instructions += self._drop(report, verdict)
            elif report.kind == "succeeded" and report.attempt in self._publishes:
                instructions += self.resume_publication(report.attempt)
            elif report.kind == "succeeded":
                instructions.append(Forget(report.attempt))
            elif report.kind != "started":
                # Nobody will read the outputs of an attempt that did not succeed.
                instructions.append(Discard(report.attempt))
        return instructions

    def refuse(self, report: AttemptReport, message: str) -> list[Instruction]:
        """Drop a report that the server cannot take."""
        self._sent.discard((report.attempt, report.kind))
        self._reports.pop((report.attempt, report.kind), None)
        self.suspicious = False
        text = f"the server cannot take the {report.kind} report of attempt {report.attempt}: {message}; dropped"
        return [Note(text)] if report.kind == "started" else [Note(text), Discard(report.attempt)]

    def note_upload(self, attempt: str) -> None:
        """Let the report of an attempt go: its results are on the server."""
        self._waiting.discard(attempt)
        self._stopped.discard(attempt)
        self._tries.pop(attempt, None)

    def replace(self, report: AttemptReport) -> None:
        """Report a failure in place of a success whose results cannot be uploaded."""
        self._reports = {key: value for key, value in self._reports.items() if key[0] != report.attempt}
        self._publishes.discard(report.attempt)
        self.note_upload(report.attempt)
        self._reports[report.attempt, report.kind] = report

    def note_published(self, attempt: str) -> list[Instruction]:
        """Close an attempt whose names are in place."""
        self._publishing.discard(attempt)
        self._publishes.discard(attempt)
        return [Forget(attempt)]

    def retry(self, instruction: Upload | Publish, now: float) -> list[Instruction]:
        """Put off an upload or a publication that failed; a publication is given up after some tries."""
        attempt = instruction.attempt
        tries = self._tries[attempt] = self._tries.get(attempt, 0) + 1
        if isinstance(instruction, Publish) and tries >= PUBLISH_TRIES:
            self._publishing.discard(attempt)
            return [Note(f"attempt {attempt} stays unpublished; the next pilot with this work folder tries again")]
        pause = min(RETRY_PAUSE * 2 ** min(tries - 1, 10), LONGEST_RETRY_PAUSE)
        self._retries.append((now + pause, instruction))
        return []

    def take_retries(self, now: float) -> list[Instruction]:
        """Return what is to be tried again now."""
        due: list[Instruction] = [instruction for at, instruction in self._retries if at <= now]
        self._retries = [entry for entry in self._retries if entry[0] > now]
        return due

    def find_next_retry(self) -> float:
        """Return when something is to be tried again; infinity for never."""
        return min((at for at, _ in self._retries), default=float("inf"))

    def _drop(self, report: AttemptReport, verdict: Verdict) -> list[Instruction]:
        attempt = report.attempt
        note = Note(
            f"attempt {attempt}: {verdict.kind} report {verdict.verdict} ({verdict.message or 'no cause given'})"
        )
        if report.kind == "started":
            # What it made is for the verdict on its end alone: that may be on its way, or even be taken already.
            return [note, Stop(attempt, force=True, reason="another attempt counts")]
        self._publishes.discard(attempt)
        return [note, Discard(attempt)]
