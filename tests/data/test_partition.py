from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fl_platform.data import (
    DataError,
    Dataset,
    Partition,
    by_writer,
    classes_per_client,
    dirichlet,
    divide,
    iid,
)

LABELS = torch.arange(1000) % 10


def covers(partition: Partition, size: int) -> bool:
    """Whether each of ``size`` images belongs to exactly one client."""
    return torch.cat(partition.indices).sort().values.equal(torch.arange(size))


def test_the_check_sees_lost_and_doubled_images():
    whole = iid(LABELS, 4, seed=0)
    first, *rest = whole.indices
    assert covers(whole, 1000)
    assert not covers(Partition((first[1:], *rest)), 1000)
    assert not covers(Partition((torch.cat([first, rest[0][:1]]), *rest)), 1000)
    assert not covers(Partition((torch.cat([first[1:], rest[0][:1]]), *rest)), 1000)


@given(
    size=st.integers(1, 400),
    clients=st.integers(1, 40),
    minimum=st.integers(1, 10),
    beta=st.sampled_from([1e-6, 1e-3, 0.05, 0.1, 0.5, 1.0, 100.0, 1e6]),
    classes=st.integers(1, 12),
    seed=st.integers(0, 2**40),
)
@settings(max_examples=60, deadline=None)
def test_dirichlet_gives_every_image_to_exactly_one_client(
    size, clients, minimum, beta, classes, seed
):
    labels = torch.arange(size).square() % classes
    if size < clients * minimum:
        with pytest.raises(DataError, match=f"at most {size // minimum} for {size} training"):
            dirichlet(labels, clients, seed, beta=beta, minimum=minimum)
        return
    partition = dirichlet(labels, clients, seed, beta=beta, minimum=minimum)
    assert len(partition) == clients
    assert covers(partition, size)
    assert min(map(len, partition.indices)) >= minimum
    assert partition.moved == 0 or partition.redraws == 100


@given(size=st.integers(1, 300), clients=st.integers(1, 60), seed=st.integers(0, 2**40))
@settings(max_examples=40, deadline=None)
def test_iid_gives_equal_shares(size, clients, seed):
    labels = torch.zeros(size, dtype=torch.int64)
    if size < clients:
        with pytest.raises(DataError, match="training images"):
            iid(labels, clients, seed)
        return
    partition = iid(labels, clients, seed)
    assert covers(partition, size)
    sizes = [len(index) for index in partition.indices]
    assert max(sizes) - min(sizes) <= 1


def test_small_beta_is_skewed_and_large_beta_is_not():
    def classes_held(beta):
        partition = dirichlet(LABELS, 10, seed=0, beta=beta, minimum=1)
        counts = classes_per_client(partition, LABELS, 10)
        return (counts > 0).float().sum(1).mean().item(), counts.float().std(0).mean().item()

    few, spread = classes_held(0.05)
    all_classes, even = classes_held(1e6)
    assert few < 5
    assert all_classes == 10
    assert spread > 10 > 1 > even


def test_dirichlet_shares_have_the_mean_and_variance_of_the_distribution():
    beta, clients, seeds = 0.5, 5, 2000
    labels = torch.zeros(1000, dtype=torch.int64)
    shares = torch.tensor(
        [
            [len(i) / 1000 for i in dirichlet(labels, clients, s, beta=beta, minimum=1).indices]
            for s in range(seeds)
        ]
    )
    # Dir(beta): mean 1/n, variance (n - 1) / (n^2 (n beta + 1)) = 0.0457, so the standard error of
    # a mean is 0.0048 and four of them are 0.02. The minimum of 1 image rejects some draws near
    # the edge, hence 10 % for the variance.
    assert shares.mean(0).sub(1 / clients).abs().max() < 0.02
    expected = (clients - 1) / (clients**2 * (clients * beta + 1))
    assert abs(shares.var(0).mean() / expected - 1) < 0.1


def test_what_redrawing_cannot_reach_is_moved_and_counted():
    partition = dirichlet(LABELS, 50, seed=0, beta=0.001, minimum=10)
    assert partition.redraws == 100
    assert partition.moved > 0
    assert covers(partition, 1000)
    assert min(map(len, partition.indices)) == 10
    easy = dirichlet(LABELS, 5, seed=0, beta=100.0, minimum=10)
    assert (easy.redraws, easy.moved) == (0, 0)


def test_exactly_enough_images_is_enough():
    partition = dirichlet(LABELS, 100, seed=0, beta=0.1, minimum=10)
    assert [len(index) for index in partition.indices] == [10] * 100
    with pytest.raises(DataError, match=r"lower it or lower task\.minimum"):
        dirichlet(LABELS[:-1], 100, seed=0, beta=0.1, minimum=10)


def test_equal_seeds_give_equal_partitions_and_digests_tell_them_apart():
    first, again, other = (dirichlet(LABELS, 8, seed, beta=0.5, minimum=4) for seed in (1, 1, 2))
    assert first.digest == again.digest
    assert first.digest != other.digest
    ones = torch.arange(4)
    assert Partition((ones[:1], ones[1:])).digest != Partition((ones[:2], ones[2:])).digest


def test_global_generators_do_not_matter():
    import random

    import numpy as np

    digests = []
    for poison in (0, 1):
        random.seed(poison)
        np.random.seed(poison)  # noqa: NPY002 (the global state is what must not matter)
        torch.manual_seed(poison)
        partition = dirichlet(LABELS, 8, 0, beta=0.5, minimum=4)
        digests.append(partition.digest + iid(LABELS, 8, 0).digest)
    assert digests[0] == digests[1]


def test_by_writer_is_one_client_a_writer():
    writers = torch.tensor([4, 0, 4, 2, 0, 4])
    partition = by_writer(writers)
    assert [index.tolist() for index in partition.indices] == [[1, 4], [3], [0, 2, 5]]
    assert covers(partition, 6)


def test_class_counts():
    labels = torch.tensor([0, 2, 2, 1])
    partition = Partition((torch.tensor([0, 1]), torch.tensor([2, 3])))
    expected = [[1, 0, 1, 0], [0, 1, 1, 0]]
    assert classes_per_client(partition, labels, 4).tolist() == expected


@pytest.mark.parametrize("beta", [0.0, -1.0, float("nan"), float("inf")])
def test_beta_outside_its_range_is_refused(beta):
    with pytest.raises(ValueError, match="beta"):
        dirichlet(LABELS, 5, 0, beta=beta, minimum=1)


def test_a_client_without_images_is_refused_by_its_number():
    with pytest.raises(DataError, match="none for client 1"):
        Partition((torch.tensor([0]), torch.tensor([], dtype=torch.int64)))
    with pytest.raises(ValueError, match="minimum >= 1"):
        dirichlet(LABELS, 5, 0, beta=0.5, minimum=0)
    with pytest.raises(ValueError, match="at least 1 client"):
        iid(LABELS, 0, 0)


@pytest.fixture
def dataset() -> Dataset:
    return Dataset(
        name="tiny",
        train_images=torch.zeros(60, 1, 2, 2, dtype=torch.uint8),
        train_labels=torch.arange(60) % 3,
        test_images=torch.zeros(1, 1, 2, 2, dtype=torch.uint8),
        test_labels=torch.zeros(1, dtype=torch.int64),
        num_classes=3,
        mean=(0.0,),
        std=(1.0,),
    )


def test_divide_is_the_partition_that_a_task_names(dataset):
    labels, writers = dataset.train_labels, torch.arange(60) // 6
    written = replace(dataset, writers=writers)
    assert divide(dataset, "iid", 5, 1).digest == iid(labels, 5, 1).digest
    expected = dirichlet(labels, 5, 1, beta=0.3, minimum=2).digest
    assert divide(dataset, "dirichlet", 5, 1, beta=0.3, minimum=2).digest == expected
    assert divide(written, "writer", None, 1).digest == by_writer(writers).digest
    assert divide(written, "writer", 10, 1).digest == by_writer(writers).digest


@pytest.mark.parametrize(
    ("how", "clients", "message"),
    [
        ("writer", None, "got tiny without writers"),
        ("iid", None, r"task\.clients for task\.partition=iid"),
        ("dirichlet", 5, "with beta and minimum"),
        ("random", 5, "iid, writer, or dirichlet"),
    ],
)
def test_divide_refuses_what_does_not_go_together(dataset, how, clients, message):
    with pytest.raises(ValueError, match=message):
        divide(dataset, how, clients, 0)


def test_divide_refuses_another_number_than_there_are_writers(dataset):
    with pytest.raises(ValueError, match=r"null for task\.partition=writer \(10 writers\), got 9"):
        divide(replace(dataset, writers=torch.arange(60) // 6), "writer", 9, 0)
