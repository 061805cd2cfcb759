"""Networks sort, and the pruned ones still bring the wanted ranks."""

import itertools

import pytest

from fl_platform.core.sorting_network import Exchange, comparators, network


def run(exchanges: list[Exchange], values: list[float]) -> list[float | None]:
    wires: list[float | None] = list(values)
    for low, high, needs_low, needs_high in exchanges:
        a, b = wires[low], wires[high]
        wires[low] = min(a, b) if needs_low else None  # None: reading it later would raise
        wires[high] = max(a, b) if needs_high else None
    return wires


@pytest.mark.parametrize("n", range(1, 13))
def test_every_input_of_zeros_and_ones_is_sorted(n: int) -> None:
    """By the zero-one principle the network then sorts every input."""
    whole = [Exchange(low, high, True, True) for low, high in comparators(n)]
    for values in itertools.product([0, 1], repeat=n):
        assert run(whole, list(values)) == sorted(values)


def test_control_a_network_that_lacks_one_comparator_does_not_sort() -> None:
    whole = [Exchange(low, high, True, True) for low, high in comparators(8)]
    for left_out in range(len(whole)):
        rest = whole[:left_out] + whole[left_out + 1 :]
        assert any(
            run(rest, list(values)) != sorted(values)
            for values in itertools.product([0, 1], repeat=8)
        )


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8, 9])
def test_every_pruned_network_brings_its_ranks(n: int) -> None:
    for first, stop in itertools.combinations(range(n + 1), 2):
        exchanges = network(n, first, stop)
        for values in itertools.product([0, 1], repeat=n):
            assert run(exchanges, list(values))[first:stop] == sorted(values)[first:stop]


def test_pruning_leaves_less_work_than_a_full_sort() -> None:
    whole = 2 * len(list(comparators(50)))
    wanted = sum(step.needs_low + step.needs_high for step in network(50, 24, 26))
    assert wanted < 0.8 * whole
