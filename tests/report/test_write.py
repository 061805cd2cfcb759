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
    assert {path.suffix for path in paths} == {
        *(".html", ".md", ".tex", ".csv", ".png", ".pdf", ".txt")
    }
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


def test_files_have_the_names_that_a_person_would_give(tmp_path):
    runs = small()
    paths = write_report(runs, curves_of(runs), [cloud()], tmp_path / "one", figures=("pdf",))
    names = {path.name for path in paths}
    assert {"curves-cifar10.pdf", "heatmap-cifar10.pdf", "cloud.pdf"} <= names
    assert {"accuracy-cifar10.csv", "best-cifar10.tex", "worst-case.md"} <= names
    both = pd.concat([small(beta=0.1), small(beta=0.5), small(task="digits")])
    paths = write_report(both, None, [], tmp_path / "two", ("csv",), figures=("pdf",))
    names = {path.name for path in paths}
    assert {f"heatmap-cifar10-beta-{beta}.pdf" for beta in (0.1, 0.5)} <= names
    assert "heatmap-digits.pdf" in names


def test_fonts_are_embedded_as_type_42(tmp_path):
    write_report(small(), None, [], tmp_path, ("csv",), figures=("pdf",))
    data = (tmp_path / "figures" / "heatmap-cifar10.pdf").read_bytes()
    assert b"/FontFile2" in data
    assert b"/Type3" not in data


def test_a_cloud_that_cannot_be_drawn_is_left_out_with_its_reason(tmp_path):
    few = cloud(step=3, honest=3, byzantine=1)
    infinite = {**cloud(step=5), "gram": cloud()["gram"] * float("inf")}
    paths = write_report(small(), None, [few, infinite, cloud(step=9)], tmp_path)
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "round 3: Expected at least 4 honest rows, got 3." in page
    assert "round 5: Expected finite inner products" in page
    assert {"cloud.pdf", "accuracy-cifar10.csv", "runs.csv"} <= {path.name for path in paths}
    write_report(small(), None, [few], tmp_path / "none")
    assert not (tmp_path / "none" / "figures" / "cloud.pdf").exists()
    assert (tmp_path / "none" / "figures" / "heatmap-cifar10.pdf").exists()


def test_curves_without_a_finite_number_cost_no_report(tmp_path):
    runs = small().assign(status="DIVERGED")
    curves = curves_of(runs).assign(value=float("nan"))
    write_report(runs, curves, [], tmp_path)
    assert (tmp_path / "index.html").exists()
    assert (tmp_path / "tables" / "accuracy-cifar10.csv").exists()


def test_a_figure_that_fails_costs_itself_alone(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise ValueError("no picture of this")

    monkeypatch.setattr("fl_platform.report.sections.worst_case_heatmap", fail)
    names = {path.name for path in write_report(small(), None, [], tmp_path)}
    assert "Figure left out (heatmap" in (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "accuracy-cifar10.tex" in names
    assert "heatmap-cifar10.pdf" not in names


def test_two_reports_of_one_folder_at_once_both_succeed(tmp_path):
    lines = """
import sys
from fl_platform.report import write_report
from tests.report.synthetic import curves_of, grid
runs = grid(attacks=("none", "lie", "strike"), defenses=("median", "rfa"))
for _ in range(4):
    write_report(runs, curves_of(runs), [], sys.argv[1])
"""
    command = [sys.executable, "-c", lines, str(tmp_path)]
    writers = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(3)]
    told = [writer.communicate(timeout=240)[1].decode() for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0, 0], told
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".")]


def test_unknown_formats_and_empty_frames_are_refused(tmp_path):
    with pytest.raises(ValueError, match="docx"):
        write_report(small(), None, [], tmp_path, ("docx",))
    with pytest.raises(ValueError, match="at least one run"):
        write_report(small().iloc[:0], None, [], tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_headline_claims_no_more_than_the_seeds_support():
    sure = headline(cells(small(noise=0.05)), [])[0]
    assert sure.startswith("STRIKE gives the lowest accuracy against 2 of 2 defenses;")
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
