"""Repacking: trained trials taken out of the replicas that they lie in, and put together anew with others."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Int

from mlp_jax.networks.layouts import Layout
from mlp_jax.networks.packing import Arrays, Packing
from mlp_jax.sweeps.loop import Piece
from mlp_jax.sweeps.parts import moments
from mlp_jax.sweeps.program import Program
from mlp_jax.training.epoch import State


class Repacker:
    """Gives the state of any trials of finished replicas whose optimizer state was kept, as another program has it."""

    def __init__(self, pieces: Sequence[Piece], programs: Sequence[Program]) -> None:
        """Take the pieces, and of each the program that trained it."""
        self._found: dict[int, tuple[Layout, State, int, int]] = {}
        for piece, program in zip(pieces, programs, strict=True):
            state, _ = program.shapes(program.mesh.size)
            for trained in piece.trained:
                arrays = trained.arrays()
                own = State(_tree(state.params, "params", arrays), _tree(state.opt_state, "state", arrays))
                for replica in range(trained.count):
                    row = trained.first - piece.first + replica
                    for slot, place in enumerate(piece.places[row].tolist()):
                        self._found[place] = (piece.layout, own, replica, slot)

    def state(self, program: Program, places: Int[np.ndarray, "R T"]) -> State:
        """The state of replicas, on the host.

        Args:
            program: that is to train them on; its optimizers have the same numbers as those before.
            places: number in the grid of the trial in each slot.
        """
        like, _ = program.shapes(program.mesh.size)
        rows = [self._replica(program.layout, like, each) for each in places.tolist()]
        return jax.tree.map(lambda *leaves: np.stack(leaves), *rows)

    def _replica(self, layout: Layout, like: State, places: Sequence[int]) -> State:
        params, opt_state = {}, {}
        for name, packing in layout.packings:
            mine = [places[slot] for slot in layout.slots_of(name)]
            params[name] = self._arrays(name, packing, mine, [self._found[place][1].params[name] for place in mine])
            leaves, treedef = moments(like.params[name], like.opt_state[name])
            before = {}
            for _, own, _, _ in (self._found[place] for place in mine):
                before[id(own)] = moments(own.params[name], own.opt_state[name])[0]
            found = []
            for i, leaf in enumerate(leaves):
                each = [before[id(self._found[place][1])][i] for place in mine]
                found.append(
                    self._arrays(name, packing, mine, each)
                    if isinstance(leaf, dict)
                    else each[0][self._found[mine[0]][2]]  # of the replica: all of them have taken as many steps
                )
            opt_state[name] = jax.tree.unflatten(treedef, found)
        return State(params, opt_state)

    def _arrays(self, optimizer: str, packing: Packing, places: Sequence[int], arrays: Sequence[Arrays]) -> Arrays:
        """What lies as parameters do, of trials in the order of a packing's slots."""
        models = []
        for place, each in zip(places, arrays, strict=True):
            layout, _, replica, slot = self._found[place]
            own = {key: array[replica] for key, array in each.items()}
            before = dict(layout.packings)[optimizer]
            models.append(before.alone(own, {}, slot - layout.slots_of(optimizer).start))
        return packing.together(models, np)[0]


def _tree(like: Any, name: str, arrays: dict[str, np.ndarray]) -> Any:
    treedef: Any = jax.tree.structure(like)
    return jax.tree.unflatten(treedef, [arrays[f"{name}/{i}"] for i in range(treedef.num_leaves)])
