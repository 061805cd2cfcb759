"""R8: a disk that is full, closed or elsewhere: a clear word, nothing lost, the same bits."""

from __future__ import annotations

import pytest

from fl_platform.tracking.checkpoint import CheckpointFile
from fl_platform.tracking.run_folder import all_runs, runs_root
from tests.faults.conftest import make_home
from tests.faults.runs import command, outcome

PAIR = "ipm/bucketing+median"


def run(zygote, home, tmp_path, *more, **settings):
    settings = {"patch": {"commit_every": 0}, "out": tmp_path, **settings}
    return zygote.start(*command(PAIR, *more, home=home), **settings)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return make_home(tmp_path_factory.mktemp("undisturbed") / "home")


@pytest.fixture
def expected(zygote, undisturbed, tmp_path):
    child = run(zygote, undisturbed, tmp_path)  # run once; later it prints what is stored
    assert child.finish() == 0, child.text
    return outcome(undisturbed)


# what is written when the disk is full: the lock, run.json, journal, checkpoint, figures
SIZES = [300, 700, 2000, 4000, 8000, 12000, 20000]
FEW = (700, 12000)


@pytest.mark.parametrize(
    "size", [s if s in FEW else pytest.param(s, marks=pytest.mark.nightly) for s in SIZES]
)
def test_a_full_disk_ends_the_run_in_one_line_and_loses_nothing(
    zygote, home, tmp_path, expected, size
):
    child = run(zygote, home, tmp_path, file_size=size)
    code = child.finish()
    assert code == 4, child.text
    assert "File too large" in child.text
    assert "Traceback" not in child.text
    for folder in all_runs(home):
        assert not list(folder.path.glob(".*.tmp"))
        file = CheckpointFile(folder.checkpoint)
        if file.exists():
            assert file.load()["global_step"] >= 1
    again = run(zygote, home, tmp_path)
    assert again.finish() == 0, again.text
    assert expected.differences(outcome(home)) == []


def test_a_disk_that_fills_while_figures_are_written_keeps_the_trained_run(
    zygote, home, tmp_path, expected
):
    child = run(zygote, home, tmp_path, patch={"commit_every": 0, "full_disk_at": "print_png"})
    assert child.finish() == 4, child.text
    assert "No space left" in child.text
    (folder,) = all_runs(home)
    assert folder.result is None
    again = run(zygote, home, tmp_path)
    assert again.finish() == 0, again.text
    assert "round 1/" not in again.text
    assert expected.differences(outcome(home)) == []


@pytest.mark.parametrize("what", ["home", "mlruns"])
def test_a_folder_that_must_not_be_written_is_refused_before_training(zygote, home, tmp_path, what):
    place = home if what == "home" else home / "mlruns"
    place.mkdir(exist_ok=True)
    place.chmod(0o555)
    child = run(zygote, home, tmp_path, powerless=True)
    code = child.finish()
    place.chmod(0o755)
    assert code == 4, child.text
    assert "Permission denied" in child.text
    assert "Traceback" not in child.text
    assert not runs_root(home).exists()


def test_a_home_that_is_missing_is_refused(zygote, home, tmp_path):
    child = run(zygote, home / "nowhere", tmp_path)
    assert child.finish() == 2
    assert "expected a folder" in child.text


@pytest.mark.parametrize(
    "place",
    ["missing", *(pytest.param(p, marks=pytest.mark.nightly) for p in ("/dev/shm", "full"))],
)
def test_the_temporary_folder_makes_no_difference(zygote, home, tmp_path, expected, place):
    names = {"missing": "/nonexistent", "full": "/proc"}
    env = dict.fromkeys(("TMPDIR", "TMP", "TEMP"), names.get(place, place))
    child = run(zygote, home, tmp_path, env=env)
    assert child.finish() == 0, child.text
    assert expected.differences(outcome(home)) == []


def test_folders_are_private_whatever_the_mask(zygote, home, tmp_path):
    child = run(zygote, home, tmp_path, patch={"mask": 0})
    assert child.finish() == 0, child.text
    store = home / "mlruns"
    folders = [store, *(p for p in store.rglob("*") if p.is_dir())]
    assert len(folders) >= 4
    assert [p for p in folders if p.stat().st_mode & 0o077] == []


def test_what_would_not_fit_the_defense_is_refused_before_a_folder_is_made(zygote, home, tmp_path):
    child = run(zygote, home, tmp_path, "defense=multi_krum", "byzantine.fraction=0.4")
    assert child.finish() == 2, child.text
    assert "byzantine.fraction: Expected at most f=" in child.text
    assert child.text.count("\n") == 1
    assert not runs_root(home).exists()


def test_another_librarys_leftover_in_the_working_directory_is_not_resumed_from(
    zygote, home, tmp_path, expected
):
    """Under SLURM, Lightning would take any hpc_ckpt_*.ckpt there for this run's state."""
    (tmp_path / "hpc_ckpt_1.ckpt").write_bytes(b"somebody else's")
    env = {"SLURM_NTASKS": "1", "SLURM_JOB_NAME": "job", "SLURM_JOB_ID": "7"}
    child = run(zygote, home, tmp_path, cwd=tmp_path, env=env)
    assert child.finish() == 0, child.text
    assert expected.differences(outcome(home)) == []
