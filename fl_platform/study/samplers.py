"""Samplers and pruners by name; a sampler's seed is not repeated by a resumed study."""

from __future__ import annotations

from typing import Any

import optuna
from optuna.pruners import BasePruner, NopPruner, WilcoxonPruner
from optuna.samplers import BaseSampler

from fl_platform.config import ConfigError
from fl_platform.config.errors import nearest
from fl_platform.study.spec import Pruner, Sampler

SAMPLERS = {
    "tpe": "TPESampler",
    "gp": "GPSampler",
    "cmaes": "CmaEsSampler",
    "qmc": "QMCSampler",
    "random": "RandomSampler",
}
NUMBERS_ONLY = ("cmaes", "qmc")  # they leave choices to chance
# What Optuna 5 does is written out: its defaults changed silently from 4 to 5.
OPTIONS: dict[str, dict[str, Any]] = {
    "tpe": {
        "n_startup_trials": 10,
        "n_ei_candidates": 24,
        "multivariate": True,
        "group": False,
        "constant_liar": True,
    },
    "gp": {
        "n_startup_trials": 10,
        "deterministic_objective": False,
        "warn_independent_sampling": False,
    },
    "cmaes": {
        "n_startup_trials": 1,
        "sigma0": None,
        "popsize": None,
        "with_margin": False,
        "warn_independent_sampling": False,
    },
    "qmc": {
        "qmc_type": "sobol",
        "scramble": True,
        "warn_independent_sampling": False,
        "warn_asynchronous_seeding": False,
    },
    "random": {},
}


def build_sampler(settings: Sampler, trials: int) -> BaseSampler:
    """The sampler for the next trial of a study that has ``trials`` already.

    Its seed is the stream ``suggest`` of the study's seed at that number: built anew for every
    trial, a study that was stopped and resumed goes on as if it had not been, and workers that
    start at once do not propose the same. A Sobol sequence keeps one seed, as it is one sequence.

    Raises:
        ConfigError: an option that the sampler does not have, or a package that is missing.
    """
    known = OPTIONS[settings.name]
    for option in settings.options:
        if option not in known:
            has = ", ".join(known) or "none"
            raise ConfigError(
                f"sampler.options.{option}: {settings.name} has no such option"
                f"{nearest(option, known)} It has: {has}."
            )
    from fl_platform.core.rng import stream_seed  # torch, which a refused option need not wait for

    cls = getattr(optuna.samplers, SAMPLERS[settings.name])
    index = 0 if settings.name == "qmc" else trials
    seed = stream_seed(settings.seed, "suggest", index) % 2**32
    options = {**known, **settings.options}
    try:
        return cls(seed=seed, **options)
    except ImportError as error:
        raise ConfigError(
            f"sampler.name: {settings.name} needs a package that is not installed ({error.name});"
            " pip install 'fl_platform[tune]'."
        ) from None


def build_pruner(settings: Pruner) -> BasePruner:
    """Optuna's pruner of that name; steps are the positions of seeds in the study file."""
    if settings.name == "none":
        return NopPruner()
    return WilcoxonPruner(p_threshold=settings.p_threshold, n_startup_steps=settings.startup_seeds)
