"""Run two cells of ByzFL's benchmark by ByzFL itself, with its own clients, server and data split.

python docs/results/data/byzfl_runs.py DATA FOLDER [CELL SEED]   # each finished run is kept
python docs/results/data/byzfl_runs.py --collect FOLDER          # writes papers/byzfl_mnist.csv

Needs byzfl 0.0.11 and torchvision. DATA holds MNIST/raw. The cells were fixed before any run: the
first attack of ByzFL's default configuration against each of its two defenses, three Byzantine
clients of 13; everything else is the default, but for the processor. ``papers/byzfl_mnist.csv``
holds the test accuracy in percent after each 50 steps, by cell and training seed.
"""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path

import pandas as pd

VALUES = Path(__file__).parents[3] / "conf/experiment/papers/byzfl_mnist.csv"
CELLS = {  # name: defense, its settings, gamma
    "rfa": ("GeometricMedian", {"nu": 0.1, "T": 3}, 0.33),
    "trimmed_mean": ("TrMean", {}, 0.0),
}
SEEDS = range(3)
EVERY = 50


def run(data: str, folder: Path, cell: str, seed: int) -> None:
    """Train one cell with one seed; a run that has ended is not repeated."""
    from byzfl.benchmark.benchmark import default_config, set_declared_as_aggregation_parameter
    from byzfl.benchmark.train import start_training

    here = folder / f"{cell}-{seed}"
    if (here / "ended").exists():
        return
    rule, settings, gamma = CELLS[cell]
    config = copy.deepcopy(default_config)
    config["benchmark_config"] |= {
        "device": "cpu",
        "training_seed": seed,
        "nb_workers": 13,
        "f": 3,
        "tolerated_f": 3,
        "data_distribution": {"name": "gamma_similarity_niid", "distribution_parameter": gamma},
    }
    config["aggregator"] = {"name": rule, "parameters": settings}
    config["attack"] = {"name": "SignFlipping", "parameters": {}}
    config["evaluation_and_results"] |= {
        "data_folder": data,
        "results_directory": str(here),
        "store_per_client_metrics": False,
    }
    (config,) = set_declared_as_aggregation_parameter([config])  # else rule and mixing have f = 0
    start_training(config)
    (here / "ended").write_text(json.dumps({"cell": cell, "seed": seed}))


def collect(folder: Path) -> pd.DataFrame:
    """The curves of all runs that have ended."""
    found = []
    for ended in sorted(folder.glob("*/ended")):
        told = json.loads(ended.read_text(encoding="utf-8"))
        (curve,) = ended.parent.glob("*/test_accuracy_*.txt")
        values = [100 * float(word) for word in curve.read_text().split(",")]
        found.append(
            {
                "partition.gamma": CELLS[told["cell"]][2],
                "task.clients": 13,
                "byzantine.count": 3,
                "attack": "ipm",
                "defense": told["cell"],
                "seed": told["seed"],
                "every": EVERY,
                "curve": " ".join(f"{value:.2f}" for value in values[1:]),  # without step 0
            }
        )
    return pd.DataFrame(found).sort_values(["defense", "seed"])


def main(arguments: list[str]) -> None:
    """Run or collect."""
    if arguments[0] == "--collect":
        collect(Path(arguments[1])).to_csv(VALUES, index=False, lineterminator="\n")
        return
    data, folder, *one = arguments
    pairs = [(one[0], int(one[1]))] if one else [(c, s) for s in SEEDS for c in CELLS]
    for cell, seed in pairs:
        run(data, Path(folder), cell, seed)


if __name__ == "__main__":
    main(sys.argv[1:])
