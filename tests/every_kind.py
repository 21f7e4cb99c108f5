"""Every kind of data, on devices and grids of every kind. Run by test_devices.py, or by hand:

XLA_FLAGS=--xla_force_host_platform_device_count=8 pytest tests/every_kind.py

Not every combination, of which there are millions, but every pair of values of any two factors: what fails for a kind
of data nearly always fails together with one other thing (how many devices there are, the layout, ...).
"""

import itertools
import random
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import pytest
from flax import nnx

from mlp_jax import MLP, Dataset, Grid, Recipe, SweepResult, SweepStopped, fit, sweep
from mlp_jax.networks import layouts
from mlp_jax.sweeps import parts

BATCH = 8
TOLERANCE = {"float32": 2e-4, "float64": 1e-9}  # as in test_equality.py

GRIDS: dict[str, dict[str, Any]] = {
    "one width": {"hidden_units": (3,)},
    "no hidden layer": {"hidden_units": (0,)},
    "widths padded together": {"hidden_units": (0, 1, 3, 5)},  # with MOST_GROUPS of 1
    "activations and rates": {
        "hidden_units": (3, 0),
        "activations": ("relu", "softplus"),
        "learning_rates": (1e-2, 1e-3),
    },
}

FACTORS: dict[str, tuple[Any, ...]] = {
    "task": ("classes", "one class", "binary", "regression", "several values"),
    "columns": ("live", "some dead", "all dead", "one", "one dead"),
    "examples": ("ordinary", "batches of one size", "one train", "one validation and test"),
    "features": ("float", "uint8"),
    "order": ("mixed", "sorted"),
    "grid": tuple(GRIDS),
    "seeds": (1, 2, 3, 5),
    "use_bias": (True, False),
    "layout": ("packed", "vmap"),
    "dtype": ("float32", "float64"),
    "devices": (1, 2, 8),
    "divided": (False, True),
    "at_once": (1, 2),
    "stopped": ("never", "goes on", "goes on with other devices"),
}

OTHER_DEVICES = {1: 8, 2: 1, 8: 2}

Case = dict[str, Any]


def covering(factors: dict[str, tuple[Any, ...]]) -> Iterator[Case]:
    """Cases in which every two values of different factors meet: each has a pair not met before, and many others."""
    draw = random.Random(2)  # of ten seeds the one that gives the fewest
    values = [(name, value) for name, some in factors.items() for value in some]
    pairs = (frozenset(pair) for pair in itertools.combinations(values, 2) if pair[0][0] != pair[1][0])
    missing = dict.fromkeys(pairs)  # in an order that does not change from run to run
    while missing:
        case: Case = dict(sorted(draw.choice(list(missing)), key=str))
        for name in draw.sample([name for name in factors if name not in case], len(factors) - 2):
            new = {
                value: sum(frozenset({(name, value), item}) in missing for item in case.items())
                for value in factors[name]
            }
            case[name] = draw.choice([value for value in new if new[value] == max(new.values())])
        for pair in itertools.combinations(case.items(), 2):
            missing.pop(frozenset(pair), None)
        yield case


def make_dataset(task: str, columns: str, examples: str, features: str, order: str) -> Dataset:
    """Data of a kind; the parameters are factors of the same names."""
    rng = np.random.default_rng(0)
    sizes = {"train": 21, "validation": 9, "test": 11}
    match examples.split():
        case ["one", "train"]:
            sizes["train"] = 1
        case ["one", *_]:
            sizes["validation"] = sizes["test"] = 1
        case ["batches", *_]:
            sizes["train"] = 2 * BATCH
    count, width = sum(sizes.values()), 1 if columns.startswith("one") else 5
    x = rng.integers(0, 256, (count, width), dtype=np.uint8) if features == "uint8" else rng.normal(size=(count, width))
    dead = {"some dead": [0, 3], "all dead": slice(None), "one dead": [0]}.get(columns, [])
    x[: sizes["train"], dead] = 0
    signal = np.tanh((x - x.mean()) / (x.std() + 1) @ rng.normal(size=(width, 3)) + rng.normal(size=(count, 3)))
    kind, outputs, y = {
        "classes": ("multiclass", 4, signal.argmax(axis=1)),  # one more than appear
        "one class": ("multiclass", 3, np.where(np.arange(count) < sizes["train"], 1, signal.argmax(axis=1))),
        "binary": ("binary", 0, (signal[:, 0] > 0).astype(int)),
        "regression": ("regression", 0, signal[:, 0]),
        "several values": ("regression", 0, signal),
    }[task]
    ends = np.cumsum(list(sizes.values()))
    arrays = {}
    for split, first, last in zip(sizes, (0, *ends), ends, strict=False):
        places = np.arange(first, last)
        if order == "sorted":
            places = places[np.argsort(y[places] if y.ndim == 1 else y[places, 0], kind="stable")]
        arrays |= {f"x_{split}": x[places], f"y_{split}": y[places]}
    return Dataset.from_arrays(**arrays, task=kind, class_names=[f"class {k}" for k in range(outputs)])


def named(case: Case) -> str:
    return ", ".join(str(value) if isinstance(value, str) else f"{name} {value}" for name, value in case.items())


CASES: list[Case] = [{name: case[name] for name in FACTORS} for case in covering(FACTORS)]
FEW = 5
"""The ordinary tests' cases: the first ones, in which most values meet."""


@pytest.mark.parametrize(
    "case", [*CASES[:FEW], *(pytest.param(case, marks=pytest.mark.slow) for case in CASES[FEW:])], ids=named
)
@pytest.mark.filterwarnings("ignore::mlp_jax.SweepWarning")  # of data that are doubtful, as many of these are
def test_every_pair_of_kinds(case: Case, tmp_path, monkeypatch):
    """A trial is as it is alone, its scores are those of its parameters, and it goes on as if it had not stopped."""
    if case["divided"]:
        monkeypatch.setattr(parts, "WORTH", 0)
        monkeypatch.setattr(parts, "FIXED_ROWS", 0)
    if case["grid"] == "widths padded together":
        monkeypatch.setattr(layouts, "MOST_GROUPS", 1)
    parts.kept.cache_clear()  # programs are not told apart by these
    tolerance = TOLERANCE[case["dtype"]]
    with jax.enable_x64(case["dtype"] == "float64"):
        dataset = make_dataset(*(case[name] for name in ("task", "columns", "examples", "features", "order")))
        grid = Grid(**{"learning_rates": (1e-2,), "seeds": case["seeds"]} | GRIDS[case["grid"]])
        recipe = Recipe(epochs=2, batch_size=BATCH)
        how = {"recipe": recipe, **{name: case[name] for name in ("layout", "use_bias", "dtype")}}
        how |= {"replicas_at_once": case["at_once"]}
        devices, others = (jax.devices()[:count] for count in (case["devices"], OTHER_DEVICES[case["devices"]]))

        result = sweep(grid, dataset, devices=devices, **how)
        assert_scores(result, dataset, tolerance)
        if case["stopped"] != "goes on with other devices":  # which is as good a witness
            place = random.Random(named(case)).randrange(len(grid.trials))
            assert_as_alone(result, place, dataset, recipe, tolerance)
        if case["stopped"] == "never":
            return
        there, asked = tmp_path / "there", iter((False, True))
        with pytest.raises(SweepStopped):
            sweep(grid, dataset, devices=devices, checkpoints=there, stop=lambda: next(asked), **how)
        if case["stopped"] == "goes on":
            assert_same(sweep(grid, dataset, devices=devices, resume=there, **how), result, 0, 0)
            return
        resumed = sweep(grid, dataset, devices=others, resume=there, **how)
        one_by_one = resumed.plan.at_once == result.plan.at_once == 1
        same_bits = one_by_one and resumed.plan.parts == result.plan.parts
        assert_same(resumed, result, 0 if same_bits else tolerance, tolerance)


def assert_close(found: dict[str, np.ndarray], expected: dict[str, np.ndarray], tolerance: float, what: Any) -> None:
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=tolerance, atol=tolerance, err_msg=f"{what}: {name}")


def assert_same(found: SweepResult, expected: SweepResult, parameters: float, scores: float) -> None:
    for i, trial in enumerate(expected.trials):
        assert_close(found.weights(i), expected.weights(i), parameters, trial)
    for name in ("history", "final"):
        assert_close(getattr(found, name), getattr(expected, name), scores, name)
    np.testing.assert_array_equal(found.diverged, expected.diverged)


def assert_as_alone(result: SweepResult, place: int, dataset: Dataset, recipe: Recipe, tolerance: float) -> None:
    trial = result.trials[place]
    start = MLP(
        dataset.features,
        trial.hidden_units,
        dataset.outputs,
        activation=trial.activation,
        task=dataset.task,
        use_bias=result.use_bias,
        dtype=result.dtype,
        rngs=nnx.Rngs(trial.seed),
    )
    how = {"learning_rate": trial.learning_rate, "seed": trial.seed, "recipe": recipe}
    alone = fit(start, dataset.train, dataset.validation, **how)
    assert_close(result.weights(place), alone.model.weights, tolerance, trial)
    curves = {name: values[place] for name, values in result.history.items()}
    assert_close(curves, vars(alone.history), tolerance, trial)


FUNCTIONS = {
    "sigmoid": lambda a: 1 / (1 + np.exp(-a)),
    "relu": lambda a: np.maximum(a, 0),
    "softplus": lambda a: np.logaddexp(a, 0),
}


def assert_scores(result: SweepResult, dataset: Dataset, tolerance: float) -> None:
    """Every score is what NumPy makes of the parameters."""
    assert not result.diverged.any()
    for i, trial in enumerate(result.trials):
        w = {name: array.astype(float) for name, array in result.weights(i).items()}
        for name, split in dataset.splits.items():
            x, y = split.features / (255 if split.features.dtype == np.uint8 else 1), split.targets
            out = x @ w["A"] + w.get("c1", 0)
            if trial.hidden_units:
                out = FUNCTIONS[trial.activation](out) @ w["B"] + w.get("c2", 0)
            if dataset.task == "multiclass":
                loss = np.logaddexp.reduce(out, axis=1) - out[np.arange(len(y)), y]
                score = np.mean(out.argmax(axis=1) == y)
            elif dataset.task == "binary":
                loss, score = np.logaddexp(0, out[:, 0]) - y * out[:, 0], np.mean((out[:, 0] > 0) == y)
            else:
                variance = np.mean((y - y.mean(axis=0)) ** 2)
                loss = (out - y) ** 2
                score = 1 - loss.mean() / variance if len(y) > 1 else np.nan
            found = {key: result.final[f"{name}_{key}"][i] for key in ("loss", "score")}
            assert_close(found, {"loss": loss.mean(), "score": score}, tolerance, (trial, name))
