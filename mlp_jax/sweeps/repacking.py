"""Repacking: trained trials taken out of the replicas that they lie in, and put together anew with others."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
import numpy as np
from jaxtyping import Int

from mlp_jax.networks.layouts import Params
from mlp_jax.networks.packing import Parameters
from mlp_jax.sweeps.loop import Piece, Stage, TrialState
from mlp_jax.sweeps.parts import moments
from mlp_jax.sweeps.program import Program
from mlp_jax.training.epoch import State


@dataclass(frozen=True)
class Beginnings:
    """States that some trials of a sweep go on from, in which training for fewer epochs has left them.

    Attributes:
        epochs: of each trial of the grid, how many it has been trained; 0 for one that is trained from the beginning.
        state: of a trial that goes on, by its number in the grid.
    """

    epochs: tuple[int, ...]
    state: Callable[[int], TrialState]


class Repacker:
    """Gives the state of any trial of finished replicas whose optimizer state was kept."""

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self._found: dict[int, tuple[Piece, dict[str, np.ndarray], int, int]] = {}
        for piece in pieces:
            for trained in piece.trained:
                arrays = trained.arrays()
                for replica in range(trained.count):
                    row = trained.first - piece.first + replica
                    for slot, place in enumerate(piece.places[row].tolist()):
                        self._found[place] = (piece, arrays, replica, slot)

    def alone(self, place: int) -> TrialState:
        """The state of a trial, by its number in the grid."""
        piece, arrays, replica, slot = self._found[place]
        return piece.state(arrays, replica, slot)


def repacked(
    program: Program, places: Int[np.ndarray, "R T"], alone: Callable[[int], TrialState]
) -> tuple[State, Params]:
    """The state of replicas, and their parameters that are not trained, on the host.

    Args:
        program: that is to train them on.
        places: number of the trial in each slot.
        alone: gives the state of each.
    """
    like, _ = program.shapes(program.mesh.size)
    rows = [_replica(program, like, [alone(place) for place in each]) for each in places.tolist()]
    together: tuple[State, Params] = jax.tree.map(lambda *leaves: np.stack(leaves), *rows)
    return together


def _replica(program: Program, like: State, states: Sequence[TrialState]) -> tuple[State, Params]:
    """The same of one replica, from the states of its trials by slot."""
    params, frozen, opt_state = {}, {}, {}
    for name, packing in program.layout.packings:
        mine = [states[slot] for slot in program.layout.slots_of(name)]
        params[name], frozen[name] = packing.together([each.params for each in mine], np)
        leaves, treedef = moments(like.params[name], like.opt_state[name])
        found = [
            packing.together([_moment(each, i) for each in mine], np)[0]
            if isinstance(leaf, dict)
            else mine[0].moments[i]  # of the replica: all of them have taken as many steps
            for i, leaf in enumerate(leaves)
        ]
        opt_state[name] = jax.tree.unflatten(treedef, found)
    return State(params, opt_state), frozen


def _moment(state: TrialState, number: int) -> Parameters:
    """A moment of a trial. What its optimizer did without until now, as without momentum, is 0."""
    if number < len(state.moments):
        moment: Parameters = state.moments[number]
        return moment
    return [{name: np.zeros_like(array) for name, array in layer.items()} for layer in state.params]


def go_on_from(stage: Stage, alone: Callable[[int], TrialState]) -> Callable[[np.ndarray], tuple[State, Params]]:
    """What gives a stage (``Stage.begin``) the states of its replicas, from that of each trial."""
    program = stage.parts.whole
    places = np.array(stage.block.places)[:, list(program.layout.order)]
    return lambda replicas: repacked(program, places[replicas], alone)
