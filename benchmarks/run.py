"""The driver: runs cases, one system after the other in each repeat, and prints a line for each result.

``python -m benchmarks.run --quick`` takes some minutes; ``--only chain --only bag-2`` chooses cases.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import alone, cases, limits, peers, serving, start
from benchmarks.results import Result, make_tables, summarise
from tests.support.databases import Postgres

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.faults import Faults

__all__ = ["main"]

#: Slots of the cases that GNU make has, too.
SIZES = {"bag-2": 2, "bag-8": 8}
#: Peers that take tens of ms for a job: a fifth of the jobs tells as much in a quick run.
SLOW = frozenset({"luigi", "snakemake"})
#: Seconds without work before a submission, and how many of these in a round; the first are those of the target.
IDLE = ((0.15, 33), (0.01, 20), (1.0, 5))


class Suite:
    """The cases, small or whole.

    Parameters
    ----------
    postgres : Postgres
        A database server of this run.
    quick : bool
        Fewer repeats and smaller numbers.
    """

    def __init__(self, postgres: Postgres, *, quick: bool) -> None:
        self._databases: dict[str, Postgres | None] = {"p3s sqlite": None, "p3s postgresql": postgres}
        self._postgres = postgres
        self._repeats = 1 if quick else 3
        self._quick = quick

    def list_cases(self) -> dict[str, Callable[[], Iterator[Result]]]:
        """Return the cases by name."""
        return {
            "limits": self.run_limits,
            "latency": self.run_latency,
            "bag-2": lambda: self._compare_bags("bag-2", 2),
            "bag-8": lambda: self._compare_bags("bag-8", 8),
            "chain": lambda: self._compare("chain", 100, lambda db: cases.measure_chain(db, 100)),
            "fan": lambda: self._compare("fan", 102, lambda db: cases.measure_fan(db, 100)),
            "claims": self.run_claims,
            "submit": self.run_submission,
            "load": self.run_load,
            "finish": self.run_finishing,
            "idle": self.run_idle,
            "start-up": self.run_start,
            "pilot": self.run_pilot,
        }

    def _compare(
        self, case: str, number: int, measure: Callable[[Postgres | None], tuple[float, Faults]]
    ) -> Iterator[Result]:
        values: dict[str, list[float]] = {}
        there = peers.find_peers()
        faults: dict[str, list[Faults]] = {}
        for _ in range(self._repeats):
            for name, database in self._databases.items():
                value, wrong = measure(database)
                values.setdefault(name, []).append(value)
                faults.setdefault(name, []).append(wrong)
            for peer in there:
                some = number // 5 if self._quick and peer in SLOW else number
                found = peers.measure_peer(peer, case, some, self._postgres.make_empty())
                if found is not None:
                    values.setdefault(peer, []).append(found)
            if case in SIZES:
                values.setdefault("GNU make", []).append(limits.measure_make(number, SIZES[case]))
        for name, all_found in values.items():
            yield summarise(name, case, number, "ms/job", all_found)
        for name, all_wrong in faults.items():
            yield _show_faults(name, case, number, all_wrong)

    def _compare_bags(self, case: str, slots: int) -> Iterator[Result]:
        number = 500 if self._quick else 1000
        return self._compare(case, number, lambda db: cases.measure_bag(db, number, slots))

    def run_limits(self) -> Iterator[Result]:
        """Measure what the machine can do."""
        yield summarise("machine", "spawn", 300, "ms", [limits.measure_spawn(300) for _ in range(3)])
        yield summarise("machine", "fsync", 200, "ms", [limits.measure_fsync(200) for _ in range(3)])
        for pause in (0.0, 0.15):
            for large, kind in ((False, "small"), (True, "large")):
                name = f"touch 4 MiB in {kind} pages after {pause:g} s"
                yield summarise("machine", name, 20, "ms", limits.measure_touch(20, pause, large=large))

    def run_latency(self) -> Iterator[Result]:
        """Measure from a submission, or a load, to the payload, after pauses in which the system has nothing to do."""
        values: dict[str, list[list[float]]] = {}
        faults: dict[str, list[Faults]] = {}
        plan = [(pause, number // 5) for pause, number in IDLE[:2]] if self._quick else IDLE

        def note(name: str, found: list[list[float]]) -> None:
            for all_found, some in zip(values.setdefault(name, [[] for _ in plan]), found, strict=True):
                all_found.extend(some)

        for _ in range(self._repeats):
            for name, database in self._databases.items():
                found, wrong = cases.measure_latency(database, plan)
                note(name, found["job"])
                note(f"{name}, workflow of three", found["workflow"])
                faults.setdefault(name, []).append(wrong)
            note("machine", limits.measure_payload(plan))
            for peer in peers.PROMPT if peers.find_peers() else ():
                note(peer, peers.measure_idle_peer(peer, plan, self._postgres.make_empty()))
        for name, all_found in values.items():
            for (pause, _), some in zip(plan, all_found, strict=True):
                yield summarise(name, f"latency after {pause:g} s", len(some), "ms", some)
            last = sorted(all_found[0])[int(len(all_found[0]) * 0.95)]
            yield summarise(name, f"latency-95 after {plan[0][0]:g} s", len(all_found[0]), "ms", [last])
        for name, all_wrong in faults.items():
            yield _show_faults(name, "latency", 4 * sum(number for _, number in plan), all_wrong)

    def run_claims(self) -> Iterator[Result]:
        """Measure claims with few and with many jobs ahead that fit, that do not, and whose type is at its cap."""
        deep = 20_000 if self._quick else 1_000_000
        for name, database in self._databases.items():
            for ahead in ("fits", "misfits", "capped"):
                few, many = serving.measure_claims(database, (1000, deep), 200, ahead=ahead)
                yield summarise(name, f"claims, {ahead}: 1,000 queued", 200, "ms", [few])
                yield summarise(name, f"claims, {ahead}: {deep:,} queued", 200, "ms", [many])
                yield summarise(name, f"claims, {ahead}: {deep:,} over 1,000", 200, "x", [many / few])

    def run_submission(self) -> Iterator[Result]:
        """Measure bulk submissions."""
        number = 3000 if self._quick else 20_000
        for name, database in self._databases.items():
            values = [serving.measure_submission(database, number) for _ in range(self._repeats)]
            yield summarise(name, "submit", number, "jobs/s", values)

    def run_load(self) -> Iterator[Result]:
        """Measure the load of a large workflow."""
        number = 10_000 if self._quick else 100_000
        for name, database in self._databases.items():
            seconds, memory = serving.measure_load(database, number)
            yield summarise(name, "load", number, "s", [seconds])
            yield summarise(name, "load: largest process", number, "MB", [memory])

    def run_finishing(self) -> Iterator[Result]:
        """Measure many pilots that finish short jobs."""
        number = 2000 if self._quick else 10_000
        for name, database in self._databases.items():
            found = [serving.measure_finishing(database, 64, number) for _ in range(self._repeats)]
            yield summarise(name, "finish: 64 pilots", number, "results/s", [value for value, _ in found])
            yield _show_faults(name, "finish", number, [wrong for _, wrong in found])

    def run_idle(self) -> Iterator[Result]:
        """Measure requests and wake-ups beside idle pilots."""
        pilots = 500 if self._quick else 2000
        for name, database in self._databases.items():
            idle = serving.measure_idle(database, pilots, 200)
            yield summarise(name, f"request beside {pilots} idle pilots", 200, "ms", idle.asked)
            yield summarise(name, f"99 % of requests beside {pilots} idle pilots", 200, "ms", [sorted(idle.asked)[-3]])
            yield summarise(name, f"wake-up of one of {pilots} pilots", 20, "ms", idle.wakes)
            yield summarise(name, f"CPU of a server with {pilots} idle pilots", 1, "% of a core", [100 * idle.share])

    def run_start(self) -> Iterator[Result]:
        """Measure commands as processes, and how a pilot begins."""
        number = 9 if self._quick else 31
        for name, values in start.measure_commands(number).items():
            yield summarise("p3s", f"start-up: {name}", number, "s", values)
        seconds, sizes = start.measure_pilot(number)
        yield summarise("p3s", "start-up: pilot, until it is registered", number, "s", seconds)
        yield summarise("p3s", "start-up: pilot with its keeper", number, "MB", sizes)

    def run_pilot(self) -> Iterator[Result]:
        """Measure what short jobs cost a pilot by itself."""
        number = 500 if self._quick else 2000
        for slots in (1, 2, 8):
            costs = [alone.measure_alone(number, slots) for _ in range(3)]
            yield summarise("p3s", f"pilot-{slots}, wall", number, "ms/job", [one.wall for one in costs])
            yield summarise("p3s", f"pilot-{slots}, its CPU", number, "ms/job", [one.cpu for one in costs])


def _show_faults(system: str, case: str, number: int, found: list[Faults]) -> Result:
    """Return how many jobs were lost, accepted twice, or given out before their parents' ends; that must be none.

    Raises
    ------
    AssertionError
        If there were any.
    """
    if any(faults.total for faults in found):
        raise AssertionError(f"{system}, {case}: {found}")
    what = "jobs lost, accepted twice or given out too early"
    return summarise(f"{system}, {case}", what, number, "jobs", [faults.total for faults in found])


def main() -> None:
    """Run the cases that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description="measure p3s beside its peers")
    parser.add_argument("--quick", action="store_true", help="fewer repeats, smaller numbers")
    parser.add_argument("--only", action="append", default=[], metavar="CASE", help="this case; may be repeated")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results.jsonl"), help="add the lines here")
    chosen = parser.parse_args()
    # Servers and databases end with the driver, also where something ends it early.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended early"))
    postgres = Postgres()
    results = []
    began = time.monotonic()
    try:
        listed = Suite(postgres, quick=chosen.quick).list_cases()
        unknown = sorted(set(chosen.only) - set(listed))
        if unknown:
            parser.error(f"no case {', '.join(unknown)}; there are {', '.join(listed)}")
        with chosen.out.open("a", encoding="utf-8") as file:
            for name, run in listed.items():
                if chosen.only and name not in chosen.only:
                    continue
                for result in run():
                    results.append(result)
                    sys.stderr.write(result.to_line() + "\n")
                    file.write(result.to_line() + "\n")
                    file.flush()
    finally:
        postgres.stop()
    sys.stdout.write(make_tables(results) + f"\nAll of it took {time.monotonic() - began:.0f} s.\n")


if __name__ == "__main__":
    main()
