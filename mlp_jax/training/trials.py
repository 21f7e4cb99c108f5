"""From a trial to its network and its initial model."""

import math
from typing import Any

from flax import nnx
from jax.typing import DTypeLike

from mlp_jax.networks.convolution import convolutional
from mlp_jax.networks.layers import Network, Shape, layers_of, perceptron
from mlp_jax.networks.models import CNN, MLP, Model
from mlp_jax.training.axes import Trial


def _init(trial: Trial) -> dict[str, Any]:
    return {
        "initialization": trial.initialization,
        "bias_initialization": trial.bias_initialization,
        "base_width": trial.base_width if trial.parametrization == "mup" else 0,
    }


def network_of(trial: Trial, outputs: int, use_bias: bool) -> Network:
    """The layers of a trial."""
    if trial.network == "cnn":
        assert isinstance(trial.hidden_units, int)  # by ``check_trial``
        return convolutional(trial.hidden_units, outputs, trial.activation, use_bias, **_init(trial))
    return perceptron(layers_of(trial.hidden_units), outputs, trial.activation, use_bias, **_init(trial))


def initial_model(
    trial: Trial,
    shape: Shape,
    outputs: int,
    *,
    use_bias: bool = True,
    task: str = "multiclass",
    dtype: DTypeLike = "float32",
) -> Model:
    """The initial model of a trial, for ``fit`` to train alone.

    Args:
        trial: which.
        shape: of an example; of an image for a convolution.
        outputs: K, the number of logits.
        use_bias: whether layers have biases.
        task: what the logits mean.
        dtype: of parameters and arithmetic.

    Raises:
        InputError: the network can't be given such examples.
    """
    rngs = nnx.Rngs(trial.seed if trial.init_seed < 0 else trial.init_seed)
    how: dict[str, Any] = {"activation": trial.activation, "use_bias": use_bias, "task": task, "dtype": dtype}
    how |= {**_init(trial), "init_scale": trial.init_scale, "rngs": rngs}
    if trial.network == "cnn":
        assert isinstance(trial.hidden_units, int)
        return CNN(shape, trial.hidden_units, outputs, **how)
    return MLP(math.prod(shape), trial.hidden_units, outputs, **how)
