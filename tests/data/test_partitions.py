"""The field's partitions: what each client holds, against definitions and other libraries."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fl_platform.core import generator
from fl_platform.data import DataError, classes_per_client, deal, iid, partitions
from fl_platform.data.partitions import (
    fang_q,
    gamma_similarity,
    k_classes,
    long_tail,
    quantity_skew,
    shards,
    sorted_labels,
)
from fl_platform.data.partitions.partition import Partition


def drawn(size=1000, classes=10, seed=0):
    return torch.randint(classes, (size,), generator=generator(seed, "test-labels"))


LABELS = drawn()
WHOLE = {
    "gamma": lambda labels, n, seed: gamma_similarity(labels, n, seed, gamma=0.4),
    "sorted": sorted_labels,
    "cyclic": lambda labels, n, seed: k_classes(labels, n, seed, k=3),
    "first": lambda labels, n, seed: k_classes(labels, n, seed, k=3, choice="first"),
    "shards": shards,
    "fang": lambda labels, n, seed: fang_q(labels, n, seed, q=0.5),
    "quantity": quantity_skew,
    "alike": lambda labels, n, seed: long_tail(labels, n, seed, keep=1.0),
}
DRAWN = set(WHOLE) - {"sorted", "alike"}


def covers(partition, size):
    return torch.cat(partition.indices).sort().values.equal(torch.arange(size))


def counts(partition, labels=LABELS, classes=10):
    return classes_per_client(partition, labels, classes)


@pytest.mark.parametrize("name", WHOLE)
@given(
    size=st.integers(60, 300),
    clients=st.integers(4, 20),
    classes=st.integers(3, 4),
    seed=st.integers(0, 2**40),
)
@settings(max_examples=20, deadline=None)
def test_every_image_goes_to_exactly_one_client(name, size, clients, classes, seed):
    labels = torch.arange(size).square() % classes
    labels = labels.unique(return_inverse=True)[1]
    if name in ("cyclic", "first") and labels.max() < 2:
        return
    partition = WHOLE[name](labels, clients, seed)
    assert len(partition) == clients
    assert covers(partition, size)
    assert all(index.equal(index.sort().values) for index in partition.indices)


@pytest.mark.parametrize("name", WHOLE)
def test_a_partition_is_a_function_of_its_seed(name):
    one, same, other = (WHOLE[name](LABELS, 20, seed).digest for seed in (1, 1, 2))
    assert one == same
    assert (one != other) == (name in DRAWN)


def test_gamma_runs_from_sorted_to_alike():
    assert gamma_similarity(LABELS, 7, 3, gamma=0.0).digest == sorted_labels(LABELS, 7, 3).digest
    assert gamma_similarity(LABELS, 7, 3, gamma=1.0).digest == iid(LABELS, 7, 3).digest
    balanced = torch.arange(1000) % 10
    held = counts(gamma_similarity(balanced, 10, 0, gamma=0.5), balanced)
    assert held.sum(1).tolist() == [100] * 10
    # Half of the images in the order of their class: client i has most of class i.
    assert held.argmax(1).tolist() == list(range(10))
    assert 40 <= held.diagonal().min() <= held.diagonal().max() <= 70


def test_sorted_gives_a_class_a_client_where_that_is_possible():
    balanced = torch.arange(1000) % 10
    held = counts(sorted_labels(balanced, 10, 0), balanced)
    assert held.equal(100 * torch.eye(10, dtype=torch.int64))
    assert (counts(sorted_labels(balanced, 20, 0), balanced) > 0).sum(1).tolist() == [1] * 20


@pytest.mark.parametrize("choice", ["cyclic", "first"])
@pytest.mark.parametrize("k", [1, 2, 9, 10])
def test_k_classes_are_k_classes_in_equal_shares(choice, k):
    held = counts(k_classes(LABELS, 20, 5, k=k, choice=choice))
    assert (held > 0).sum(1).tolist() == [k] * 20
    assert all(held[client, client % 10] > 0 for client in range(20))
    for column in held.T:
        own = column[column > 0]
        assert own.max() - own.min() <= 1
    if choice == "cyclic":
        wanted = [[(i + j) % 10 for j in range(k)] for i in range(20)]
        assert [sorted(w) for w in wanted] == [row.nonzero().flatten().tolist() for row in held]


def test_more_classes_than_there_are_or_too_few_are_refused():
    with pytest.raises(ValueError, match=r"^partition\.k: expected at most 10"):
        k_classes(LABELS, 20, 0, k=11)
    with pytest.raises(ValueError, match=r"^partition\.k: expected a client for each"):
        k_classes(LABELS, 4, 0, k=2)


def test_shards_are_few_classes_of_equal_size():
    held = counts(shards(torch.arange(1000) % 10, 50, 0, per_client=2), torch.arange(1000) % 10)
    assert held.sum(1).tolist() == [20] * 50
    assert (held > 0).sum(1).max() <= 2
    pairs = {tuple(row.nonzero().flatten().tolist()) for row in held}
    assert len(pairs) > 20


def test_a_share_q_of_a_class_stays_in_its_group():
    labels = drawn(20_000)
    held = counts(fang_q(labels, 30, 1, q=0.5), labels)
    groups = held.view(3, 10, 10).sum(0)  # client i is of group i modulo 10
    shares = groups / groups.sum(0)
    torch.testing.assert_close(shares.diagonal(), torch.full((10,), 0.5), atol=0.05, rtol=0)
    others = shares[~torch.eye(10, dtype=torch.bool)]
    torch.testing.assert_close(others, torch.full((90,), 0.5 / 9), atol=0.03, rtol=0)
    even = counts(fang_q(labels, 30, 1, q=0.1), labels).sum(1).float()
    assert even.std() / even.mean() < 0.1
    with pytest.raises(ValueError, match=r"^task\.clients: expected at least 10"):
        fang_q(labels, 9, 1)


def test_a_long_tail_keeps_a_falling_share_of_each_class():
    balanced = torch.arange(1000) % 10
    for order in ("alike", "sorted"):
        partition = long_tail(balanced, 5, 0, keep=0.5, order=order)
        held = counts(partition, balanced)
        assert held.sum(0).tolist() == [100, 50, 25, 12, 6, 3, 1, 1, 1, 1]
        assert held.sum(1).max() - held.sum(1).min() <= 1
        assert (held[:, 0].min() > 0) == (order == "alike")


def test_quantity_skew_changes_sizes_and_not_classes():
    labels = drawn(20_000)
    held = counts(quantity_skew(labels, 10, 4, beta=0.5), labels).double()
    sizes = held.sum(1)
    assert sizes.max() > 4 * sizes.min()
    large = held[sizes > 1000] / sizes[sizes > 1000, None]
    assert (large - 0.1).abs().max() < 0.03
    assert min(map(len, quantity_skew(labels, 200, 4, beta=0.01, minimum=3).indices)) >= 3


@pytest.mark.parametrize("name", WHOLE)
def test_fewer_images_than_clients_are_refused(name):
    with pytest.raises(DataError, match="training images"):
        WHOLE[name](torch.arange(10).repeat(2), 40, 0)


def split(clients):
    return sorted_labels(LABELS, clients, 0)


def test_byzantine_clients_may_share_get_their_own_or_nothing():
    byzantine = (1, 4)
    assert deal(split, 6, byzantine, "share", LABELS, 0).digest == split(6).digest
    honest = [0, 2, 3, 5]
    for data in ("iid", "none"):
        dealt = deal(split, 6, byzantine, data, LABELS, 0)
        for client, index in zip(honest, split(4).indices, strict=True):
            assert dealt.indices[client].equal(index)
        assert covers(Partition(tuple(dealt.indices[i] for i in honest)), 1000)
    assert [len(dealt.indices[i]) for i in byzantine] == [0, 0]
    assert dealt.idle == byzantine
    own = deal(split, 6, byzantine, "iid", LABELS, 0)
    assert [len(own.indices[i]) for i in byzantine] == [250, 250]
    assert not set(own.indices[1].tolist()) & set(own.indices[4].tolist())
    assert (counts(own)[1] > 10).all()
    assert deal(split, 6, byzantine, "iid", LABELS, 1).digest != own.digest


def test_only_clients_that_may_be_idle_can_be_empty():
    empty = torch.empty(0, dtype=torch.int64)
    assert len(Partition((torch.arange(3), empty), idle=(1,))) == 2
    with pytest.raises(DataError, match="none for client 1"):
        Partition((torch.arange(3), empty), idle=(0,))


def test_every_partition_has_a_file_and_a_name():
    from pathlib import Path

    import yaml

    folder = Path(__file__).parents[2] / "conf" / "partition"
    named = {
        yaml.safe_load(file.read_text())["_target_"].rpartition(".")[2]
        for file in folder.glob("*.yaml")
    }
    assert named == set(partitions.__all__)


flwr = pytest.importorskip  # asked for inside: none of the tests above needs it


@pytest.mark.parametrize("k", [1, 2, 3])
def test_histograms_equal_those_of_flwr_datasets(k):
    """PathologicalPartitioner's deterministic mode, and ShardPartitioner's counts."""
    flwr("flwr_datasets")
    from datasets import Dataset
    from flwr_datasets.partitioner import PathologicalPartitioner

    theirs = PathologicalPartitioner(
        num_partitions=20, partition_by="label", num_classes_per_partition=k,
        class_assignment_mode="deterministic", shuffle=False,
    )  # fmt: skip
    theirs.dataset = Dataset.from_dict({"label": LABELS.tolist()})
    found = torch.stack(
        [
            torch.bincount(torch.tensor(theirs.load_partition(i)["label"]), minlength=10)
            for i in range(20)
        ]
    )
    held = counts(k_classes(LABELS, 20, 0, k=k))
    assert (held > 0).equal(found > 0)
    assert (held - found).abs().max() <= 1


def test_sorted_and_gamma_equal_byzfl():
    """ByzFL's gamma similarity: equal at its two ends, by histogram size between them."""
    flwr("byzfl")
    from byzfl import DataDistributor
    from torch.utils.data import DataLoader, TensorDataset

    class Labelled(TensorDataset):
        targets = LABELS

    loader = DataLoader(Labelled(LABELS[:, None].float(), LABELS), batch_size=10)
    for gamma in (0.0, 0.33, 1.0):
        them = DataDistributor(
            {
                "data_distribution_name": "gamma_similarity_niid",
                "distribution_parameter": gamma,
                "nb_honest": 8,
                "data_loader": loader,
                "batch_size": 10,
            }
        ).split_data()
        found = torch.stack([_histogram(part) for part in them])
        held = counts(gamma_similarity(LABELS, 8, 0, gamma=gamma))
        assert (found.sum(1) - held.sum(1)).abs().max() <= 2
        if gamma == 0.0:
            assert (found - held).abs().max() <= 1


def _histogram(loader):
    labels = torch.cat([targets for _, targets in loader])
    return torch.bincount(labels, minlength=10)
