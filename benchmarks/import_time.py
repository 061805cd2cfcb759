"""Import time of one attack beside torch alone, in fresh processes that take turns.

    python benchmarks/import_time.py [--repeats 9]

Prints the median processor seconds of each import and their ratio (target: at most 1.3).
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
from pathlib import Path

HOME = Path(__file__).resolve().parents[1]
IMPORTS = {
    "torch": "import torch",
    "strike": "from fl_platform.attacks import strike",
    "multi_krum": "from fl_platform.defenses import multi_krum",
}


def seconds(statement: str) -> float:
    """Processor seconds (user and system) of a process that runs the statement and ends."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "PYTHONPATH": str(HOME), "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", statement], env=environment, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeats", type=int, default=9)
    repeats = parser.parse_args().repeats
    spent: dict[str, list[float]] = {name: [] for name in IMPORTS}
    for repeat in range(repeats + 1):  # the first turn fills caches of files
        for name, statement in IMPORTS.items():
            taken = seconds(statement)
            if repeat:
                spent[name].append(taken)
    alone = statistics.median(spent["torch"])
    for name, taken_all in spent.items():
        middle = statistics.median(taken_all)
        print(f"{name:10}  {middle:.2f} s  {middle / alone:.2f} x torch")


if __name__ == "__main__":
    main()
