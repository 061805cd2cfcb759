from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fl_platform.tracking.run_folder import IdentityMismatch, RunFolder, all_runs, run_folder

HASH = "0123456789abcdef" * 4


def _described(folder: RunFolder, **changes: Any) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "name": "strike(nu=1) vs multi_krum, digits s0",
        "config_hash": HASH,
        "experiment": "digits",
        "conditions": {"device": "cpu", "threads": 1},
    }
    return folder.create_or_verify(**(settings | changes))


def test_a_run_keeps_its_identity(tmp_path: Path) -> None:
    folder = run_folder(tmp_path, HASH).create()
    first = _described(folder)
    assert _described(RunFolder(folder.path)) == first
    assert [run.path for run in all_runs(tmp_path)] == [folder.path]


def test_other_conditions_are_refused_by_name_and_accepted_when_asked(tmp_path: Path) -> None:
    folder = run_folder(tmp_path, HASH).create()
    _described(folder)
    other = {"device": "cuda", "threads": 1, "precision": "32"}
    with pytest.raises(IdentityMismatch, match="device: 'cpu' then, 'cuda' now") as refusal:
        _described(folder, conditions=other)
    assert set(refusal.value.differing) == {"device", "precision"}
    described = _described(folder, conditions=other, continue_anyway=True)
    assert described["conditions"] == other
    assert len(described["continued"]) == 1


def test_another_config_is_refused_even_when_asked(tmp_path: Path) -> None:
    folder = run_folder(tmp_path, HASH).create()
    _described(folder)
    with pytest.raises(IdentityMismatch, match="config_hash"):
        _described(folder, config_hash=HASH[:16] + "0" * 48, continue_anyway=True)


def test_run_folders_are_private(tmp_path: Path) -> None:
    folder = run_folder(tmp_path, HASH).create()
    _described(folder)
    for path in (folder.path.parent, folder.path, folder.artifacts, folder.identity_file):
        assert path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("name", ["../../../etc/passwd", "short", "0123456789abcde/", "", "A" * 64])
def test_no_name_leads_out_of_the_run_root(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="hexadecimal"):
        run_folder(tmp_path, name)


def test_setting_aside_keeps_the_old_run_readable(tmp_path: Path) -> None:
    folder = run_folder(tmp_path, HASH).create()
    assert folder.set_aside() is None
    first = _described(folder)
    old = folder.set_aside()
    assert old is not None
    assert RunFolder(old).describe() == first
    assert _described(folder.create())["run_id"] != first["run_id"]
