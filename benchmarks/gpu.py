"""Everything that needs a GPU, in one command of under nine minutes, without network or MLflow.

    python benchmarks/gpu.py --json gpu.json
    python benchmarks/gpu.py --only "alexnet|TF32" --limit 120     # some parts, in less time
    python benchmarks/gpu.py --dry           # the same code on a CPU, tiny: no figure of a GPU

Every part runs in a process of its own, so that one which fails says so and the others go on.
Parts are left out, and named as such, once the time is up.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")  # look for a GPU without touching CUDA
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import Tensor, nn

from benchmarks.apart import apart
from benchmarks.interleaved import interleaved, machine, ratios, write
from benchmarks.local import SETTINGS, SGD, Setting, federation
from benchmarks.round import ALEXNET, synthetic
from benchmarks.server_side import F, N, round_of_the_server, update_rows
from fl_platform.config import Config, compose
from fl_platform.core.precision import tensor_float32
from fl_platform.federated.client_training import Clients, WayName, build_way
from fl_platform.grid.jobs import Board
from fl_platform.grid.local_executor import Pool, warm_up
from fl_platform.grid.runner import plan_grid
from fl_platform.run.runner import run
from fl_platform.tracking.journal import read
from fl_platform.tracking.run_folder import run_folder

REPOSITORY = Path(__file__).resolve().parents[1]
LIMIT = 500.0  # seconds after which no part begins, and one that lasts is asked to stop
NETWORKS = ("digits", "femnist", "alexnet")
ROUNDS = 200  # of the paper's CIFAR-10 setting


def ways(device: str) -> list[WayName]:
    return ["channels_last", "vmapped", *(["graphed"] if device == "cuda" else [])]  # type: ignore


def training(name: str, way: WayName, device: str, dry: bool) -> dict[str, Any]:
    """Images a second of a way against sequential eager steps, and its distance from the CPU."""
    torch.set_num_threads(1 if dry else 8)
    setting = SETTINGS[name]
    setting = replace(
        setting, clients=2 if dry else 50 if name == "digits" else 10, images=12 if dry else 1000
    )
    torch.manual_seed(0)
    model = setting.model(setting.classes, setting.shape)
    local = replace(SGD, batch=setting.batch)
    there = model.to(device)
    clients = Clients(federation(setting).to(torch.device(device)), local)
    start = flat(there)
    rows = torch.empty(setting.clients, len(start), device=device)
    rates = {"float32": False, "TF32": True} if device == "cuda" else {"float32": False}

    def trained(which: WayName, tf32: bool) -> Callable[[], object]:
        trainer = build_way(which, there, clients)  # one each: a graph keeps its precision

        def train() -> None:
            with tensor_float32(tf32):
                trainer.train(range(setting.clients), 0, (start, []), rows)

        return train

    both = tuple(dict.fromkeys(("sequential", way)))
    todo = {f"{w}, {rate}": trained(w, tf32) for rate, tf32 in rates.items() for w in both}
    seconds = interleaved(todo, 1 if dry else 3, device)
    images = setting.clients * setting.images
    return {
        "images per second": {k: round(images / statistics.median(v)) for k, v in seconds.items()},
        "times sequential": {
            k: round(v, 2) for k, v in ratios(seconds, "sequential, float32").items()
        },
        "relative difference from sequential on the CPU": {
            w: equality(setting, w, device, dry) for w in both
        },
    }


def equality(setting: Setting, way: WayName, device: str, dry: bool) -> float:
    """Three clients of unequal size, with last partial batches and two epochs, by both."""
    batch = 4 if dry else setting.batch
    counts = [batch + 3, 2, 2 * batch]
    together = federation(replace(setting, clients=1, images=sum(counts)))
    samples = replace(together, clients=torch.arange(sum(counts)).split(counts))
    local = replace(SGD, epochs=2, batch=batch)
    torch.manual_seed(0)
    model = setting.model(setting.classes, setting.shape)

    def updates(which: WayName, where: str) -> Tensor:
        there = model.to(where)
        start = flat(there)
        rows = torch.empty(3, len(start), device=where)
        clients = Clients(samples.to(torch.device(where)), local)
        with tensor_float32(False):
            build_way(which, there, clients).train(range(3), 0, (start, []), rows)
        return rows.cpu()

    expected = updates("sequential", "cpu")
    return float((updates(way, device) - expected).norm() / expected.norm())


def flat(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()])


def server(device: str, dry: bool) -> dict[str, Any]:
    """STRIKE, Multi-Krum and the statistics on 50 updates of the AlexNet's size."""
    dimension = 10_000 if dry else 2_472_266
    honest = update_rows(dimension)[: N - F].to(device)
    todo = {"server": lambda: round_of_the_server(honest)}
    seconds = interleaved(todo, 2 if dry else 20, device)["server"]
    return {"dimension": dimension, "milliseconds": round(1000 * statistics.median(seconds), 2)}


def whole_run(
    said: Sequence[str], home: Path, precision: str, way: Callable[[], str]
) -> dict[str, Any]:
    """A run of the paper's CIFAR-10 setting, from its start to its end or to the time's."""
    asked = [*said, f"runtime.precision={precision}", f"runtime.local={way()}"]
    config = compose([*asked, "runtime.fresh=true"], home)
    result = run(config, home)
    return {
        "way": way(),
        "status": result.status,
        "accuracy": result.accuracy_last,
        "rounds": result.rounds,
        "seconds, start included": round(result.seconds, 1),
        "seconds a round": pace(config, home, result.config_hash),
    }


def repeated(said: Sequence[str], home: Path, way: Callable[[], str]) -> dict[str, Any]:
    """The same deterministic run twice: do the weights have the same bits?"""
    asked = [*said, f"runtime.local={way()}", "runtime.deterministic=true", "runtime.fresh=true"]
    config = compose(asked, home)
    first, second = (run(config, home) for _ in range(2))
    return {
        "same weights": first.weights_sha256 == second.weights_sha256,
        "rounds": first.rounds,
        "seconds a round": pace(config, home, first.config_hash),
    }


def sharing(
    said: Sequence[str], home: Path, precision: str, beside: int, way: Callable[[], str]
) -> dict[str, Any]:
    """Several runs at a time on one card, each in a process of the grid's."""
    asked = [f"runtime.precision={precision}", f"runtime.local={way()}"]
    seeds = f"seed=range({beside},{2 * beside})"
    typed = [*said, *asked, "runtime.fresh=true", seeds]
    _, cells = plan_grid(typed, home)
    board = Board.of(cells, home)
    warm_up(home, board.entries[0])
    (home / "logs").mkdir(exist_ok=True)
    with Pool(home, beside, logs=home / "logs") as pool:
        pool.work(board, lambda _: None, lambda: False)
    if failed := board.of_state("failed"):
        raise RuntimeError(failed[0].reason)
    paces = [pace(cell.config, home, cell.config_hash) for cell in cells]
    return {
        "way": way(),
        "rounds": cells[0].config.rounds,
        "seconds a round": [round(seconds, 4) for seconds in paces],
        "runs of 200 rounds an hour, start not included": round(
            sum(3600 / (ROUNDS * seconds) for seconds in paces)
        ),
    }


def pace(config: Config, home: Path, identity: str) -> float:
    """Wall seconds a round, the first not counted."""
    losses = read(run_folder(home, identity).journal).metrics["round/loss"]
    times = [losses[step].time for step in sorted(losses)]
    return round((times[-1] - times[0]) / max(1, len(times) - 1), 4)


def fastest(report: dict[str, Any], kind: str) -> str:
    """The way that trained most of the AlexNet's images a second; ``auto`` where none did."""
    rates = {
        label.partition(",")[0]: rate
        for name, part in report.items()
        if name.startswith("local training, alexnet") and isinstance(part, dict)
        for label, rate in part["images per second"].items()
        if label.endswith(kind)
    }
    return max(rates, key=lambda way: rates[way]) if rates else "auto"


def parts(
    device: str, dry: bool, home: Path, data: str | None, report: dict[str, Any]
) -> dict[str, Callable[[], Any]]:
    """What there is to measure, by name; ``report`` tells later parts what earlier ones found."""
    drawn = synthetic(home, 2) if dry else [*synthetic(home, 1000), *ALEXNET]
    given = ["task=cifar10", f"task.data.root={data}"] if data else drawn
    quiet = ["runtime.tracking=journal", "runtime.progress=none", f"runtime.device={device}"]
    said = [*given, "attack=strike", "defense=multi_krum", *quiet]
    few = [*said, f"rounds={2 if dry else 30}"]
    said.append(f"rounds={2 if dry else ROUNDS}")
    if dry:
        few, said = ([*typed, "task.minimum=1"] for typed in (few, said))
    found: dict[str, Callable[[], Any]] = {
        f"local training, {name}, {way}": partial(training, name, way, device, dry)
        for way in ways(device)
        for name in NETWORKS
    }
    found["server side"] = partial(server, device, dry)
    float32, tf32 = (partial(fastest, report, kind) for kind in ("float32", "TF32"))
    found["one run, float32"] = partial(whole_run, said, home, "32-true", float32)
    if not dry:
        found["one run, TF32"] = partial(whole_run, said, home, "tf32", tf32)
    for beside in (2,) if dry else (2, 4, 8):
        found[f"{beside} runs at a time"] = partial(sharing, few, home, "32-true", beside, float32)
        if not dry:
            found[f"{beside} runs at a time, TF32"] = partial(
                sharing, few, home, "tf32", beside, tf32
            )
    found["deterministic mode"] = partial(repeated, few, home, float32)
    found["bfloat16"] = partial(whole_run, few, home, "bf16-mixed", float32)
    return found


def measure(
    device: str, dry: bool, data: str | None = None, only: str = "", limit: float = LIMIT
) -> dict[str, Any]:
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        (home / "conf").symlink_to(REPOSITORY / "conf")
        report: dict[str, Any] = {"machine": apart(partial(machine, device), 60), "dry": dry}
        for label, part in parts(device, dry, home, data, report).items():
            if not re.search(only, label):
                continue
            left = limit - (time.perf_counter() - began)
            report[label] = apart(part, left) if left > 0 else "left out: the time is up"
            print(f"{time.perf_counter() - began:6.1f} s  {label}", file=sys.stderr, flush=True)
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dry", action="store_true", help="tiny sizes on a CPU")
    parser.add_argument("--data", help="folder with cifar10; else images of its shape are drawn")
    parser.add_argument("--only", default="", help="parts whose name this expression finds")
    parser.add_argument("--limit", type=float, default=LIMIT, help="seconds for all parts")
    parser.add_argument("--json")
    asked = parser.parse_args()
    if not asked.dry and not torch.cuda.is_available():
        sys.exit("Expected a CUDA device, got none: not measured. --dry tries the code on a CPU.")
    device = "cpu" if asked.dry else "cuda"
    write(measure(device, asked.dry, asked.data, asked.only, asked.limit), asked.json)


if __name__ == "__main__":
    main()
