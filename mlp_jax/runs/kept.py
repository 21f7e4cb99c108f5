"""The final training states that a run keeps, for its trials to be trained for more epochs.

state.npz, of the trial with the number N, whose parameters are in parameters.npz:
    N/curves/NAME     its learning curves as they were recorded (``mlp_jax.sweeps.record``), [rounds]
    N/state/I         leaf I of its optimizer's state, if that is a number of steps
    N/state/I/SYMBOL  else the part of that leaf that belongs to the parameter of that symbol
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from mlp_jax.datasets.npz import names_in, read_npz
from mlp_jax.errors import DataError
from mlp_jax.networks.layers import symbols
from mlp_jax.networks.packing import Parameters
from mlp_jax.sweeps.loop import TrialState
from mlp_jax.sweeps.record import KEPT_CURVES
from mlp_jax.sweeps.sweep import SweepResult
from mlp_jax.training.axes import Trial
from mlp_jax.training.trials import network_of

STATE = "state.npz"


def kept_arrays(result: SweepResult) -> Iterator[tuple[str, np.ndarray]]:
    """What is written of a sweep with ``keep_state``, by name."""
    for number, state in result.all_states():
        yield from ((f"{number}/curves/{name}", curve) for name, curve in state.curves.items())
        named = _symbols(result.trials[number], result.use_bias)
        for i, leaf in enumerate(state.moments):
            if not isinstance(leaf, list):
                yield f"{number}/state/{i}", leaf
                continue
            for layer, by_name in zip(leaf, named, strict=True):
                yield from ((f"{number}/state/{i}/{symbol}", layer[name]) for name, symbol in by_name.items())


def _symbols(trial: Trial, use_bias: bool) -> list[dict[str, str]]:
    """Symbols of a trial's parameters, by layer and name."""
    return symbols(network_of(trial, 1, use_bias))  # which do not depend on the number of outputs


def kept_trials(run: Path) -> frozenset[int]:
    """Numbers of the trials whose state a run directory holds; raises DataError if the file is damaged."""
    path = run / STATE
    if not path.is_file():
        return frozenset()
    try:
        return frozenset(int(name.partition("/")[0]) for name in names_in(path))
    except ValueError:
        raise DataError(f"{path}: not the states of a run's trials") from None


def read_states(run: Path, trials: Mapping[int, Trial], use_bias: bool) -> dict[int, TrialState]:
    """The states of some trials of a run directory, by number.

    Raises:
        DataError: they are not all there, or damaged.
    """
    found = {}
    names = _by_number(run / STATE, trials)
    wanted = {number: _symbols(trial, use_bias) for number, trial in trials.items()}
    states = read_npz(run / STATE, [name for each in names.values() for name in each])
    weights = read_npz(
        run / "parameters.npz",
        [f"{number}/{symbol}" for number, named in wanted.items() for layer in named for symbol in layer.values()],
    )

    def of_layers(arrays: Mapping[str, np.ndarray], prefix: str, number: int) -> Parameters:
        return [{name: arrays[f"{prefix}/{symbol}"] for name, symbol in layer.items()} for layer in wanted[number]]

    try:
        for number in trials:
            leaves = sorted({name.split("/")[2] for name in names[number] if f"{number}/state/" in name}, key=int)
            places = [f"{number}/state/{leaf}" for leaf in leaves]
            moments = [states[place] if place in states else of_layers(states, place, number) for place in places]
            curves = {name: states[f"{number}/curves/{name}"] for name in KEPT_CURVES}
            found[number] = TrialState(of_layers(weights, str(number), number), moments, curves)
    except KeyError as missing:
        raise DataError(f"{run / STATE}: holds no {missing.args[0]}: not the states of this run") from None
    return found


def _by_number(path: Path, numbers: Mapping[int, object]) -> dict[int, list[str]]:
    """Names of the arrays of each of these trials."""
    found: dict[int, list[str]] = {number: [] for number in numbers}
    for name in names_in(path):
        if (number := int(name.partition("/")[0])) in found:
            found[number].append(name)
    return found
