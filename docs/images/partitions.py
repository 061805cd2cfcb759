"""Draw who holds what under each partition: ``python docs/images/partitions.py``."""

from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import torch

from fl_platform.data import classes_per_client, digits, dirichlet, iid, partitions

CLIENTS = 20
mpl.rcParams["font.size"] = 8


def draw(place: Path) -> None:
    """Samples of each class at each of 20 clients, of the embedded digits."""
    labels = digits().train_labels
    cases = {
        "iid": lambda: iid(labels, CLIENTS, 0),
        "dirichlet, beta 0.5": lambda: dirichlet(labels, CLIENTS, 0, beta=0.5, minimum=4),
        "gamma_similarity, gamma 0.5": lambda: partitions.gamma_similarity(labels, CLIENTS, 0),
        "sorted": lambda: partitions.sorted_labels(labels, CLIENTS, 0),
        "k_classes, k 2": lambda: partitions.k_classes(labels, CLIENTS, 0),
        "shards, 2 per client": lambda: partitions.shards(labels, CLIENTS, 0),
        "fang_q, q 0.5": lambda: partitions.fang_q(labels, CLIENTS, 0),
        "long_tail, keep 0.5": lambda: partitions.long_tail(labels, CLIENTS, 0),
        "quantity_skew, beta 0.5": lambda: partitions.quantity_skew(labels, CLIENTS, 0),
    }
    figure, axes = plt.subplots(3, 3, figsize=(9, 6), layout="constrained")
    for cell, (name, split) in zip(axes.flat, cases.items(), strict=True):
        counts = classes_per_client(split(), labels, 10)
        image = cell.imshow(counts.T, origin="lower", aspect="auto", cmap="Greys", vmin=0)
        cell.set(title=name, xlabel="client", ylabel="class")
        figure.colorbar(image, ax=cell)
    figure.savefig(place, dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    torch.set_num_threads(1)
    draw(Path(__file__).with_name("partitions.png"))
