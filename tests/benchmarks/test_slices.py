"""The slices of Table 1 on the embedded digits: their order, their stop, their archives."""

import io
import tarfile

import pytest

from benchmarks import slices
from fl_platform.grid.plan import plan_grid
from fl_platform.tracking.journal import read

TINY = ["table1", "task=digits", "task.clients=10", "attack=none,lie,strike", "defense=mean,median"]
QUIET = ["runtime.tracking=journal", "runtime.progress=none", "runtime.device=cpu"]


@pytest.fixture
def home(tmp_path):
    (tmp_path / "conf").symlink_to(slices.REPOSITORY / "conf")
    return tmp_path


def planned(home, *typed):
    return slices.ordered(plan_grid([*TINY, *QUIET, *typed], home)[1])


def test_no_attack_and_strike_come_first_a_seed_at_a_time(home):
    cells = planned(home, "seed=range(0,2)")
    names = [cell.name for cell in cells]
    assert names == [
        *(f"{a} vs {d}, digits s0" for a in ("none", "strike(nu=1)") for d in ("mean", "median")),
        *(f"{a} vs {d}, digits s1" for a in ("none", "strike(nu=1)") for d in ("mean", "median")),
        *(
            f"lie(z=1.5, side={side}) vs {d}, digits s{s}"
            for s in (0, 1)
            for d in ("mean", "median")
            for side in ("above", "below")
        ),
    ]


def test_a_slice_that_ends_leaves_checkpoints_and_the_next_goes_on(home, tmp_path, monkeypatch):
    cells = planned(home, "rounds=2000", "seed=0", "attack=strike", "defense=median,mean")
    folders = [slices.run_folder(home, cell.config_hash) for cell in cells]

    both = Until(lambda: all(folder.checkpoint.exists() for folder in folders))
    monkeypatch.setattr(slices, "time", both)
    board = slices.work(cells, home, 2, 60.0)
    monkeypatch.undo()
    assert len(board.of_state("waiting")) == 2
    made = slices.pack(board, home, tmp_path / "out")
    assert [path.name.partition("-")[0] for path in made] == ["results.tar.gz", *["unfinished"] * 2]

    other = tmp_path / "other"
    other.mkdir()
    (other / "conf").symlink_to(slices.REPOSITORY / "conf")
    assert sum(slices.unpack(path, other) for path in made) == 2
    again = slices.run_folder(other, cells[0].config_hash)
    rounds = rounds_of(again)
    monkeypatch.setattr(slices, "time", Until(lambda: rounds_of(again) > rounds + 5))
    slices.work(cells[:1], other, 1, 60.0)
    losses = sorted(read(again.journal).metrics["round/loss"])
    assert losses == list(range(1, len(losses) + 1))  # none is missing, none begun anew
    assert not read(again.journal).alarms


def rounds_of(folder):
    return len(read(folder.journal).metrics.get("round/loss", ()))


class Until:
    """A clock on which the time is up once something has happened."""

    def __init__(self, happened):
        self.happened = happened

    def monotonic(self):
        return 100.0 if self.happened() else 0.0


def test_finished_runs_are_not_run_again_elsewhere(home, tmp_path):
    cells = planned(home, "rounds=1", "seed=0")[:2]
    board = slices.work(cells, home, 2, 60.0)
    assert len(board.of_state("done")) == 2
    made = slices.pack(board, home, tmp_path / "out")
    other = tmp_path / "other"
    other.mkdir()
    assert slices.unpack(made[0], other) == 2
    assert slices.unpack(made[0], other) == 0
    again = slices.work(cells, other, 2, 0.0)
    assert [entry.result for entry in again.jobs] == [entry.result for entry in board.jobs]


@pytest.mark.parametrize("name", ["../run.json", "abc/../run.json", "abc/evil.py", "/abc/run.json"])
def test_an_archive_of_anything_else_is_refused(home, tmp_path, name):
    path = tmp_path / "bad.tar"
    with tarfile.open(path, "w") as archive:
        member = tarfile.TarInfo(name)
        member.size = 2
        archive.addfile(member, io.BytesIO(b"{}"))
    with pytest.raises(ValueError, match="Expected records of runs"):
        slices.unpack(path, home)
    assert not (home / "mlruns").exists()
