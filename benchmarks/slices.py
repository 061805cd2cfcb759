"""A grid in time slices that can be continued: by default CIFAR-10's Table 1 at the paper's scale.

    python benchmarks/slices.py --home HOME --seconds 540 --at-a-time 4 --out OUT \\
        task.data.root=DATA task.data.accept_digest=DIGEST
    python benchmarks/slices.py --home HOME --seconds 0 --earlier OUT/results.tar.gz
    python benchmarks/slices.py --grid delay task=digits rounds=400 ...
    fl-platform report table1 --home HOME            # the tables of the finished runs

A layer over ``fl-platform grid NAME``: the same runs under the same names, in the order of
importance: no attack and STRIKE under all defenses first, one seed at a time, then the
other attacks likewise. At the time limit every active run stops with a checkpoint; the same call
continues it. OUT then has ``results.tar.gz`` with the records of all finished runs, and one
``unfinished-*.tar`` per stopped run, which ``--earlier`` restores on another machine of the same
kind.

The data. CIFAR-10 packed without loss takes 97 MiB in six files of 16 MiB. Where one transfer
takes 64 MiB, send the first three in one and the others in the next, each copied to a folder that
stays, and unpack them there into ``DATA/cifar10/cifar-10-batches-py``. Files that differ from the
published ones need ``task.data.accept_digest``: ``cat data_batch_[1-5] test_batch | sha256sum``.
"""

from __future__ import annotations

import argparse
import os
import sys
import tarfile
import time
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fl_platform.config import target_name
from fl_platform.core.process import Stopper
from fl_platform.grid.jobs import Job, JobTable
from fl_platform.grid.local_executor import GRACE, LocalExecutor, warm_up
from fl_platform.grid.plan import PlannedRun
from fl_platform.grid.runner import Options, plan_grid, plan_workers
from fl_platform.tracking.run_folder import RunFolder, run_folder, runs_root

REPOSITORY = Path(__file__).resolve().parents[1]
TABLE1 = ["table1", "task=cifar10", "runtime.precision=tf32"]
FIRST = ("none", "strike")  # attacks whose rows are wanted most
PACKING = 6.0  # seconds kept for the archives
RECORDS = ("run.json", "journal.jsonl", "result.json")
RESUMABLE = (*RECORDS[:2], "checkpoint.pt")
LARGEST = 16 * 2**20  # bytes of an archive
MOST = 7  # archives of unfinished runs


def ordered(cells: Sequence[PlannedRun]) -> list[PlannedRun]:
    """Runs in the order of importance, one seed at a time; otherwise as planned."""

    def rank(cell: PlannedRun) -> tuple[bool, int]:
        return target_name(cell.config.attack) not in FIRST, cell.config.seed

    return sorted(cells, key=rank)


def work(cells: Sequence[PlannedRun], home: Path, at_a_time: int, seconds: float) -> JobTable:
    """Run unfinished runs for ``seconds``; runs that are then active keep a checkpoint."""
    end = time.monotonic() + seconds - GRACE - PACKING
    table = JobTable.of(cells, home)
    waiting = table.of_state("waiting")
    if not waiting or time.monotonic() >= end:
        return table
    warm_up(home, waiting[0])
    config = waiting[0].planned.config
    environments = plan_workers(config, Options(gpu_slots=at_a_time), home)[1]
    logs = home / "logs"
    logs.mkdir(exist_ok=True)

    def changed(job: Job | None) -> None:
        if job is not None:
            print(f"{end - time.monotonic():6.0f} s left  {line(job)}", flush=True)

    with (
        Stopper() as stopper,
        LocalExecutor(home, at_a_time, logs=logs, environments=environments) as pool,
    ):
        pool.work(table, changed, lambda: stopper.signal is not None or time.monotonic() >= end)
    return table


def line(job: Job) -> str:
    """One line about one run, with the values of the table."""
    if job.result is None:
        return f"{job.state:8} {job.planned.name} {job.reason}".rstrip()
    accuracy = job.result.accuracy_tail
    told = job.result.status if accuracy is None else f"{accuracy:.2f} %"
    return f"{told:8} {job.planned.name}, {job.result.seconds:.1f} s"


def pack(table: JobTable, home: Path, out: Path) -> list[Path]:
    """Write the archives: one for all finished runs, one per active run."""
    out.mkdir(parents=True, exist_ok=True)
    made = [out / "results.tar.gz"]
    with tarfile.open(made[0], "w:gz") as archive:
        for job in table.of_state("done"):
            _add(archive, run_folder(home, job.planned.config_hash), RECORDS)
    for job in table.jobs:
        folder = run_folder(home, job.planned.config_hash)
        files = [folder.path / name for name in RESUMABLE]
        if job.state == "done" or not all(file.exists() for file in files):
            continue
        size = sum(file.stat().st_size for file in files) + 2**14
        if size > LARGEST or len(made) > MOST:
            print(f"not packed: {job.planned.name}, {size / 1e6:.1f} MB")
            continue
        made.append(out / f"unfinished-{folder.path.name}.tar")
        with tarfile.open(made[-1], "w") as archive:
            _add(archive, folder, RESUMABLE)
    return made


def _add(archive: tarfile.TarFile, folder: RunFolder, names: Sequence[str]) -> None:
    for name in names:
        if (folder.path / name).exists():
            archive.add(folder.path / name, f"{folder.path.name}/{name}")


def unpack(archive: Path, home: Path) -> int:
    """Restore the runs of an archive; existing runs are not changed.

    Raises:
        ValueError: The archive holds other files than the records of runs.
    """
    root = runs_root(home)
    with tarfile.open(archive) as members:
        for member in members:
            parts = PurePosixPath(member.name).parts
            if not (
                member.isfile()
                and len(parts) == 2
                and set(parts[0]) <= set("0123456789abcdef")
                and parts[1] in {*RECORDS, *RESUMABLE}
            ):
                raise ValueError(f"Expected records of runs in {archive}, got {member.name}.")
        names = {member.name.split("/")[0] for member in members}
        fresh = {name for name in names if not (root / name).exists()}
        for name in fresh:
            RunFolder(root / name).create()
        for member in members:
            content = members.extractfile(member)
            if content is not None and member.name.split("/")[0] in fresh:
                (root / member.name).write_bytes(content.read())
    return len(fresh)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("overrides", nargs="*", help="of all cells, as typed to fl-platform grid")
    parser.add_argument("--grid", nargs="+", default=TABLE1, help="its name and first overrides")
    parser.add_argument("--home", type=Path, default=REPOSITORY, help="folder of mlruns/")
    parser.add_argument("--seconds", type=float, default=540, help="after which nothing runs")
    parser.add_argument("--at-a-time", type=int, default=4, help="runs that share one GPU")
    parser.add_argument("--earlier", type=Path, nargs="*", default=[], help="archives to continue")
    parser.add_argument("--out", type=Path, help="folder for the archives")
    asked = parser.parse_args()
    began = time.monotonic()
    home = asked.home.absolute()
    home.mkdir(parents=True, exist_ok=True)
    if not (home / "conf").exists():
        (home / "conf").symlink_to(REPOSITORY / "conf")
    for archive in asked.earlier:
        print(f"{unpack(archive, home)} runs from {archive.name}")
    typed = [*asked.grid, *asked.overrides]
    cells = ordered(plan_grid([*typed, "runtime.tracking=journal"], home)[1])
    left = asked.seconds - (time.monotonic() - began)
    table = work(cells, home, asked.at_a_time, left)
    for job in table.jobs:
        if job.state != "waiting" or job.tries:
            print(line(job))
    for path in pack(table, home, asked.out) if asked.out else ():
        print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB")
    done = len(table.of_state("done"))
    failed = table.of_state("failed")
    print(f"{done} of {len(cells)} cells are over, {len(failed)} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
