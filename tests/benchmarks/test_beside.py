"""The benchmark of neighbours compares like with like; its figures are of no interest here."""

import pytest

from benchmarks import beside


def test_gains_come_from_a_run_of_the_bare_loops_federation(monkeypatch):
    worked = []

    def together(work, count):
        worked.append((work.func.__name__, count))
        return {"bare_once": {1: 2.0, 2: 2.5}, "run_once": {1: 4.0, 2: 8.0}}[work.func.__name__][
            count
        ], 1.0

    monkeypatch.setattr(beside, "together", together)
    found = beside.measure("digits", 0.01, 1)
    assert set(worked) == {(f"{kind}_once", count) for kind in ("bare", "run") for count in (1, 2)}
    assert found["gain of two bare loops"] == 1.6
    assert found["gain of two runs, local training"] == 1.0
    assert found["local training over bare"] == pytest.approx(0.625)


def test_a_run_trains_the_clients_of_the_bare_loop(tmp_path):
    setting = beside.settings("digits")
    (tmp_path / "conf").symlink_to(beside.REPOSITORY / "conf")
    beside.data(tmp_path, setting)
    local, whole = beside.run_once(beside.configured(setting, tmp_path, 1))
    assert 0 < local < whole
    assert beside.bare_once(setting, 1)[0] > 0
