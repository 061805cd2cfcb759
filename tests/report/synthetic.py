"""Made-up runs for the tests of the report: no number here was ever measured."""

import numpy as np
import pandas as pd

ATTACKS = ("none", "absent", "bit_flip", "lie", "ipm", "min_max", "min_sum", "mimic", "strike")
DEFENSES = (
    "multi_krum",
    "median",
    "rfa",
    "aksel",
    "centered_clipping",
    "dnc",
    "trimmed_mean",
    "mean",
)


def run(**changes):
    """One finished run."""
    row = {
        "name": "made up",
        "task": "cifar10",
        "attack": "strike",
        "defense": "median",
        "mixing": "",
        "preset": "paper",
        "seed": 0,
        "commit": "c" * 40,
        "dirty": "false",
        "code_fingerprint": "f" * 64,
        "data_digest": "d" * 64,
        "device": "cpu",
        "status": "FINISHED",
        "rounds": 200,
        "clients": 50,
        "byzantine_fraction": 0.2,
        "beta": 0.5,
        "nu": float("nan"),
        "accuracy_last": 50.0,
        "accuracy_tail": 50.0,
        "accuracy_best": 50.0,
        "seconds": 12.0,
        "experiment": "made-up",
        "parent_run_id": "",
    }
    row |= changes
    identity = "|".join(
        str(row[key])
        for key in ("task", "attack", "nu", "defense", "mixing", "preset", "seed", "beta")
    )
    row.setdefault("run_id", identity)
    row.setdefault("config_hash", identity)
    nu = "" if row["nu"] != row["nu"] else f"(nu={row['nu']:g})"
    row.setdefault("attack_label", f"{row['attack']}{nu}")
    row.setdefault("defense_label", row["defense"])
    return row


def frame(*rows):
    return pd.DataFrame([run(**row) for row in rows])


def grid(task="cifar10", attacks=ATTACKS, defenses=DEFENSES, seeds=range(3), noise=1.0, **common):
    """Attacks × defenses × seeds; accuracies fall with the place in the list of attacks."""
    draws = np.random.default_rng(7)
    rows = []
    for a, attack in enumerate(attacks):
        for d, defense in enumerate(defenses):
            for seed in seeds:
                value = 72 - 3.1 * a - 1.3 * d - (9 if attack == "strike" else 0)
                value += noise * draws.standard_normal()
                nu = 1.0 if attack == "strike" else float("nan")
                accuracies = {f"accuracy_{k}": value for k in ("tail", "last", "best")}
                fixed = {"task": task, "attack": attack, "defense": defense, "seed": seed}
                rows.append(run(**{"nu": nu} | fixed | accuracies | common))
    return pd.DataFrame(rows)


def curves_of(runs, rounds=20, extra=False):
    """Accuracy curves that end at each run's accuracy; ``extra`` adds skew and kappa."""
    draws = np.random.default_rng(3)
    parts = []
    steps = np.arange(1, rounds + 1)
    for row in runs.to_dict("records"):
        rise = row["accuracy_tail"] / 100 * (1 - np.exp(-5 * steps / rounds))
        series = {"test/accuracy": np.clip(rise + 0.01 * draws.standard_normal(rounds), 0, 1)}
        if row["status"] == "DIVERGED":
            series["test/accuracy"] = np.where(steps > rounds // 2, np.nan, rise)
        if extra:
            noise = draws.standard_normal(rounds)
            series["skew/rho"] = 0.16 + 0.01 * noise
            series["skew/rho_null"] = np.full(rounds, 0.12)
            series["skew/rho_z"] = (series["skew/rho"] - 0.12) / 0.008
            series["skew/sk2"] = -0.4 + 0.1 * noise
            series["skew/sk2_null"] = np.full(rounds, -0.36)
            series["skew/sk2_z"] = (series["skew/sk2"] + 0.36) / 0.1
            series["skew/mode_share"] = 0.58 + 0.03 * noise
            series["round/kappa"] = np.abs(noise) * 0.1
            if row["defense"] in ("median", "trimmed_mean", "multi_krum"):
                series["round/kappa_bound"] = np.full(rounds, 1.6)
        for key, values in series.items():
            parts.append(
                pd.DataFrame({"run_id": row["run_id"], "key": key, "step": steps, "value": values})
            )
    return pd.concat(parts, ignore_index=True)


def cloud(step=20, name="made up", honest=40, byzantine=10, dimension=300, seed=0):
    """The Gram matrix of a skewed crowd, of equal Byzantine rows and of the honest mean."""
    draws = np.random.default_rng(seed)
    rows = draws.gamma(1.0, size=(honest, 6)) @ draws.standard_normal((6, dimension))
    rows += 0.2 * draws.standard_normal(rows.shape)
    shift = np.median(rows, axis=0) - rows.mean(axis=0)
    skewed = set(np.argsort(rows @ shift)[-(honest - byzantine) :].tolist())
    labels = ["skewed" if i in skewed else "honest" for i in range(honest)]
    middle = rows[sorted(skewed)].mean(axis=0)
    attack = np.tile(middle + 0.9 * np.sign(shift) * rows.std(axis=0), (byzantine, 1))
    every = np.concatenate([rows, attack, rows.mean(axis=0, keepdims=True)])
    labels = [*labels, *["byzantine"] * byzantine, "mean"]
    return {"gram": every @ every.T, "labels": labels, "step": step, "name": name}
