"""All GPU measurements in one command of at most nine minutes, without network or MLflow.

    python benchmarks/gpu.py --out gpu.jsonl
    python benchmarks/gpu.py --only "alexnet|TF32" --limit 120     # some parts, in less time
    python benchmarks/gpu.py --dry           # the same code on a CPU, tiny: no figure of a GPU
    python benchmarks/gpu.py --table gpu.jsonl                     # print the table of a file

Every part runs in its own process session with its own time limit, after which the session is
killed; each record is appended to the file at once. The most important parts run first; parts
without time left are listed. The table is printed last.

Counted by formula: operations per image by `work_per_image` (multiply-adds of products and
convolutions, forward and backward); bytes of a server part: its rows once plus one vector.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")  # look for a GPU without touching CUDA
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from benchmarks import gpu_runs
from benchmarks.apart import GRACE, Part, Record, apart
from benchmarks.card import PRECISIONS, ceilings
from benchmarks.gpu_parts import against_authors, difference, server, training
from benchmarks.interleaved import machine

REPOSITORY = Path(__file__).resolve().parents[1]
LIMIT = 530.0  # seconds for all parts, their leaving included


def parts(
    device: str, dry: bool, home: Path, data: Sequence[str], found: list[Record]
) -> dict[str, tuple[float, Part]]:
    """Parts in the order of importance: name -> (time limit in seconds, part).

    Later parts read the records of earlier parts from ``found``.
    """
    rates = PRECISIONS[:1] if dry else PRECISIONS
    best = "float32" if dry else "TF32"
    fast = {rate: partial(fastest, found, rate) for rate in rates}
    said = gpu_runs.said(home, device, dry, data)
    rounds = 2 if dry else gpu_runs.ROUNDS
    few = 2 if dry else 30

    def local(name: str, rate: str) -> tuple[float, Part]:
        return 60, partial(training, name, rate, device, dry)

    def alone(rate: str) -> tuple[float, Part]:
        return 150, partial(gpu_runs.whole_run, said, home, rate, rounds, fast[rate])

    def beside(count: int, rate: str) -> tuple[float, Part]:
        return 90, partial(gpu_runs.sharing, said, home, rate, few, count, fast[rate])

    def authors(rate: str) -> tuple[float, Part]:
        return 60, lambda: against_authors(device, dry, rate, fast[rate]())

    todo: dict[str, tuple[float, Part]] = {
        "machine": (20, partial(about, device)),
        "ceilings": (30, partial(ceilings, device, dry)),
        "updates against the CPU, alexnet": (45, partial(difference, "alexnet", device, dry)),
        f"training, alexnet, {best}": local("alexnet", best),
        "server side": (60, partial(server, device, dry)),
        f"one run, {best}": alone(best),
        f"the authors' loop, {best}": authors(best),
    }
    for count in (2,) if dry else (8, 4, 2):
        todo[f"{count} runs at a time, {best}"] = beside(count, best)
    for rate in reversed(rates):
        todo.setdefault(f"training, alexnet, {rate}", local("alexnet", rate))
    for name in ("femnist", "digits"):
        todo[f"updates against the CPU, {name}"] = (30, partial(difference, name, device, dry))
        for rate in rates:
            todo[f"training, {name}, {rate}"] = local(name, rate)
    if not dry:
        todo["one run, bf16"] = alone("bf16")
        todo["the authors' loop, float32"] = authors("float32")
    todo["deterministic mode"] = (60, partial(gpu_runs.repeated, said, home, few, fast[best]))
    if not dry:
        todo["one run, float32"] = alone("float32")
    # A dry run is no measurement: a busy processor must not cut it short.
    return {name: (900 if dry else most, part) for name, (most, part) in todo.items()}


def about(device: str) -> Iterator[Record]:
    yield machine(device)


def fastest(found: Sequence[Record], rate: str) -> str:
    """Backend with the most AlexNet images per second; ``auto`` if none was measured."""
    speeds = {
        record["way"]: record["images/s"]
        for record in found
        if record.get("network") == "alexnet"
        and record.get("precision") == rate
        and record.get("shares") == "dirichlet"
        and "images/s" in record
    }
    return max(speeds, key=lambda way: speeds[way]) if speeds else "auto"


def measure(
    todo: dict[str, tuple[float, Part]],
    out: Path,
    found: list[Record],
    only: str = "",
    limit: float = LIMIT,
    grace: float = GRACE,
) -> None:
    """Run the parts in sequence; every record goes to ``found`` and ``out`` at once."""
    end = time.monotonic() + limit

    def heard(part: str, record: Record) -> None:
        found.append({"part": part, **record})
        with out.open("a") as file:
            file.write(json.dumps(found[-1]) + "\n")

    for name, (most, part) in todo.items():
        if not re.search(only, name):
            continue
        began, left = time.monotonic(), end - time.monotonic() - grace - 5
        if left < min(most, 15):
            heard(name, {"failed": "left out: the time is up"})
            continue
        why = apart(part, min(most, left), partial(heard, name), grace=grace)
        if why:
            heard(name, {"failed": why})
        spent = time.monotonic() - began
        print(f"{spent:6.1f} s  {name}  {why}".rstrip(), file=sys.stderr, flush=True)


LEFT_TO_THE_FILE = ("part", "failed", "ms", "spread", "ms a round by phase")


def table(found: Sequence[Record]) -> str:
    """One short line per record, failures last; the file has the full records."""
    lines, failures = [], []
    for record in found:
        part = record["part"]
        told = [
            str(value) if key in ("what", "way", "shares") else f"{key} {value}"
            for key, value in record.items()
            if (key not in LEFT_TO_THE_FILE or (key == "ms" and "what" in record))
            and not (isinstance(value, str) and value in part)
        ]
        if "failed" in record:
            failures.append(f"! {part}: {', '.join([*told, record['failed']])}")
        else:
            lines.append(f"{part}: {', '.join(told)}")
    return "\n".join([*lines, *failures])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--dry", action="store_true", help="tiny sizes on a CPU")
    parser.add_argument("--data", nargs="*", default=[], help="overrides that name real CIFAR-10")
    parser.add_argument("--only", default="", help="parts whose name this expression finds")
    parser.add_argument("--limit", type=float, default=LIMIT, help="seconds for all parts")
    parser.add_argument("--out", type=Path, default=Path("gpu.jsonl"), help="JSON lines, appended")
    parser.add_argument("--table", type=Path, help="print the table of such a file and leave")
    asked = parser.parse_args()
    if asked.table:
        print(table([json.loads(line) for line in asked.table.read_text().splitlines()]))
        return
    if not asked.dry and not torch.cuda.is_available():
        sys.exit("Expected a CUDA device, got none: not measured. --dry tries the code on a CPU.")
    # An end from outside unwinds the stack, and with it the processes of the part at work.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    found: list[Record] = []
    device = "cpu" if asked.dry else "cuda"
    torch.set_num_threads(1 if asked.dry else 8)
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        (home / "conf").symlink_to(REPOSITORY / "conf")
        try:
            todo = parts(device, asked.dry, home, asked.data, found)
            measure(todo, asked.out, found, asked.only, asked.limit)
        finally:
            print(table(found), flush=True)


if __name__ == "__main__":
    main()
