"""Groups: which networks are computed by one mapped call, padded to the widest of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any

import numpy as np
from jaxtyping import Bool

from mlp_jax.networks.layers import Network, Shape, parameter_count

MOST_GROUPS = 32
"""Groups that a packed layout compiles kernels for; where a grid has more networks, neighbouring ones are padded to
common widths, chosen so that the padding is least (3 % of the units for widths 10, 20, ..., 4000)."""


@dataclass(frozen=True)
class Group:
    """Neighbouring trials whose networks are padded to a common one.

    Attributes:
        network: what they are padded to.
        members: the true network of each.
    """

    network: Network
    members: tuple[Network, ...]

    @property
    def padded(self) -> bool:
        """Whether any member is narrower than the group."""
        return any(member != self.network for member in self.members)

    def mask(self, place: int) -> Bool[np.ndarray, "T units"]:
        """Which outputs of a layer are a member's own."""
        own = np.array([member[place].units for member in self.members])
        return np.arange(self.network[place].units) < own[:, None]


def spans(groups: Sequence[Group]) -> list[range]:
    """The slots of each group."""
    starts = np.cumsum([0, *(len(group.members) for group in groups)]).tolist()
    return [range(first, last) for first, last in pairwise(starts)]


def _kind(network: Network) -> tuple[Any, ...]:
    """What networks have to share to be padded to each other."""
    return tuple(layer.widened(1) for layer in network)


def by_kind(networks: Sequence[Network]) -> list[list[int]]:
    """Numbers of the networks that can be padded to each other, narrow to wide; those without hidden layers last."""

    def units(i: int) -> tuple[int, ...]:
        return tuple(layer.units for layer in networks[i])

    order = sorted(
        range(len(networks)),
        # Stackable first layers first, those of one activation next to each other.
        key=lambda i: (
            not networks[i][0].stackable,
            len(networks[i]) == 1,
            networks[i][0].activation,
            str(_kind(networks[i])),
            units(i),
        ),
    )
    return [list(members) for _, members in groupby(order, key=lambda i: _kind(networks[i]))]


def common(networks: Sequence[Network]) -> Network:
    """The network that networks of one kind are padded to."""
    return tuple(max(layers, key=lambda layer: layer.units) for layers in zip(*networks, strict=True))


def least_padded(
    networks: Sequence[Network], numbers: Sequence[int], most: int, shape: Shape
) -> list[tuple[Network, list[int]]]:
    """Divide networks of one kind, narrow to wide, into at most ``most`` runs with the least padding.

    Returns:
        For each run the network that it is padded to and the numbers of its members.
    """
    distinct = list(dict.fromkeys(networks))
    members = {
        network: [i for i, each in zip(numbers, networks, strict=True) if each == network] for network in distinct
    }
    n = len(distinct)
    if n <= most:
        return [(network, members[network]) for network in distinct]
    count = np.cumsum([0, *(len(members[network]) for network in distinct)])
    cost = np.full((n, n), np.inf)  # of the run from the first to the last (included), in parameters
    for first in range(n):
        widest = distinct[first]
        for last in range(first, n):
            widest = common([widest, distinct[last]])
            cost[first, last] = (count[last + 1] - count[first]) * parameter_count(widest, shape)
    # least[j]: the fewest parameters that the first j distinct networks take, in the number of runs allowed so far.
    least, choices = np.concatenate([[0.0], np.full(n, np.inf)]), []
    for _ in range(most):
        total = least[:-1, None] + cost
        choices.append(total.argmin(axis=0))
        least = np.concatenate([[0.0], total.min(axis=0)])
    runs: list[tuple[Network, list[int]]] = []
    end = n
    for choice in reversed(choices):
        start = int(choice[end - 1])
        run = distinct[start:end]
        runs.append((common(run), [i for network in run for i in members[network]]))
        end = start
        if end == 0:
            break
    return runs[::-1]
