"""Run attackers against settings of a defense, side by side; write one CSV row per attacker.

PYTHONPATH=docs/results/data python docs/results/data/defense_runs.py --base "..." \
    --attacks attacks.txt --seeds 100,101,102,103,104 --on test --out rows.csv
"""

from __future__ import annotations

import argparse
import csv
import math
from pathlib import Path

from fl_platform.report.statistics import summarize
from fl_platform.study.arena.batch import ArenaSetting, play
from fl_platform.study.arena.search import NONE, Trial

FIELDS = ("name", "base", "attack", "on", "seeds", "end", "low", "high", "per_seed", "diverged")


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True, help="label of the rows")
    parser.add_argument("--base", required=True, help="overrides, separated by blanks")
    parser.add_argument("--attacks", type=Path, required=True, help="one attacker per line")
    parser.add_argument("--seeds", default="100,101,102,103,104")
    parser.add_argument("--on", choices=("test", "validation"), default="test")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--tail", type=int, default=10)
    parser.add_argument("--side-by-side", type=int, default=8)
    parser.add_argument("--reference", action="store_true", help="also the plain mean, no attack")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="rows are appended")
    chosen = parser.parse_args()
    lines = chosen.attacks.read_text().splitlines()
    attacks = [tuple(line.split()) for line in lines if line.strip()]
    base = ("observers=none", "runtime.device=cpu", *chosen.base.split())
    defense = tuple(t for t in base if t.partition("=")[0].split(".")[0] in ("defense", "mixing"))
    setting = ArenaSetting(chosen.home, base, defense, 0.2, ("filter_attacks", "sign_attacks"))
    seeds = [int(seed) for seed in chosen.seeds.split(",")]
    found: dict[tuple[str, ...], list[float]] = {}
    lost: dict[tuple[str, ...], int] = {}
    for seed in seeds:
        trials = [Trial(attack, seed, chosen.on, chosen.rounds) for attack in attacks]
        if chosen.reference:
            trials.append(Trial(NONE, seed, chosen.on, chosen.rounds, reference=True))
        for first in range(0, len(trials), chosen.side_by_side):
            for trial, played, _ in play(setting, trials[first : first + chosen.side_by_side]):
                key = ("reference",) if trial.reference else trial.attack
                tail = played.curve[-chosen.tail :]
                whole = len(played.curve) == chosen.rounds
                found.setdefault(key, []).append(math.fsum(tail) / len(tail) if whole else 0.0)
                lost[key] = lost.get(key, 0) + (not whole)
    fresh = not chosen.out.exists()
    with chosen.out.open("a", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if fresh:
            writer.writerow(FIELDS)
        for key, values in sorted(found.items(), key=lambda item: math.fsum(item[1])):
            s = summarize(values)
            each = " ".join(f"{value:.4f}" for value in values)
            numbers = [f"{value:.4f}" for value in (s.mean, s.low, s.high)]
            row = [chosen.name, chosen.base, " ".join(key), chosen.on, chosen.seeds]
            writer.writerow([*row, *numbers, each, lost[key]])
            print(f"{s.mean:5.1f} [{s.low:.1f}, {s.high:.1f}] {' '.join(key)}", flush=True)


if __name__ == "__main__":
    main()
