"""Suite files: each that is shipped can be begun; one that is wrong is refused by name."""

import json
import re
from pathlib import Path

import pytest
import yaml

from fl_platform.config import ConfigError, compose
from fl_platform.grid.plan import plan_grid
from fl_platform.repro.conditions import named
from fl_platform.repro.reference import (
    Origin,
    Reference,
    ReferenceRun,
    read_reference,
    write_reference,
)
from fl_platform.repro.spec import load_suite
from tests.repro.conftest import REPOSITORY

FILES = sorted(path.stem for path in (REPOSITORY / "conf" / "suite").glob("*.yaml"))
ACCEPTED = sorted(p.stem for p in (REPOSITORY / "conf" / "suite" / "reference").glob("*.json"))
GOOD = {
    "title": "Mine",
    "experiment": "quick",
    "seeds": 2,
    "reference": "reference/mine.json",
    "reference_seeds": 10,
    "schedule": {"every": "day", "at": "02:30"},
}


@pytest.mark.parametrize("name", FILES)
def test_every_file_can_be_begun(name):
    suite = load_suite(name, REPOSITORY)
    lines = suite.folder.joinpath(f"{name}.yaml").read_text().splitlines()
    assert lines[0] == f"# fl-platform repro run {name}"
    assert suite.reference == f"reference/{name}.json"
    _, cells = plan_grid(suite.grid(0, suite.reference_seeds), REPOSITORY)
    assert {cell.config.seed for cell in cells} == set(range(suite.reference_seeds))
    labels = {label for label, _ in named(cells)}
    assert len(labels) * suite.reference_seeds == len(cells)


@pytest.mark.parametrize("name", ACCEPTED)
def test_an_accepted_reference_is_of_the_suites_runs(name):
    suite = load_suite(name, REPOSITORY)
    reference = read_reference(suite.reference_file)
    assert reference is not None
    _, cells = plan_grid(suite.grid(0, suite.reference_seeds), REPOSITORY)
    assert set(reference.outcomes) == {cell.config_hash[:16] for cell in cells}
    assert reference.origin.why
    assert {"code_fingerprint", "torch", "threads", "device", "processor", "data_digest"} <= set(
        reference.origin.conditions
    )


def test_digits_cifar10_and_the_paper_s_own_scale_have_suites():
    assert {"smoke", "nightly", "cifar10-reduced"} <= set(FILES)
    assert {"table1-cifar10", "table1-femnist", "table1-imagenet12"} <= set(FILES)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"sede": 3}, "did you mean 'seeds'"),
        ({"name": "other"}, "mine.name: there is no such setting"),
        ({"seeds": 0}, "seeds: expected a number >= 1"),
        ({"seeds": "3"}, "mine.seeds: expected a whole number"),
        ({"reference_seeds": 1}, "at least the 2 seeds"),
        ({"reference": "../../etc/passwd"}, "below conf/suite/"),
        ({"reference": "/mine.json"}, "below conf/suite/"),
        ({"overrides": ["seed=3"]}, "expected no seed"),
        ({"overrides": ["attack=none,"]}, "attack=none"),
        ({"bands": {"level": 0}}, "mine.bands.level"),
        ({"bands": {"margin": -1}}, "mine.bands.margin"),
        ({"bands": {"sigma": 3}}, "mine.bands.sigma: there is no such setting"),
        ({"schedule": {"every": "hour", "at": "02:30"}}, "mine.schedule.every"),
        ({"schedule": {"every": "day", "at": "2:30"}}, "time of day in UTC"),
        ({"schedule": {"every": "week", "at": "02:30", "day": "sun"}}, "mine.schedule.day"),
        ({"schedule": {"every": "day"}}, "mine.schedule.at is missing"),
    ],
)
def test_a_wrong_file_is_refused_by_name(home, change, told):
    file = home / "conf" / "suite" / "mine.yaml"
    file.write_text(yaml.safe_dump(GOOD))
    assert load_suite("mine", home).seeds == 2
    file.write_text(yaml.safe_dump({**GOOD, **change}))
    with pytest.raises(ConfigError) as refused:
        load_suite("mine", home)
    assert told in str(refused.value)


@pytest.mark.parametrize("text", ["", "- 1", "title: [", "a: &x 1"])
def test_what_is_no_suite_is_refused(home, text):
    (home / "conf" / "suite" / "mine.yaml").write_text(text)
    with pytest.raises(ConfigError, match="mine"):
        load_suite("mine", home)


def test_an_unknown_suite_names_its_neighbours(home):
    with pytest.raises(ConfigError, match="did you mean 'nightly'"):
        load_suite("nighty", home)


def test_a_suite_is_no_group_of_a_run(home):
    with pytest.raises(ConfigError, match="suite"):
        compose(["suite=smoke"], home)


def test_the_weekly_workflow_runs_the_smoke_suite_with_no_rights_and_pinned_actions():
    tree = yaml.safe_load((REPOSITORY / ".github" / "workflows" / "repro.yml").read_text())
    assert tree["permissions"] == {"contents": "read"}
    (job,) = tree["jobs"].values()
    commands = [step["run"] for step in job["steps"] if "run" in step]
    assert commands == ["make install", ".venv/bin/fl-platform repro run smoke"]
    assert all(re.search(r"@v\d+$", step["uses"]) for step in job["steps"] if "uses" in step)
    minute, hour, _, _, day = tree[True]["schedule"][0]["cron"].split()  # yaml reads on: as true
    schedule = load_suite("smoke", REPOSITORY).schedule
    assert (schedule.every, schedule.day, day) == ("week", "sunday", "0")
    assert schedule.at == f"{int(hour):02}:{int(minute):02}"


ORIGIN = Origin(accepted="2026-01-01T00:00:00Z", why="first", commit="c", conditions={"torch": "1"})


def test_a_reference_reads_as_it_was_written_with_a_line_for_each_run(tmp_path):
    runs = [
        ReferenceRun("a vs b", 0, "0" * 16, "f" * 16, 81.52777777777779),
        ReferenceRun("a vs b", 1, "1" * 16, "e" * 16, None),
        ReferenceRun("ä (β=0.5) vs b", 0, "2" * 16, "d" * 16, 0.1 + 0.2),
    ]
    path = tmp_path / "reference" / "mine.json"
    before = Reference(ORIGIN, {run.config_hash: run for run in runs})
    write_reference(path, before)
    assert read_reference(path) == before
    text = path.read_text()
    assert [line for line in text.splitlines() if run_line(line)] == [
        line for line in text.splitlines() if line.startswith("   [")
    ]
    assert '"n": 2, "mean": 81.53' in text
    assert read_reference(Path(tmp_path / "none.json")) is None


def run_line(line):
    return any(digest * 16 in line for digest in "fed")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ([0, "0" * 16, "f" * 16, 1.0], "expected each run once"),
        ([1, "1" * 16, "f" * 16, 101], "expected a share in percent"),
        ([1, "1" * 16, "f" * 16, -1.0], "expected a share in percent"),
        ([-1, "1" * 16, "f" * 16, 1.0], "expected a seed"),
        ([1, "1" * 15, "f" * 16, 1.0], "16 digits"),
    ],
)
def test_a_run_that_cannot_be_one_is_refused_with_its_cell(tmp_path, change, told):
    path = tmp_path / "mine.json"
    run = ReferenceRun("a vs b", 0, "0" * 16, "f" * 16, 81.5)
    write_reference(path, Reference(ORIGIN, {run.config_hash: run}))
    tree = json.loads(path.read_text())
    tree["cells"][0]["runs"].append(change)
    path.write_text(json.dumps(tree))
    with pytest.raises(ConfigError, match=rf"^mine\.json: a vs b, seed -?\d: .*{told}"):
        read_reference(path)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"cells": [{"cell": "a"}]}', '{"cells": [{"cell": "a", "runs": [[0]]}]}',
     '{"cells": [{"cell": "a", "runs": [["0", "x", "y", 1.0]]}]}', '{"cells": []}'],
)  # fmt: skip
def test_what_is_no_reference_is_refused_by_the_files_name(tmp_path, text):
    path = tmp_path / "mine.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"mine\.json"):
        read_reference(path)
