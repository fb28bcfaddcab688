"""``python -m tests.chaos``: the fault run, and its table; exit code 1 if something that must be zero is not."""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from pathlib import Path

from tests.chaos.run import Plan, run_chaos
from tests.chaos.work import SIZE


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--database", choices=("postgresql", "sqlite"), default="postgresql")
    parser.add_argument("--jobs", type=int, default=300)
    parser.add_argument("--storm", type=float, default=120.0, help="seconds of faults")
    parser.add_argument("--seed", type=int, default=random.randrange(10_000))
    options = parser.parse_args()
    plan = Plan(options.database, -(-options.jobs // SIZE), storm=options.storm, seed=options.seed)
    folder = Path(tempfile.mkdtemp(prefix="p3s-chaos-"))
    print(f"{plan}\nfiles and logs: {folder}")
    table = run_chaos(folder, plan)
    print(f"\n{table}\n\n{'sound' if table.sound else 'NOT SOUND'} (--seed {plan.seed})")
    return 0 if table.sound else 1


if __name__ == "__main__":
    sys.exit(main())
