"""Other names of the field for the names of this project: the table of all suggestions."""

from __future__ import annotations

import re
from collections.abc import Iterable

# The name here, and other names for it. Spelling (case, hyphens, underscores) is ignored.
NAMES = {
    "rfa": "geometric_median geomed gm weiszfeld",
    "mean": "fedavg average averaging fed_avg no_defense",
    "centered_clipping": "cclip cc clipped_clipping centred_clipping",
    "trimmed_mean": "rbtm tm trmean coordinate_wise_trimmed_mean",
    "median": "cwmed comed coordinate_median coordinate_wise_median cm",
    "multi_krum": "mkrum multikrum m_krum",
    "dnc": "divide_and_conquer",
    "mda": "minimum_diameter_averaging brute",
    "lie": "alie little a_little_is_enough little_is_enough",
    "ipm": "inner_product inner_product_manipulation foe fall_of_empires",
    "bit_flip": "sign_flip sign_flipping signflip sf",
    "label_flip": "label_flipping lf",
    "none": "no_attack benign honest",
    "bucketing": "buckets resampling",
    "nnm": "nearest_neighbor_mixing nearest_neighbour_mixing",
    "digits": "sklearn_digits optdigits",
    "imagenet12": "imagenet image_folder",
    "task.beta": "alpha beta dirichlet_alpha dirichlet_beta concentration",
    "byzantine.count": "f num_byzantine n_byzantine nb_byz num_byz b",
    "byzantine.fraction": "byzantine_fraction attacker_ratio",
    "task.clients": "n num_clients n_clients clients nb_workers num_workers",
    "task.sampled": "participation sample_clients clients_per_round",
    "task.local.lr": "lr learning_rate client_lr",
    "task.local.batch": "batch batch_size bs",
    "task.local.epochs": "epochs local_epochs",
    "task.local.steps": "steps local_steps",
    "rounds": "num_rounds nb_rounds communication_rounds t",
    "runtime.device": "device gpu cuda",
    "worker.momentum": "worker_momentum client_momentum",
    "defense": "aggregator aggregation aggregation_rule gar rule defence",
    "mixing": "pre_aggregation preaggregation pre_agg preagg",
    "task": "dataset data_set",
    "model": "network net architecture",
}


def bare(name: str) -> str:
    """``name`` in lower case without separators."""
    return re.sub(r"[-_ .]", "", name.lower())


_MEANT = {bare(alias): name for name, typed in NAMES.items() for alias in typed.split()}


def meaning(name: str, known: Iterable[str]) -> str | None:
    """The name in ``known`` that ``name`` means, by the table or up to spelling."""
    listed = list(known)
    wanted = _MEANT.get(bare(name))
    if wanted in listed:
        return wanted
    alike = [one for one in listed if bare(one) == bare(name)]
    return alike[0] if alike else None
