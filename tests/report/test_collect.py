"""Rows of one home beside earlier rows of another."""

import json

import pandas as pd
import pytest


def rows(*hashes):
    count = len(hashes)
    told = {"config_hash": hashes, "seed": range(count), "beta": 0.5, "mixing": "none"}
    named = dict.fromkeys(("variant", "attack_label", "defense_label"), "mean")
    return pd.DataFrame({**told, **named}).astype({"seed": "Int64"})


@pytest.fixture
def collect(page_script, monkeypatch, tmp_path):
    script = page_script("collect")
    monkeypatch.setattr(script, "HERE", tmp_path)
    rows("a", "b").to_csv(tmp_path / "kept.csv", index=False)
    (tmp_path / "kept.json").write_text(json.dumps({"runs": 2, "torch": ["2.11.0"]}))
    return script


def test_earlier_rows_stay_beside_those_of_other_runs(collect):
    told = {"runs": 1, "torch": ["2.15.0"], "mkl": ["preloaded"]}
    both, said = collect.with_earlier(rows("c"), told, "kept")
    assert sorted(both["config_hash"]) == ["a", "b", "c"]
    assert said == {"runs": 3, "torch": ["2.11.0", "2.15.0"], "mkl": ["", "preloaded"]}


def test_a_run_is_never_added_twice(collect):
    with pytest.raises(SystemExit, match="without --add"):
        collect.with_earlier(rows("b", "c"), {"runs": 2}, "kept")
