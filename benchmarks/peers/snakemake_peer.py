"""snakemake: one process that runs rules; a job is done when its file is there. The whole process is timed."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

BAG = """\
rule all:
    input: expand("done/{{i}}", i=range({number}))
rule one:
    output: touch("done/{{i}}")
    shell: "/bin/true"
"""
CHAIN = """\
rule all:
    input: "done/{last}"
rule one:
    input: lambda wildcards: [] if wildcards.i == "0" else [f"done/{{int(wildcards.i) - 1}}"]
    output: touch("done/{{i}}")
    shell: "/bin/true"
"""


def main() -> None:
    """Run the case that the command line names."""
    kind, number, slots = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    folder = Path(tempfile.mkdtemp())
    text = (BAG if kind == "bag" else CHAIN).format(number=number, last=number - 1)
    (folder / "Snakefile").write_text(text, encoding="utf-8")
    begin = time.perf_counter()
    command = [sys.executable, "-m", "snakemake", "--cores", str(slots), "--quiet", "all", "--directory", str(folder)]
    subprocess.run([*command, "--snakefile", str(folder / "Snakefile")], check=True, stdout=sys.stderr)
    seconds = time.perf_counter() - begin
    assert len(list((folder / "done").iterdir())) == number
    sys.stdout.write(f"{seconds}\n")


if __name__ == "__main__":
    main()
