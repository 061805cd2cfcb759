"""Updates in the plane by locally linear embedding, as in the paper's Figures 1 and 2.

LLE: Sam T. Roweis and Lawrence K. Saul, "Nonlinear dimensionality reduction by locally linear
embedding", Science 2000. It needs inner products only, so it is fitted on coordinates taken from
the Gram matrix: the same picture as on the full vectors, whatever their dimension.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fl_platform.report.figures.layout import (
    Page,
    legend_below,
    settle,
    wrapped,
)
from fl_platform.report.figures.style import BLUE, GREEN, VERMILION, styled
from fl_platform.tracking.clouds import FEWEST_HONEST

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LIMITS = (
    "LLE keeps neighbours, not density, distance or the mean: neither how dense a group is nor how"
    " far a point lies can be read off. Fitted on the honest updates only; the Byzantine ones and"
    " the mean are placed afterwards, which pulls them towards the cloud, so their true distance"
    " from the mean is printed (1 = the average honest distance)."
)
HONEST = ("honest", "skewed")


@dataclass(frozen=True)
class Embedding:
    """Points in the plane ``(k, 2)`` with their labels, the mean's point, and true distances.

    ``distance`` is the mean distance of Byzantine rows from the honest mean, over the mean honest
    one; NaN without Byzantine rows.
    """

    points: np.ndarray
    labels: tuple[str, ...]
    mean: np.ndarray
    distance: float


def labels_of(rows: int, num_honest: int, skewed: Sequence[int]) -> list[str]:
    """Labels of a kept cloud: honest rows first, then Byzantine ones, the mean last.

    Args:
        rows: Side of its Gram matrix.
        num_honest: h.
        skewed: Indices of the honest rows that are skewed.
    """
    hidden = {int(index) for index in skewed}
    honest = ["skewed" if row in hidden else "honest" for row in range(num_honest)]
    return [*honest, *["byzantine"] * (rows - num_honest - 1), "mean"]


def embed(gram: np.ndarray, labels: Sequence[str], neighbors: int = 12) -> Embedding:
    """The plane picture of a round from its Gram matrix.

    Args:
        gram: ``(k, k)`` inner products about any common point.
        labels: For each row honest, skewed (honest too) or byzantine; rows labelled mean are
            left out, since the honest mean follows from the Gram matrix.
        neighbors: LLE's neighbour count, cut to what the honest rows allow.

    Raises:
        ValueError: shapes do not fit, a label is unknown, a value is not finite, or there are
            fewer than ``FEWEST_HONEST`` honest rows.
    """
    gram = np.asarray(gram, dtype=np.float64)
    if gram.shape != (len(labels), len(labels)):
        raise ValueError(f"Expected a Gram matrix of {len(labels)} rows, got {gram.shape}.")
    unknown = sorted(set(labels) - {*HONEST, "byzantine", "mean"})
    if unknown:
        raise ValueError(f"Expected honest, skewed, byzantine or mean, got the labels {unknown}.")
    if not np.isfinite(gram).all():
        raise ValueError("Expected finite inner products, got NaN or infinite ones.")
    kept = [index for index, label in enumerate(labels) if label != "mean"]
    names = tuple(labels[index] for index in kept)
    honest = np.array([label in HONEST for label in names], dtype=bool)
    if honest.sum() < FEWEST_HONEST:
        raise ValueError(f"Expected at least {FEWEST_HONEST} honest rows, got {int(honest.sum())}.")

    gram = gram[np.ix_(kept, kept)]
    weights = honest / honest.sum()
    to_mean = gram @ weights
    centred = gram - to_mean[:, None] - to_mean[None, :] + weights @ to_mean  # (k, k)
    values, vectors = np.linalg.eigh((centred + centred.T) / 2)
    coordinates = vectors * np.sqrt(np.clip(values, 0, None))
    scale = np.linalg.norm(coordinates[honest], axis=1).mean()
    coordinates = coordinates / (scale or 1.0)  # LLE's picture does not depend on the unit

    from sklearn.manifold import LocallyLinearEmbedding

    model = LocallyLinearEmbedding(
        n_neighbors=min(neighbors, int(honest.sum()) - 1),
        n_components=2,
        eigen_solver="dense",
        random_state=0,
    )
    points = np.empty((len(names), 2))
    points[honest] = model.fit_transform(coordinates[honest])
    if not honest.all():
        points[~honest] = model.transform(coordinates[~honest])
    mean = model.transform(np.zeros((1, coordinates.shape[1])))[0]
    far = np.linalg.norm(coordinates[~honest], axis=1).mean() if not honest.all() else np.nan
    return Embedding(points, names, mean, float(far))


Drawn = tuple[Mapping[str, Any], Embedding]


def embedded(clouds: Sequence[Mapping[str, Any]], most: int = 6) -> tuple[list[Drawn], list[str]]:
    """The pictures of some rounds, and for each that has none the reason.

    Args:
        clouds: Dicts with gram ``(k, k)``, labels ``(k,)`` and step.
        most: How many are drawn; of more, evenly chosen ones.
    """
    picked = np.unique(np.linspace(0, len(clouds) - 1, min(most, len(clouds))).round().astype(int))
    drawn: list[Drawn] = []
    left_out: list[str] = []
    for index in picked:
        cloud = clouds[index]
        try:
            with np.errstate(all="ignore"):  # an overflow is refused by what comes after it
                picture = embed(cloud["gram"], [str(label) for label in cloud["labels"]])
        except (ValueError, ArithmeticError, RuntimeError) as error:
            left_out.append(f"round {cloud['step']}: {error}")
        else:
            drawn.append((cloud, picture))
    return drawn, left_out


def cloud_figure(
    drawn: Sequence[Drawn], title: str = "", page: Page | None = None
) -> Figure | None:
    """One panel a cloud: honest grey, skewed blue, Byzantine crosses, the honest mean a star.

    Args:
        drawn: Clouds with their pictures, as ``embedded`` returns them.
        title: What is printed below, before the picture's limits.
        page: The page that it is printed on.

    Returns:
        None without clouds.
    """
    if not drawn:
        return None
    from matplotlib.figure import Figure

    page = page or Page()
    with styled(page):
        columns = min(page.columns(1.6), 3, len(drawn))
        rows = -(-len(drawn) // columns)
        width = page.width * max(columns / 3, min(1.0, 3.3 * page.scale / page.width))
        figure = Figure(figsize=(width, 2.25 * rows + 1.4), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False)
        for axes in grid.flat[len(drawn) :]:
            axes.set_visible(False)
        for axes, (cloud, picture) in zip(grid.flat, drawn, strict=False):
            _draw(axes, picture, cloud, width / columns - 0.15, page)
        legend_below(figure, page, place="outside upper center")
        # Below: above the panels it would meet the legend.
        limits = wrapped(f"{title}. {LIMITS}" if title else LIMITS, width - 0.2, page.small - 0.5)
        figure.supxlabel(limits, fontsize=page.small - 0.5, color="#444444")
        settle(figure, grid[0, 0], min(1.7 * page.scale, 0.9 * width / columns), rows)
    return figure


def _draw(
    axes: Axes, picture: Embedding, cloud: Mapping[str, Any], room: float, page: Page
) -> None:
    labels = np.array(picture.labels)
    x, y = picture.points.T
    for label, marker, face, edge, size in (
        ("honest", "o", "#BBBBBB", "#777777", 16),
        ("skewed", "o", BLUE, BLUE, 16),
        ("byzantine", "x", VERMILION, None, 34),
    ):
        here = labels == label
        if here.any():
            count = f" ({here.sum()})" if label == "byzantine" else ""
            axes.scatter(
                x[here],
                y[here],
                s=size,
                marker=marker,
                c=face,
                edgecolors=edge,
                lw=0.6 if edge else 1.4,
                label=label.replace("byzantine", "Byzantine") + count,
            )
    axes.scatter(
        picture.mean[0],
        picture.mean[1],
        s=90,
        marker="*",
        c=GREEN,
        edgecolors="black",
        lw=0.6,
        zorder=4,
        label="honest mean",
    )
    far = "" if np.isnan(picture.distance) else f"; Byzantine at {picture.distance:.2f}"
    axes.set_title(wrapped(f"round {cloud['step']}{far}", room, page.font))
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(False)
    axes.spines[:].set_visible(True)
    axes.spines[:].set_color("#BBBBBB")
    axes.margins(0.08)
