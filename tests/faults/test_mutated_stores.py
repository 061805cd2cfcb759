"""Each file of a run's folder is changed: equal bits, or a refusal that names the file."""

from __future__ import annotations

import math
import os
import random
import shutil
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fl_platform.core.outside import OutsideError
from fl_platform.run.result import finished
from fl_platform.tracking import frames
from fl_platform.tracking.checkpoint import CheckpointError
from fl_platform.tracking.history import ReplayMismatch
from fl_platform.tracking.mlflow.sync import reap
from fl_platform.tracking.records import RecordError
from fl_platform.tracking.run_folder import IdentityMismatch, RunFolder, run_folder
from tests.faults.test_records import HASH, OTHER, train

REFUSALS = (RecordError, CheckpointError, IdentityMismatch, OutsideError)
FILES = ("run.json", "journal.jsonl", "checkpoint.pt", "checkpoint.pt.previous", "result.json")
FILES += ("lock",)


def truncate(path: Path, chance: random.Random, donors: list[Path]) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: chance.randrange(max(1, len(content)))])


def zero_tail(path: Path, chance: random.Random, donors: list[Path]) -> None:
    content = path.read_bytes()
    size = chance.randrange(1, max(2, len(content)))
    path.write_bytes(content[: len(content) - size] + bytes(size))


def swap(path: Path, chance: random.Random, donors: list[Path]) -> None:
    donor = chance.choice(donors) / path.name
    mine, theirs = path.read_bytes(), donor.read_bytes() if donor.exists() else b""
    path.write_bytes(theirs)
    if donor.exists():
        donor.write_bytes(mine)


def link(path: Path, chance: random.Random, donors: list[Path]) -> None:
    target = chance.choice([*(donor / path.name for donor in donors), path.with_name("nowhere")])
    path.unlink()
    path.symlink_to(target)


def delete(path: Path, chance: random.Random, donors: list[Path]) -> None:
    path.unlink()


def copy(path: Path, chance: random.Random, donors: list[Path]) -> None:
    """Another file of the folder in its place, an older state of it, or the folder twice."""
    kind = chance.randrange(3)
    if kind == 0:
        others = [path.with_name(name) for name in FILES if name != path.name]
        shutil.copy(chance.choice([other for other in others if other.exists()]), path)
    elif kind == 1:
        shutil.copytree(path.parent, path.parent.with_name(chance.choice(["copy", "e" * 16])))
    else:
        older = path.parents[4] / "older" / path.relative_to(path.parents[3])
        if older.exists():
            shutil.copy(older, path)


MUTATIONS: list[Callable[[Path, random.Random, list[Path]], None]] = [
    truncate, zero_tail, swap, link, delete, copy,
]  # fmt: skip


def make_stores(root: Path) -> dict[str, Path]:
    """Homes with two runs: one of them stopped, ended, or killed before its last word."""
    stores = {}
    for state, stop in (("stopped", 3), ("finished", -1), ("unsaid", -1)):
        home = root / state / "home"
        train(home, config_hash=OTHER, seed=5)
        train(home, stop_after=2)
        shutil.copytree(home, root / state / "older")
        train(home, stop_after=stop)
        journal = run_folder(home, HASH).journal
        if state == "unsaid":
            lines = journal.read_bytes().splitlines(keepends=True)
            journal.write_bytes(b"".join(lines[:-1]))
        stores[state] = root / state
    twin = root / "twin" / "home"  # the same configuration, begun elsewhere with other bits
    train(twin, stop_after=4, seed=9)
    stores["twin"] = root / "twin"
    return stores


def told(result: Any) -> dict[str, Any]:
    values = result if isinstance(result, dict) else result.to_json()
    keys = ("status", "accuracy_last", "accuracy_tail", "accuracy_best", "rounds", "weights_sha256")
    return {key: values[key] for key in keys}


def what_comes_of_it(home: Path, folder: RunFolder, right: dict[str, Any]) -> str:
    """``equal`` or ``refused``; anything else is raised."""
    rows = [frames._row(run) for run in frames._all(home, "folders", ())]  # without pandas: fast
    for row in rows:
        expected = right[row["config_hash"]]["accuracy_tail"]
        assert math.isnan(row["accuracy_tail"]) or row["accuracy_tail"] == expected, row
    assert len({row["config_hash"] for row in rows}) == len(rows)
    try:
        list(reap(home))
    except REFUSALS as error:
        assert_one_line(error)
    try:
        result = finished(home, HASH) or train(home)
    except REFUSALS as error:
        assert_one_line(error)
        return "refused" if str(folder.path) in str(error) else f"refused without a name: {error}"
    assert told(result) == right[HASH]
    assert told(finished(home, HASH)) == right[HASH]
    return "equal"


def assert_one_line(error: BaseException) -> None:
    assert "\n" not in str(error)


def mutate_many(root: Path, chance: random.Random, trials: int) -> Counter[str]:
    stores = make_stores(root / "made")
    right = {
        HASH: told(finished(stores["finished"] / "home", HASH)),
        OTHER: told(finished(stores["finished"] / "home", OTHER)),
    }
    twin = run_folder(stores["twin"] / "home", HASH).path
    counts: Counter[str] = Counter()
    for trial in range(trials):
        state = chance.choice(["stopped", "finished", "unsaid"])
        shutil.copytree(stores[state], root / f"trial{trial}")
        home = root / f"trial{trial}" / "home"
        folder = run_folder(home, HASH)
        name = FILES[trial % len(FILES)]
        mutation = MUTATIONS[(trial // len(FILES)) % len(MUTATIONS)]
        path = folder.path / name
        if not os.path.lexists(path):
            continue
        kept = {file: file.read_bytes() for file in twin.iterdir() if file.is_file()}
        mutation(path, chance, [run_folder(home, OTHER).path, twin])
        linked = path.is_symlink() and {v: v.read_bytes() for v in [path.resolve()] if v.is_file()}
        case = f"{mutation.__name__} {name} of a {state} run"
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", ReplayMismatch)
                outcome = what_comes_of_it(home, folder, right)
        except BaseException as error:
            raise AssertionError(f"trial {trial}: {case}: {error!r}") from error
        assert outcome in ("equal", "refused"), f"{case}: {outcome}"
        counts[outcome] += 1
        if linked:
            assert {victim: victim.read_bytes() for victim in linked} == linked, case
        for file, content in kept.items():
            file.write_bytes(content)
    return counts


@pytest.fixture(autouse=True)
def at_ease(monkeypatch):
    """Nothing here is about lost power: do without waiting for the disk."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def test_a_changed_store_gives_equal_bits_or_names_its_file(tmp_path, chance):
    counts = mutate_many(tmp_path, chance, 72)
    assert counts["equal"] > 5
    assert counts["refused"] > 5


@pytest.mark.nightly
def test_2000_changed_stores(tmp_path, chance, figure):
    counts = mutate_many(tmp_path, chance, 2200)
    assert counts.total() >= 2000
    figure(
        "mutated stores",
        f"{counts.total()}: {counts['equal']} equal, {counts['refused']} refused by file, 0 wrong",
    )
