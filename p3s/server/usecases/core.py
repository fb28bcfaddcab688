"""What all use cases share: the database, the settings, the waiting calls, and the frame of a change."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, Any, TypeVar, cast

import sqlalchemy as sa

from p3s.clock import read_clock
from p3s.engine.matching import Requirement, find_mismatches
from p3s.engine.states import JobState
from p3s.errors import Unavailable
from p3s.server.limits import Buckets, Limiter
from p3s.server.models import job, jobtype, meta, requirement
from p3s.server.prepared import Prepared, among, param
from p3s.server.transitions.endings import ReportRules
from p3s.server.transitions.repeats import CURRENT
from p3s.server.transitions.spread import continue_ripples
from p3s.server.usecases.changes import Change, Changes
from p3s.server.usecases.counts import Counter
from p3s.server.usecases.memory import Memory
from p3s.server.usecases.wakeups import Hub

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from p3s.engine.matching import Offer
    from p3s.server.auth import Who
    from p3s.server.db import Database
    from p3s.server.transitions.ledger import Ledger
    from p3s.server.usecases.wakeups import Waiter
    from p3s.settings import ServerSettings

__all__ = ["Core"]

Result = TypeVar("Result")

#: Held calls whose answer one transaction of another takes along; the others look for themselves.
ANSWERED = 16
#: Offers of claims whose fitting requirements are remembered.
OFFERS = 500
# What each sweep reads anew.
_PAUSED = Prepared(sa.select(meta.c.value).where(meta.c.key == "paused"))
_CAPPED = Prepared(sa.select(jobtype.c.name))
_REQUIREMENTS = Prepared(
    sa.select(requirement)
    .where(sa.or_(requirement.c.id > param("newest", sa.BigInteger()), among(requirement.c.id, "missing")))
    .order_by(requirement.c.id)
)


class Core:
    """One server process.

    Attributes
    ----------
    db : Database
        The pool.
    settings : ServerSettings
        How it behaves.
    logins, submissions : Limiter
        Tries to log in, by address, and what was submitted, by token.
    hub : Hub
        The held calls of this process.
    secret : str
        Signs sessions and derives attempt tokens; the same in all processes of a database.
    """

    def __init__(self, db: Database, settings: ServerSettings, buckets: Buckets | None = None) -> None:
        self.db = db
        self.settings = settings
        self.hub = Hub()
        self._changes = Changes(db, self._take, lambda seconds: self.observe("claim", seconds))
        self.secret = self._read_secret()
        self.born = time.monotonic()
        counts = buckets or Buckets()
        self.logins = Limiter("logins", settings.logins, counts)
        self.submissions = Limiter("submissions", settings.submissions, counts)
        #: By pilot the hash of the secret that it called with last; the transaction of a call checks it again.
        self.pilots: dict[str, str] = {}
        #: Told how long a claim or a sweep took; the metrics listen.
        self.observe: Callable[[str, float], None] = lambda _what, _seconds: None
        #: When tokens were last used, by row, until the sweeper writes it down.
        self.uses: dict[int, float] = {}
        #: Who paused the whole server; read anew each second.
        self.paused_by: str | None = None
        #: Jobtypes with a cap; read anew each second.
        self.capped: frozenset[str] = frozenset()
        #: How many there are of each kind.
        self.counts = Counter(db)
        #: When the database last had no room or could not be written, and what it said.
        self.trouble: tuple[float, str] | None = None
        #: By the hash of a token whose it was when it was last looked up; whoever acts on it checks it.
        self.whos: dict[str, Who] = {}
        #: What pilots' calls left to the next ones.
        self.memory = Memory()
        self._requirements: dict[int, Requirement] = {}
        self._fits: dict[Offer, tuple[int, dict[int, tuple[int, int]]]] = {}
        self.read_pause()
        self.read_caps()
        self.read_requirements()

    @property
    def rules(self) -> ReportRules:
        """What taking reports needs."""
        return ReportRules(secret=self.secret, budget=self.settings.infrastructure_budget)

    def change(self, cause: str, action: Callable[[Ledger], Result], *, small: bool = False) -> Result:
        """Run `action` in one transaction; after the commit, wake whom it concerns and finish what was too large.

        Parameters
        ----------
        cause : str
            Who or what brings the changes about.
        action : callable
            Acts on the database only, because it may run again.
        small : bool
            Whether it is brief, asks for rows by their keys, and may be committed together with others.

        Raises
        ------
        Unavailable
            If the database cannot be written now; nothing was changed.
        """
        return cast("Result", self.commit(Change(cause, action, CURRENT.get()), small=small))

    def commit(self, change: Change, *, small: bool) -> Any:
        """Make a change as `change` does, and return its result."""
        first = change
        self._commit(change, small=small)
        while change.rippling:
            change = Change("release in batches", continue_ripples)
            self._commit(change)
            change.rippling = change.result
        return first.result

    @property
    def requirements(self) -> Mapping[int, Requirement]:
        """All requirements known by id; what another process stored is known a second later."""
        return self._requirements

    def find_fits(self, offer: Offer) -> dict[int, tuple[int, int]]:
        """Return the requirements that an offer meets, with the cpus and bytes that each of their jobs takes."""
        # Most claims offer what some claim before offered; what was added since is looked at alone. Requirements become
        # known in the order of commits, which need not be that of their ids.
        if len(self._fits) > OFFERS:
            self._fits.clear()
        seen, fits = self._fits.get(offer, (0, {}))
        if len(self._requirements) > seen:
            known = list(self._requirements.items())
            fresh = {
                ident: (wish.cpus, wish.memory) for ident, wish in known[seen:] if not find_mismatches(wish, offer)
            }
            fits = fits | fresh
            self._fits[offer] = len(known), fits
        return fits

    def read_requirements(self, wanted: Iterable[int] = ()) -> None:
        """Read what is new, and of what is older at least those wanted. Rows never change."""
        newest = max(self._requirements, default=0)
        missing = sorted(set(wanted) - self._requirements.keys())
        with self.db.read() as connection:
            rows = _REQUIREMENTS.run(connection, newest=newest, missing=missing)
        for row in rows:
            self._requirements[row.id] = Requirement(
                owner=row.owner,
                jobtype=row.jobtype,
                cpus=row.cpus,
                memory=row.memory,
                timelimit=row.timelimit,
                labels=tuple(row.labels),
                site=row.site,
            )

    def read_pause(self) -> None:
        """Look up whether the server is paused; another process may have been told."""
        with self.db.read() as connection:
            self.paused_by = next((row.value for row in _PAUSED.run(connection)), None)

    def read_caps(self) -> None:
        """Look up which jobtypes have a cap; another process may have been told."""
        with self.db.read() as connection:
            self.capped = frozenset(row.name for row in _CAPPED.run(connection))

    def find_capped(self, fits: Iterable[int]) -> dict[int, str]:
        """Return those of the requirements whose jobtype has a cap, with that jobtype."""
        if not self.capped:
            return {}
        return {ident: name for ident in fits if (name := self._requirements[ident].jobtype) in self.capped}

    def ring_all(self) -> None:
        """Ring held claims for all that is claimable, whichever process released it."""
        if self.paused_by is not None or not self.hub.is_wanted():
            return
        there = sa.exists().where(
            job.c.requirement_id == requirement.c.id, job.c.state == sa.literal_column(f"'{JobState.DEFINED}'")
        )
        with self.db.read() as connection:
            found = connection.scalars(sa.select(requirement.c.id).where(there)).all()
        self.wake(dict.fromkeys(found, 1))

    def wake(self, released: Mapping[int, int]) -> None:
        """Ring held claims for jobs that became claimable; `released` counts them by requirement."""
        if not released.keys() <= self._requirements.keys():
            self.read_requirements(released)
        self.hub.wake(released, self._requirements)

    def _commit(self, change: Change, *, small: bool = False) -> None:
        try:
            self._changes.commit(change, small=small)
        except Unavailable as error:
            self.trouble = read_clock(), str(error)
            raise
        if change.keyed is not None:
            change.keyed.noted = True
        if change.left:
            self.wake(change.left)
        if change.poked:
            self.hub.poke(change.poked)

    def _take(self, released: Mapping[int, int]) -> tuple[list[Waiter], Mapping[int, int]]:
        """Take sleeping calls that the open transaction can answer."""
        if self.paused_by is not None or (self.capped and not self.db.is_sqlite):
            # The counters of capped jobtypes come before jobs in the one order of locks.
            return [], released
        return self.hub.take(released, self._requirements, ANSWERED)

    def _read_secret(self) -> str:
        def run(connection: sa.Connection) -> str:
            found = connection.scalar(sa.select(meta.c.value).where(meta.c.key == "secret"))
            if found is None:
                found = secrets.token_hex(32)
                connection.execute(sa.insert(meta).values(key="secret", value=found))
            return str(found)

        return self.db.write(run)
