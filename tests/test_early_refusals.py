"""Wrong values and missing data are refused without torch, impossible rules without Lightning."""

import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import fl_platform as fl
from fl_platform.config import ConfigError, compose
from fl_platform.core import Updates, gpus
from fl_platform.core.context import Context
from fl_platform.data.locate import LAYOUTS, DataError, refuse_missing_folder
from fl_platform.grid.plan import plan_grid
from fl_platform.repro.log import Clock, SuiteLog
from fl_platform.repro.runner import SuiteSession, _work
from fl_platform.repro.spec import load_suite
from fl_platform.run.build import build_roles, resolve_device
from fl_platform.run.early import refuse_early, refuse_missing_gpu
from fl_platform.run.refusals import refuse_rules
from fl_platform.study.runner import tune
from fl_platform.tracking.run_folder import all_runs

CONF = Path(__file__).resolve().parents[1] / "conf"
# Runs the command line once per line of standard input; an import of a module in argv ends it.
COMMANDS = """
import sys

slow = sys.argv[1:]

class Refuses:
    def find_spec(self, name, path=None, target=None):
        if name in slow:
            raise SystemExit(f"imports {name}")

sys.meta_path.insert(0, Refuses())
from fl_platform import cli
for line in sys.stdin.read().splitlines():
    sys.argv = ["fl-platform", *line.split()]
    try:
        cli.main()
    except SystemExit as ended:
        print(f"exit {ended.code}", file=sys.stderr)
"""
REFUSED = {
    "task=digits runtime.device=cuda:9": "runtime.device: expected cpu or auto",
    "task=digits runtime.device=gpu": "runtime.device: expected auto, cpu, cuda",
    "task=digits byzantine.count=30": "byzantine.count: expected at most half",
    "task=digits byzantine.fraction=0.5": "byzantine.fraction: expected",
    "task=digits attack=lie attack.zz=1": "attack.zz: lie has no such parameter",
    "task=digits attack=lie attack.z=much": "attack.z: expected",
    "task=digits attack=absent attack.schedule={ramp:3}": "attack.schedule.ramp: expected 0",
    "task=digits server.momentum=0.8": "server.momentum: expected no value with",
    "task=digits server.optimizer=fedavgm server.eps=0.1": "server.eps: expected no value with",
    "task=arrays task.data.file=none.npz": "task.data.file: expected a file at",
    "task=cifar10 task.data.download=false": "Looked for the data in",
    "task=cifar100": "Looked for the data in",
    "task=femnist": "Looked for the data in",
    "task=imagenet12": "Looked for the data in",
    "task=mnist": "Looked for the data in",
    "task=svhn": "Looked for the data in",
}


# Refused by torch, without Lightning, torchvision or MLflow.
RULES = {
    "task=digits defense=multi_krum byzantine.fraction=0.48": "byzantine.fraction: Expected at",
    "task=digits defense=multi_krum byzantine.count=24": "byzantine.count: Expected at most f=23",
    "task=digits defense=median defense.assumed_f=25": "defense.assumed_f: Expected at most f=24",
    "task=digits defense=bulyan mixing=bucketing": "byzantine.fraction: Expected at most f=5",
    "task=digits defense=fltrust": "defense: Expected reference in the context of fltrust",
    "task=digits defense=monna defense.pivot=reference": "defense: Expected a reference",
    "task=digits defense=monna defense.pivot=50": "defense: Expected pivot as reference or a row",
    "task=digits defense=smea": "defense: Expected at most max_subsets=200,000",
    "task=digits defense=foolsgold mixing=nnm": "defense: Expected no mixing of rows before",
    "task=digits defense=smea task.sampled=40": "defense: Expected at most max_subsets=200,000",
    "task=digits attack=label_flip byzantine.data=none": "byzantine.data: expected share or iid",
}
SLOW = {"torch": ("torch", "lightning"), "Lightning": ("lightning", "torchvision", "mlflow")}
LINES = {
    "torch": {
        f"{verb} {words}": says for verb in ("run", "grid") for words, says in REFUSED.items()
    }
    | {
        f"{verb} task=mnist task.data.root=/nowhere defense=dnc": "Looked for the data in"
        for verb in ("arena", "tune strike_nu")
    },
    "Lightning": {
        f"{verb} {words}": says for verb in ("run", "grid") for words, says in RULES.items()
    }
    | {
        f"{verb} task=digits defense=multi_krum byzantine.fraction=0.48": "byzantine.fraction: Exp"
        for verb in ("arena", "tune strike_nu")
    },
}


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    answers = {}
    for name, commands in LINES.items():
        home = tmp_path_factory.mktemp("home")
        lines = [f"{words} --home {home}" for words in commands]
        done = subprocess.run(
            [sys.executable, "-c", COMMANDS, *SLOW[name]],
            input="\n".join(lines),
            env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
            capture_output=True,
            text=True,
            check=True,
        )
        found = done.stderr.split("fl-platform: ")[1:]
        assert len(found) == len(lines), done.stderr
        assert not [p for p in home.rglob("*") if p.name in ("runs", "arena", "mlflow.db")]
        answers |= dict(zip([(name, words) for words in commands], found, strict=True))
    return answers


@pytest.mark.parametrize(("name", "words"), [(name, w) for name in LINES for w in LINES[name]])
def test_it_is_refused_with_exit_code_2_and_without_slow_imports(told, name, words):
    answer = told[name, words]
    assert answer.startswith(LINES[name][words]), answer
    assert answer.endswith("exit 2\n"), answer
    assert "imports" not in answer


@pytest.mark.parametrize("wrong", ["task=mnist", "defense=smea"])
def test_python_and_a_suite_refuse_a_grid_before_any_run(wrong, tmp_path):
    with pytest.raises((ConfigError, DataError), match=r"data in|max_subsets.* In the run: task=d"):
        fl.grid("task=digits", "attack=none,lie", wrong, home=tmp_path)
    grid, planned = plan_grid(["task=digits", wrong], tmp_path)
    session = SuiteSession(
        load_suite("smoke", tmp_path), tmp_path, SuiteLog(tmp_path, "x"), Clock()
    )
    with pytest.raises((ConfigError, DataError), match=r"data in|max_subsets"):
        _work(session, grid, planned)
    assert not list(all_runs(tmp_path))


DEFENSES, MIXINGS = (
    sorted(path.stem for path in (CONF / group).glob("*.yaml")) for group in ("defense", "mixing")
)


@pytest.fixture(scope="module")
def mixings():
    return {name: compose(["task=digits", f"mixing={name}"], CONF.parent) for name in MIXINGS}


@pytest.mark.parametrize("defense", DEFENSES)
def test_a_rule_is_refused_early_exactly_if_its_first_round_would_refuse(defense, mixings):
    own = compose(["task=digits", f"defense={defense}"], CONF.parent)
    n, f = 50, 10
    for mixed in mixings.values():
        config, early, late = replace(own, mixing=mixed.mixing), "", ""
        try:
            refuse_rules(config, n)
        except ConfigError as error:
            early = str(error)
        aggregator = build_roles(config)[0]
        if aggregator.chain.largest_f(n) < f:
            assert early.startswith("byzantine.fraction: Expected at most f=")
            continue
        rows = torch.randn(n, 7, generator=torch.Generator().manual_seed(0))
        many = {"sizes": torch.ones(n), "losses": torch.ones(n), "model": torch.zeros(7)}
        context = Context(clients=torch.arange(n), round=0, layers=(3, 4), **many)
        try:
            aggregator.aggregate(Updates(rows), f, torch.arange(n), context)
        except ValueError as error:
            late = str(error)
        assert bool(early) == bool(late), (early, late)


@pytest.mark.parametrize("missing", ["task=mnist", "runtime.device=cuda:9", "byzantine.count=25"])
def test_a_study_that_cannot_run_leaves_no_failed_run(missing, monkeypatch, tmp_path):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises((ConfigError, DataError), match=r"data in|finds no GPU|at most f=24"):
        tune("strike_nu", [missing, "defense=median", "runtime.tracking=journal"], tmp_path)
    assert not list(all_runs(tmp_path))


def test_a_gpu_is_refused_only_where_it_is_certainly_missing(monkeypatch):
    refused = "expected at most cuda:1, got cuda:2; use cpu or auto"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,7")
    refuse_missing_gpu("cuda:1")
    with pytest.raises(ConfigError, match=refused):
        refuse_missing_gpu("cuda:2")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setitem(sys.modules, "pynvml", None)
    monkeypatch.setattr(gpus, "_driver", lambda: True)  # a driver, and no NVML to count
    refuse_missing_gpu("cuda:2")
    monkeypatch.setattr(gpus, "_driver", lambda: False)
    refuse_missing_gpu("auto")
    with pytest.raises(ConfigError, match="torch finds no GPU"):
        refuse_missing_gpu("cuda")


def test_torch_and_the_early_check_refuse_a_gpu_in_the_same_words(monkeypatch, tmp_path):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,7")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    config = compose(["task=digits", "runtime.device=cuda:2"], tmp_path)
    told = set()
    for check in (lambda: refuse_early(config, tmp_path), lambda: resolve_device(config.runtime)):
        with pytest.raises(ConfigError) as refused:
            check()
        told.add(str(refused.value))
    assert len(told) == 1


def test_a_driver_is_seen_where_its_library_is_not_found(monkeypatch, tmp_path):
    monkeypatch.setattr(gpus.ctypes, "CDLL", lambda name: (_ for _ in ()).throw(OSError(name)))
    monkeypatch.setattr(gpus, "_DEVICES", (str(tmp_path / "nvidiactl"),))
    assert not gpus._driver()
    (tmp_path / "nvidiactl").touch()
    assert gpus._driver()


def test_a_grid_that_another_machine_executes_needs_no_gpu_here(monkeypatch, tmp_path):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    config = compose(["task=digits", "runtime.device=cuda"], tmp_path)
    refuse_early(config, tmp_path, here=False)
    with pytest.raises(ConfigError, match="torch finds no GPU"):
        refuse_early(config, tmp_path)


def test_a_download_is_refused_early_only_if_its_host_has_no_address(monkeypatch, tmp_path):
    def no_address(*_):
        raise socket.gaierror(-2, "Name or service not known")

    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    node = {"root": str(tmp_path), "download": True}
    monkeypatch.setattr(socket, "getaddrinfo", no_address)
    with pytest.raises(DataError, match="Could not download CIFAR-10"):
        refuse_missing_folder("cifar10", node)
    monkeypatch.setenv("https_proxy", "http://proxy:3128")  # the proxy may know the host
    refuse_missing_folder("cifar10", node)
    monkeypatch.delenv("https_proxy")
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: [])
    refuse_missing_folder("cifar10", node)
    (tmp_path / LAYOUTS["cifar10"].places[0]).mkdir(parents=True)
    with pytest.raises(DataError, match=r"lacks data_batch_1, .*test_batch"):
        refuse_missing_folder("cifar10", node)
