import re
import subprocess
import sys

import pandas as pd
import pytest

from fl_platform.report import write_report
from fl_platform.report.cells import cells
from fl_platform.report.findings import headline, warnings
from tests.report.synthetic import cloud, curves_of, frame, grid


def small(**changes):
    known = {"attacks": ("none", "lie", "strike"), "defenses": ("median", "rfa")}
    return grid(**known | changes)


def test_everything_is_written(tmp_path):
    runs = small()
    paths = write_report(runs, curves_of(runs, extra=True), [cloud()], tmp_path, title="made up")
    assert all(path.stat().st_size > 0 for path in paths)
    assert {path.suffix for path in paths} == {".html", ".md", ".tex", ".csv", ".png", ".pdf"}
    kinds = {path.name.split("-")[0].removesuffix(".csv") for path in paths}
    assert {"accuracy", "published", "lowest", "worst", "curves", "skew", "kappa", "runs"} <= kinds
    assert len(pd.read_csv(tmp_path / "runs.csv")) == len(runs)


def test_the_page_stands_alone(tmp_path):
    runs = small()
    write_report(runs, curves_of(runs), [cloud()], tmp_path, ("html",), "made up", figures=())
    assert [path.name for path in tmp_path.iterdir()] == ["index.html"]
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert sources
    assert all(s.startswith(("data:image/svg+xml;base64,", "#part")) for s in sources)
    assert "<script" not in page
    assert "url(" not in page
    assert "@import" not in page
    for said in ("STRIKE", "Comparison with the paper", "Assumption", "Provenance of every number"):
        assert said in page


def test_hostile_names_reach_no_markup_and_no_path(tmp_path):
    bad = '"><img src=x onerror=alert(1)><script>x</script>../../$\\input'
    names = ("attack", "attack_label", "defense", "defense_label", "task", "mixing", "preset")
    runs = frame(dict.fromkeys((*names, "commit", "device"), bad))
    made = {**cloud(), "name": bad}
    paths = write_report(runs, curves_of(runs), [made], tmp_path / "out", title=bad)
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert "<img src=x" not in page
    assert "<script" not in page
    assert all(path.resolve().is_relative_to(tmp_path / "out") for path in paths)
    assert all(re.fullmatch(r"[A-Za-z0-9.-]+", path.name) for path in paths)
    assert r"\input" not in "".join(p.read_text() for p in paths if p.suffix == ".tex")


def test_settings_of_one_short_name_keep_their_own_files(tmp_path):
    runs = frame({"task": "a_b"}, {"task": "a-b"})
    paths = write_report(runs, None, [], tmp_path, ("csv",), figures=())
    assert len(paths) == len(set(paths))
    assert all(path.exists() for path in paths)
    assert sum(path.name.startswith("accuracy-") for path in paths) == 2


def test_runs_without_an_accuracy_still_make_a_report(tmp_path):
    runs = frame({"status": "DIVERGED"}, {"status": "FAILED", "attack": "lie"})
    write_report(runs, None, [], tmp_path, figures=())
    assert "1 diverged, 1 failed" in (tmp_path / "index.html").read_text(encoding="utf-8")


def test_equal_runs_give_equal_pages(tmp_path):
    for name in ("a", "b"):
        write_report(small(), None, [], tmp_path / name, ("html",), figures=())
    assert (tmp_path / "a/index.html").read_bytes() == (tmp_path / "b/index.html").read_bytes()


def test_unknown_formats_and_empty_frames_are_refused(tmp_path):
    with pytest.raises(ValueError, match="docx"):
        write_report(small(), None, [], tmp_path, ("docx",))
    with pytest.raises(ValueError, match="at least one run"):
        write_report(small().iloc[:0], None, [], tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_headline_claims_no_more_than_the_seeds_support():
    sure = headline(cells(small(noise=0.05)), [])[0]
    assert sure.startswith("STRIKE (nu=1) gives the lowest accuracy against 2 of 2 defenses;")
    assert sure.endswith("the difference is significant for 2 of these.")
    unsure = headline(cells(small(noise=0.05, seeds=[0])), [])[0]
    assert unsure.endswith("the difference is not significant for any of these.")


def test_a_diverged_rival_is_no_win():
    runs = small(noise=0.05)
    runs.loc[(runs["attack"] == "lie") & (runs["defense"] == "rfa"), "status"] = "DIVERGED"
    assert "against 1 of 2" in headline(cells(runs), [])[0]


def test_warnings_name_what_is_amiss_and_only_that():
    assert warnings(cells(small())) == []
    runs = small()
    runs.loc[0, ["code_fingerprint", "dirty"]] = ["other", "true"]
    runs.loc[1, "status"] = "RUNNING"
    said = " ".join(warnings(cells(runs)))
    assert "2 different versions" in said
    assert "1 of 18 runs come from code with uncommitted changes" in said
    assert "1 unfinished" in said


def test_a_report_imports_no_training_code():
    lines = "import sys, fl_platform.report; print(' '.join(sys.modules))"
    loaded = subprocess.run(
        [sys.executable, "-c", lines], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "fl_platform.report.write" in loaded
    heavy = {"torch", "lightning", "mlflow", "optuna", "matplotlib", "sklearn", "pandas", "scipy"}
    assert not heavy & set(loaded)
