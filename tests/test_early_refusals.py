"""What is wrong with values, device and data is refused before torch or Lightning are imported."""

import os
import socket
import subprocess
import sys

import pytest

from fl_platform.config import ConfigError, compose
from fl_platform.core import gpus
from fl_platform.data.locate import LAYOUTS, DataError, refuse_missing_folder
from fl_platform.run.build import resolve_device
from fl_platform.run.early import refuse_early, refuse_missing_gpu
from fl_platform.study.runner import tune
from fl_platform.tracking.run_folder import all_runs

# Runs the command line once per line of standard input; an import of torch ends it.
COMMANDS = """
import sys

class Refuses:
    def find_spec(self, name, path=None, target=None):
        if name in ("torch", "lightning"):
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
    "task=arrays task.data.file=none.npz": "task.data.file: expected a file at",
    "task=cifar10 task.data.download=false": "Looked for the data in",
    "task=cifar100": "Looked for the data in",
    "task=femnist": "Looked for the data in",
    "task=imagenet12": "Looked for the data in",
    "task=mnist": "Looked for the data in",
    "task=svhn": "Looked for the data in",
}


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    lines = [f"{verb} {words} --home {home}" for verb in ("run", "grid") for words in REFUSED]
    done = subprocess.run(
        [sys.executable, "-c", COMMANDS],
        input="\n".join(lines),
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    answers = done.stderr.split("fl-platform: ")[1:]
    assert len(answers) == len(lines), done.stderr
    assert not (home / "mlruns").exists()
    return dict(zip([line.partition(" --home")[0] for line in lines], answers, strict=True))


@pytest.mark.parametrize("verb", ["run", "grid"])
@pytest.mark.parametrize("words", REFUSED)
def test_it_is_refused_with_exit_code_2_and_without_torch(told, verb, words):
    answer = told[f"{verb} {words}"]
    assert answer.startswith(REFUSED[words]), answer
    assert answer.endswith("exit 2\n"), answer
    assert "imports" not in answer


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
