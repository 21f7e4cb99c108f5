"""Axes: the things in which trials can differ, each declared once, as a field of ``Trial``.

Grids, the command line, tables and checks follow from the declaration. There are three kinds: a *shape* decides what is
compiled; a *number* is one traced value for each trial, so that a new value compiles nothing; an *order* decides the
minibatches, which the trials of one replica share.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, NamedTuple, get_type_hints

import numpy as np

from mlp_jax.errors import InputError, one_of, real, shown, whole
from mlp_jax.networks.layers import (
    ACTIVATIONS,
    BIAS_INITIALIZATIONS,
    INITIALIZATIONS,
    MOST_UNITS,
    Widths,
    check_activation,
    check_widths,
)
from mlp_jax.tasks import LOSSES
from mlp_jax.training.optimizers import OPTIMIZERS
from mlp_jax.training.recipe import Recipe
from mlp_jax.training.schedules import SCHEDULES

NETWORKS = ("mlp", "cnn")
PARAMETRIZATIONS = ("standard", "mup")

_SMALLEST, _GREATEST = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)
_MOST = 2**31 - 1


@dataclass(frozen=True)
class Axis:
    """One way in which trials can differ.

    Attributes:
        kind: ``shape``, ``number`` or ``order``.
        plural: name of the values in a grid.
        check: converts what was given to a value, or raises InputError.
        label: name for people.
        help: one line for the command line's help.
        choices: the values, where they are names.
        name: name of the trial's field and of its column in tables.
        default: the value of a trial unless another is asked for; None where one has to be given.
    """

    kind: Literal["shape", "number", "order"]
    plural: str
    check: Callable[[Any], Any]
    label: str
    help: str = ""
    choices: tuple[str, ...] = ()
    name: str = ""
    default: Any = None


def _named(plural: str, label: str, known: Mapping[str, Any] | tuple[str, ...], said: str) -> Axis:
    """A shape axis whose values are names."""
    return Axis("shape", plural, lambda value: one_of(label, value, known), label, said, tuple(known))


def _number(plural: str, label: str, check: Callable[[str], Callable[[Any], float]], said: str) -> Axis:
    return Axis("number", plural, check(label), label, said)


def _count(kind: Literal["number", "order"], plural: str, label: str, least: int, most: int, said: str) -> Axis:
    return Axis(kind, plural, lambda value: whole(label, value, least, most), label, said)


def _not_negative(what: str) -> Callable[[Any], float]:
    expected = "a finite float32 number, 0 or more"
    return lambda value: real(what, value, lambda number: 0 <= number <= _GREATEST, expected)


def _positive(what: str) -> Callable[[Any], float]:
    expected = f"a finite float32 number above 0 ({_SMALLEST:.3g} or more)"
    return lambda value: real(what, value, lambda number: _SMALLEST <= number <= _GREATEST, expected)


def _below_one(what: str) -> Callable[[Any], float]:
    return lambda value: real(what, value, lambda number: 0 <= number < 1, "a number, 0 or more and below 1")


def _share(what: str) -> Callable[[Any], float]:
    return lambda value: real(what, value, lambda number: 0 <= number <= 1, "a number from 0 to 1")


def check_seed(seed: Any) -> int:
    """The seed as an int; raises InputError unless it is a whole number from 0 to 2³² − 1, as JAX's keys take it."""
    return whole("seed", seed, 0, 2**32 - 1)


check_learning_rate = _positive("learning rate")
"""The learning rate as a Python number; raises InputError unless it is positive and finite in float32."""


class Trial(NamedTuple):
    """One network to train as if it were alone: its architecture, its numbers, its order of examples.

    Attributes:
        hidden_units: M, the width of the hidden layer; 0 for none, a tuple for several layers.
        activation: of the hidden layers, a name in ``mlp_jax.ACTIVATIONS``.
        learning_rate: the optimizer's α.
        seed: of initial weights and of everything else that is random.
        optimizer: ``adam``, ``adamw``, ``lion``, ``sgd``, or ``nesterov`` (SGD with Nesterov's momentum).
        momentum: of SGD.
        weight_decay: the share of every parameter that a step subtracts, times the learning rate, as PyTorch's and
            optax's AdamW and PyTorch's SGD define it.
        l2: λ of the penalty ½ λ Σ W² on the weights, without the biases, that is added to the loss.
        label_smoothing: share of each label that is spread evenly over all classes.
        clip: c, to which each component of the gradient is cut off, −c to c; 0 for none.
        network: ``mlp``, a multilayer perceptron, or ``cnn``, two convolutions of M and 2 M channels and a dense layer.
        initialization: distribution of the initial weights, a name in ``mlp_jax.networks.layers.INITIALIZATIONS``.
        init_scale: what the initial weights are multiplied by; the standard deviation with ``normal``.
        bias_initialization: ``zeros``, or ``pytorch``: uniform within ±1 / √fan-in.
        parametrization: ``standard``, or ``mup``, in which the best learning rate does not depend on the width (Yang et
            al., 2022): initial weights and learning rates are scaled by layer, relative to ``base_width``.
        base_width: the width at which ``mup`` is the standard parametrization.
        objective: ``likelihood``, the task's own (cross-entropy; squared error for a regression), or ``squared-error``,
            the mean of (logit − target)² over one-hot targets (−1 and 1 for two classes with one logit).
        schedule: what multiplies the learning rate as training goes on (``mlp_jax.training.schedules``).
        warmup_steps: minibatches over which the learning rate first rises in equal steps.
        decay_steps: n, the minibatches between two steps of the schedules ``steps`` and ``rsqrt``.
        decay_factor: of the schedule ``steps``.
        dropout: share of the hidden units that are dropped, drawn anew for each example (Srivastava et al., 2014).
        label_noise: share of the training labels that are redrawn, uniformly from all classes; which ones and what they
            become follows from the seed.
        batch_size: B, examples per minibatch; 0 for the recipe's.
        subset: train on the first that many examples; 0 for all.
        epochs: passes over the training examples; 0 for the recipe's.
        init_seed: seed of the initial weights; −1 for ``seed``.
    """

    hidden_units: Annotated[
        Widths, Axis("shape", "hidden_units", check_widths, "M", "Widths of the hidden layer; 0 for none.")
    ]
    activation: Annotated[
        str,
        Axis(
            "shape",
            "activations",
            check_activation,
            "activation",
            "Activation of the hidden layers.",
            choices=tuple(ACTIVATIONS),
        ),
    ]
    learning_rate: Annotated[
        float, Axis("number", "learning_rates", check_learning_rate, "learning rate", "The optimizer's step size.")
    ]
    seed: Annotated[int, Axis("order", "seeds", check_seed, "seed", "Seed of everything random.")]
    optimizer: Annotated[
        str,
        _named("optimizers", "optimizer", OPTIMIZERS, "Updates the weights; nesterov is SGD with Nesterov's momentum."),
    ] = "adam"
    momentum: Annotated[float, _number("momenta", "momentum", _below_one, "Momentum of SGD.")] = 0.0
    weight_decay: Annotated[
        float,
        _number(
            "weight_decays",
            "weight decay",
            _not_negative,
            "Decay of all parameters in AdamW and SGD, times the learning rate, as PyTorch defines it.",
        ),
    ] = 0.0
    l2: Annotated[
        float, _number("l2s", "L2 penalty", _not_negative, "The λ of a penalty ½ λ Σ W² on weights, without biases.")
    ] = 0.0
    label_smoothing: Annotated[
        float,
        _number("label_smoothings", "label smoothing", _below_one, "Share of each label spread over all classes."),
    ] = 0.0
    clip: Annotated[
        float, _number("clips", "clip", _not_negative, "Bound of each component of the gradient; 0 for none.")
    ] = 0.0
    network: Annotated[
        str, _named("networks", "network", NETWORKS, "mlp, or cnn: two convolutions of M and 2 M channels.")
    ] = "mlp"
    initialization: Annotated[
        str, _named("initializations", "initialization", INITIALIZATIONS, "Distribution of the initial weights.")
    ] = "glorot"
    init_scale: Annotated[
        float, _number("init_scales", "initial scale", _positive, "Multiplies the initial weights; σ with normal.")
    ] = 1.0
    bias_initialization: Annotated[
        str, _named("bias_initializations", "bias initialization", BIAS_INITIALIZATIONS, "Initial biases.")
    ] = "zeros"
    parametrization: Annotated[
        str,
        _named(
            "parametrizations",
            "parametrization",
            PARAMETRIZATIONS,
            "mup scales initial weights and learning rates so that the best rate does not depend on the width.",
        ),
    ] = "standard"
    base_width: Annotated[
        int,
        Axis(
            "shape",
            "base_widths",
            lambda value: whole("base width", value, 1, MOST_UNITS),
            "base width",
            "Width at which mup is the standard parametrization.",
        ),
    ] = 64
    objective: Annotated[
        str,
        _named("objectives", "objective", LOSSES, "likelihood is the task's own; squared-error is on one-hot labels."),
    ] = "likelihood"
    schedule: Annotated[
        str, _named("schedules", "schedule", SCHEDULES, "What multiplies the learning rate as training goes on.")
    ] = "constant"
    warmup_steps: Annotated[
        int,
        _count("number", "warmup_steps", "warm-up steps", 0, _MOST, "Minibatches over which the learning rate rises."),
    ] = 0
    decay_steps: Annotated[
        int,
        _count("number", "decay_steps", "decay steps", 1, _MOST, "Minibatches between the decays of steps and rsqrt."),
    ] = 1
    decay_factor: Annotated[
        float, _number("decay_factors", "decay factor", _share, "What each decay of steps multiplies the rate by.")
    ] = 1.0
    dropout: Annotated[
        float,
        _number("dropouts", "dropout", _below_one, "Share of the hidden units dropped, drawn anew for each example."),
    ] = 0.0
    label_noise: Annotated[
        float, _number("label_noises", "label noise", _share, "Share of training labels redrawn from all classes.")
    ] = 0.0
    batch_size: Annotated[int, _count("order", "batch_sizes", "batch size", 0, _MOST, "Examples per minibatch.")] = 0
    subset: Annotated[
        int,
        _count("order", "subsets", "training subset", 0, _MOST, "Train on the first that many examples; 0 for all."),
    ] = 0
    epochs: Annotated[int, _count("order", "budgets", "epochs", 0, _MOST, "Passes over the training examples.")] = 0
    init_seed: Annotated[
        int,
        _count(
            "order",
            "init_seeds",
            "initialization seed",
            -1,
            2**32 - 1,
            "Seed of the initial weights; -1 for the trial's seed.",
        ),
    ] = -1

    def __repr__(self) -> str:
        """Without the values that are defaults."""
        values = {name: value for name, value in self._asdict().items() if value != AXES[name].default}
        return f"Trial({', '.join(f'{name}={value!r}' for name, value in values.items())})"


def _declared() -> dict[str, Axis]:
    hints = get_type_hints(Trial, include_extras=True)
    found = {}
    for name in Trial._fields:
        (axis,) = hints[name].__metadata__
        found[name] = replace(axis, name=name, default=Trial._field_defaults.get(name))
    return found


AXES: dict[str, Axis] = _declared()
"""By name, in the order of a trial's fields."""

RULE = tuple(name for name, axis in AXES.items() if axis.default is not None)
"""Names of the axes that have a default; the article does not vary them."""

NUMBERS = tuple(name for name, axis in AXES.items() if axis.kind == "number")
SHAPES = tuple(name for name, axis in AXES.items() if axis.kind == "shape")
ORDERS = tuple(name for name, axis in AXES.items() if axis.kind == "order")
"""Names of the axes of each kind."""


def make_trial(**values: Any) -> Trial:
    """A trial with these values, each checked, and defaults for the others.

    Raises:
        InputError: a value that makes no sense, or there is no such axis.
    """
    for name in values:
        if name not in AXES:
            raise InputError(f"unknown {shown(name)}: expected one of {', '.join(AXES)}")
    return Trial(**{name: AXES[name].check(value) for name, value in values.items()})


def check_trial(trial: Trial, task: str | None = None) -> None:
    """Raise InputError if a trial's values do not go together, or do not suit the task."""
    takes = OPTIMIZERS[trial.optimizer].numbers
    for name in ("momentum", "weight_decay"):
        if getattr(trial, name) and name not in takes:
            able = ", ".join(each for each, optimizer in OPTIMIZERS.items() if name in optimizer.numbers)
            penalty = "; l2 is a penalty for every optimizer" if name == "weight_decay" else ""
            raise InputError(
                f"{AXES[name].label} is {getattr(trial, name)} with optimizer {trial.optimizer}, which takes none: "
                f"expected 0, or an optimizer of {able}{penalty}"
            )
    for name in ("decay_steps", "decay_factor"):
        if getattr(trial, name) != AXES[name].default and name not in SCHEDULES[trial.schedule].numbers:
            able = ", ".join(each for each, schedule in SCHEDULES.items() if name in schedule.numbers)
            raise InputError(
                f"{AXES[name].label} is {getattr(trial, name)} with schedule {trial.schedule}, which has none: "
                f"expected {AXES[name].default}, or the schedule {able}"
            )
    if trial.base_width != AXES["base_width"].default and trial.parametrization == "standard":
        raise InputError(f"base width is {trial.base_width} with the standard parametrization: expected mup")
    if trial.network == "cnn" and (not isinstance(trial.hidden_units, int) or not trial.hidden_units):
        raise InputError(
            f"hidden units are {shown(trial.hidden_units)} with network cnn: expected a number of channels, 1 or more"
        )
    if task == "regression":
        for name in ("label_smoothing", "label_noise"):
            if getattr(trial, name):
                what = f"{AXES[name].label} is {getattr(trial, name)}"
                raise InputError(f"{what} for a regression, which has no labels: expected 0")


def decays(trial: Trial) -> bool:
    """Whether weights change even if they get no gradient."""
    return trial.weight_decay > 0 or trial.l2 > 0


OF_RECIPE = ("epochs", "batch_size")
"""Axes whose default is the recipe's value."""

OF_MODEL = (
    *("network", "initialization", "init_scale", "bias_initialization"),
    *("parametrization", "base_width", "init_seed"),
)
"""Axes with a default that determine a trial's initial model rather than its training."""


def shape_of(trial: Trial) -> Trial:
    """The trial's shape: with placeholders for numbers and order, equal for all trials of that shape."""
    usual = {name: AXES[name].default for name in (*NUMBERS, *ORDERS)}
    return trial._replace(**usual | {"learning_rate": 1.0, "seed": 0})


def numbers_of(trials: Sequence[Trial], names: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """The numbers of each trial by name, ``[T]``: those named, or all on which some trial does not have the default."""
    by_name = {name: np.array([getattr(trial, name) for trial in trials], float) for name in names or NUMBERS}
    if names is not None:
        return by_name
    return {name: values for name, values in by_name.items() if (values != AXES[name].default).any()}


def examples_of(trial: Trial, examples: int) -> int:
    """The number of training examples of a trial, out of ``examples``.

    Raises:
        InputError: it asks for more than there are.
    """
    if trial.subset > examples:
        raise InputError(f"training subset is {trial.subset}: expected at most the {examples} training examples")
    return trial.subset or examples


def recipe_of_trial(recipe: Recipe, trial: Trial) -> Recipe:
    """The recipe with the trial's own batch size and epochs; raises InputError if that makes no sense."""
    return replace(recipe, batch_size=trial.batch_size or recipe.batch_size, epochs=trial.epochs or recipe.epochs)
