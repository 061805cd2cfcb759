import numpy as np
import pytest

from fl_platform.report.cells import cells
from fl_platform.report.figures import (
    accuracy_curves,
    beta_sweep,
    cloud_figure,
    embed,
    embedded,
    kappa_figure,
    labels_of,
    mixing_bars,
    nu_sweep,
    save,
    skew_figure,
    worst_case_heatmap,
)
from fl_platform.report.figures.style import marks
from fl_platform.report.round_metrics import kappa_table, skew_table
from tests.report.synthetic import ATTACKS, DEFENSES, cloud, curves_of, frame, grid


def small(**changes):
    known = {"attacks": ("none", "lie", "strike"), "defenses": ("median", "rfa"), "seeds": range(2)}
    return grid(**known | changes)


def words(figure):
    import matplotlib.text

    return [text.get_text() for text in figure.findobj(matplotlib.text.Text)]


def sweep(nus):
    rows = [{"nu": nu, "seed": s, "accuracy_tail": 60 - 10 * nu + s} for nu in nus for s in (0, 1)]
    return cells(frame(*rows))


def test_marks_are_told_apart_without_colour():
    for names in (ATTACKS, DEFENSES):
        made = marks(list(names))
        assert len({(mark.marker, str(mark.line)) for mark in made.values()}) == len(names)
    free = marks([f"unknown {i}" for i in range(9)])
    assert len(set(free.values())) == 9
    for names in (ATTACKS, DEFENSES):  # colour and line, for a marker is small
        made = [*marks(list(names)).values(), *free.values()]
        assert len({(mark.color, str(mark.line)) for mark in made}) == len(made)


def test_heatmap_shows_the_worst_case_over_attacks_only():
    rows = [
        {"attack": "none", "accuracy_tail": 11.0},
        {"attack": "lie", "accuracy_tail": 33.0},
        {"attack": "ipm", "accuracy_tail": 44.0},
        {"attack": "mimic", "status": "DIVERGED"},
    ]
    said = words(worst_case_heatmap(cells(frame(*rows))))
    assert "33.0 div" in said
    assert "div" in said
    assert "11.0" in said
    assert "11.0 div" not in said


def test_curves_draw_the_mean_of_finished_seeds_and_diverged_runs_alone():
    runs = small(attacks=("lie",), defenses=("median",), seeds=range(3))
    runs.loc[runs["seed"] == 2, "status"] = "DIVERGED"
    curves = curves_of(runs, rounds=10)
    (axes,) = accuracy_curves(cells(runs), curves).axes
    mean = next(line for line in axes.lines if line.get_label() == "LIE")
    whole = curves[curves["run_id"].isin(runs["run_id"][runs["seed"] < 2])]
    expected = 100 * whole.groupby("step")["value"].mean().to_numpy()
    assert mean.get_ydata() == pytest.approx(expected)
    assert len(axes.lines) == 3  # the mean, the diverged run, and the cross where it ends


def test_curves_without_data_are_no_figure():
    runs = small()
    assert accuracy_curves(cells(runs), curves_of(runs).iloc[:0]) is None


def test_nu_sweep_marks_one_and_needs_three_values():
    figure = nu_sweep(sweep([0.5, 1.0, 2.0]))
    assert "ν = 1" in words(figure)
    line = figure.axes[0].containers[0].lines[0]
    assert list(line.get_xdata()) == [0.5, 1.0, 2.0]
    assert list(line.get_ydata()) == [55.5, 50.5, 40.5]
    assert nu_sweep(sweep([0.5, 1.0])) is None


def test_beta_sweep_puts_iid_last():
    rows = [{"beta": b, "accuracy_tail": 10.0} for b in (0.9, float("nan"), 0.1)]
    figure = beta_sweep(cells(frame(*rows)))
    assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == ["0.1", "0.9", "IID"]
    assert beta_sweep(cells(frame(*rows[:2]))) is None


def test_mixing_bars_have_a_panel_each():
    rows = [{"mixing": m} for m in ("", "nnm", "bucketing(s=2)")]
    titles = [axes.get_title(loc="left") for axes in mixing_bars(cells(frame(*rows))).axes]
    assert titles == ["without mixing", "with bucketing (s=2)", "with NNM"]
    assert mixing_bars(cells(frame({}))) is None


def test_skew_stands_beside_its_null():
    runs = small()
    table = skew_table(cells(runs), curves_of(runs, extra=True))
    rho = table[table["metric"] == "rho"]
    assert rho["null_mean"].tolist() == pytest.approx([0.12] * len(rho))
    assert rho["null_high"].tolist() == pytest.approx([0.136] * len(rho))
    said = " ".join(words(skew_figure(table)))
    assert "median shift" in said
    assert "null logged" not in said
    assert skew_figure(skew_table(cells(runs), curves_of(runs))) is None


def test_kappa_is_the_largest_of_any_round_beside_its_constant():
    runs = small(attacks=("lie",), seeds=[0])
    curves = curves_of(runs, extra=True)
    table = kappa_table(cells(runs), curves)
    largest = curves[curves["key"] == "round/kappa"].groupby("run_id")["value"].max()
    assert sorted(table["kappa"]) == pytest.approx(sorted(largest))
    assert table.set_index("defense")["constant"]["Median"] == 1.6
    assert "none\nproved" in words(kappa_figure(table))  # RFA
    none = table.assign(constant=float("inf"))
    assert "no finite\nconstant" in words(kappa_figure(none))
    assert kappa_figure(table.iloc[:0]) is None


def test_embedding_needs_only_the_gram_matrix():
    from sklearn.manifold import LocallyLinearEmbedding

    rows = np.random.default_rng(0).standard_normal((30, 8))
    rows = rows - rows.mean(axis=0)
    made = embed(rows @ rows.T, ["honest"] * 30)
    model = LocallyLinearEmbedding(
        n_neighbors=12, n_components=2, eigen_solver="dense", random_state=0
    )
    full = model.fit_transform(rows / np.linalg.norm(rows, axis=1).mean())
    signs = np.sign((made.points * full).sum(axis=0))
    assert made.points * signs == pytest.approx(full, abs=1e-6)
    assert made.mean * signs == pytest.approx(model.transform(np.zeros((1, 8)))[0], abs=1e-6)


def test_byzantine_rows_do_not_move_the_honest_ones():
    made = cloud()
    without = [i for i, label in enumerate(made["labels"]) if label not in ("byzantine", "mean")]
    both = embed(made["gram"], made["labels"])
    labels = [made["labels"][i] for i in without]
    alone = embed(made["gram"][np.ix_(without, without)], labels)
    assert both.points[: len(without)] == pytest.approx(alone.points, abs=1e-6)
    assert np.isnan(alone.distance)


def test_labels_of_a_kept_cloud():
    assert labels_of(5, 3, [2, 0]) == ["skewed", "honest", "skewed", "byzantine", "mean"]
    assert labels_of(3, 2, []) == ["honest", "honest", "mean"]


def test_distance_is_relative_to_the_honest_average():
    honest = np.array([[1.0, 0], [-1, 0], [0, 1], [0, -1], [0.6, 0.8], [-0.6, -0.8]])
    rows = np.concatenate([honest, [[3.0, 4.0]]])
    offset = rows + 100  # any common point will do
    labels = ["honest"] * 6 + ["byzantine"]
    assert embed(offset @ offset.T, labels).distance == pytest.approx(5.0)


@pytest.mark.parametrize(
    ("gram", "labels", "told"),
    [
        (np.eye(3), ["honest"] * 3, "at least 4 honest"),
        (np.eye(5), ["honest"] * 4, "4 rows"),
        (np.eye(5), ["honest"] * 4 + ["evil"], "evil"),
        (np.full((5, 5), np.nan), ["honest"] * 5, "finite"),
    ],
)
def test_an_unfit_cloud_is_refused(gram, labels, told):
    with pytest.raises(ValueError, match=told):
        embed(gram, labels)


def test_cloud_figure_says_what_it_cannot_show():
    said = " ".join(words(cloud_figure(embedded([cloud(step) for step in range(8)])[0])))
    assert "not density" in said.replace("\n", " ")
    assert "round 0" in said
    assert "round 7" in said
    assert cloud_figure([]) is None


def test_saved_files_are_equal_for_equal_figures(tmp_path):
    once, twice = (
        save(worst_case_heatmap(cells(small())), tmp_path / name, ("png", "pdf", "svg"))
        for name in ("a", "b")
    )
    assert [p.read_bytes() for p in once] == [p.read_bytes() for p in twice]
    assert once[1].read_bytes().startswith(b"%PDF")
    other = save(worst_case_heatmap(cells(small(noise=5.0))), tmp_path / "c", ("svg",))
    assert other[0].read_bytes() != once[2].read_bytes()


def test_a_name_with_dollars_is_drawn_as_a_name(tmp_path):
    runs = frame({"attack": "a$b$c", "attack_label": r"$\frac{$", "defense_label": "$x^$"})
    assert save(worst_case_heatmap(cells(runs), "$_$"), tmp_path / "x", ("png",))[0].exists()
