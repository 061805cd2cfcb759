"""From the shell to the result of one digits run, beside another checkout, in turns.

    python benchmarks/start_up.py --before PATH [--repeats 3] [--rounds 60]

Each run is a fresh process in a fresh home. Printed for each checkout: seconds until the result is
on the screen, seconds until the prompt is back, processor seconds (user and system) of the command
and of all its children, and the ratio before / after of the medians.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
MEASURES = ("result", "prompt", "processor")


def once(checkout: Path, rounds: int, tracking: str) -> dict[str, float]:
    """One run of the checkout's code in a fresh home, in seconds."""
    with tempfile.TemporaryDirectory(prefix="fl-start-") as name:
        home = Path(name)
        (home / "conf").symlink_to(checkout / "conf")
        words = ["run", "task=digits", f"rounds={rounds}", f"runtime.tracking={tracking}"]
        spent = processor()
        begun = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-P", "-u", "-m", "fl_platform.cli", *words, "--home", name],
            cwd=name,
            env={**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert process.stdout is not None
        shown = 0.0
        for line in process.stdout:
            if line.split()[:1] == ["accuracy"]:
                shown = time.perf_counter() - begun
        if process.wait() or not shown:
            raise RuntimeError(f"the run of {checkout} ended with code {process.returncode}")
        prompt = time.perf_counter() - begun
        return {"result": shown, "prompt": prompt, "processor": processor() - spent}


def processor() -> float:
    """Processor seconds of all children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--before", type=Path, required=True, help="checkout to compare with")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--tracking", default="mlflow")
    chosen = parser.parse_args()
    checkouts = {"before": chosen.before.resolve(), "after": HERE}
    found: dict[str, list[dict[str, float]]] = {name: [] for name in checkouts}
    for repeat in range(chosen.repeats + 1):  # the first one compiles kernels and caches
        for name, checkout in checkouts.items():
            measured = once(checkout, chosen.rounds, chosen.tracking)
            if repeat:
                found[name].append(measured)
                print(json.dumps({"checkout": name, "load": os.getloadavg()[0], **measured}))
    for measure in MEASURES:
        before, after = (statistics.median(m[measure] for m in found[n]) for n in checkouts)
        print(f"{measure:9}  before {before:6.1f} s  after {after:6.1f} s  {before / after:.2f}x")


if __name__ == "__main__":
    main()
