"""Models: a network and its parameters. The article's is a perceptron with a hidden layer of M units, or none.

    h(x) = B f(A x + c1) + c2        (M > 0)
    h(x) = A x + c1                  (M = 0, the generalized linear model)

in the article's symbols, where f is the activation; the task's output function turns the logits h into predictions.
Arrays are stored the way Flax stores them: A as ``[D, M]``, B as ``[M, K]``, examples as rows. Between A and B, further
hidden layers have the symbols A2 and c2, A3 and c3, and so on, and the biases of B the next number. Kernels of
convolutions have these symbols too, as ``[size, size, channels before, channels]``.
"""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Array, Float, Num, PRNGKeyArray

from mlp_jax.errors import InputError, instance, one_of, shown, whole
from mlp_jax.machine.backend import require_jax
from mlp_jax.machine.compilation import run_compiled
from mlp_jax.networks.convolution import convolutional
from mlp_jax.networks.keys import next_key, root_key
from mlp_jax.networks.layers import (
    BIAS_INITIALIZATIONS,
    INITIALIZATIONS,
    MOST_UNITS,
    Layer,
    Network,
    Shape,
    Widths,
    apply_network,
    check_activation,
    check_widths,
    init_network,
    layers_of,
    parameter_count,
    perceptron,
    symbols,
    unit_rows,
    widths_of,
)
from mlp_jax.tasks import class_logits, get_task

Weights = dict[str, Array]
"""One trial's parameters by the article's symbols: A [D, M], c1 [M], B [M, K], c2 [K]; for M = 0 A [D, K], c1 [K]."""


def scale_features(x: Num[Array, "B *D"], dtype: DTypeLike) -> Float[Array, "B *D"]:
    """Features as the model sees them: uint8 intensities as [0, 1], anything else as it is."""
    scaled = x.astype(dtype)
    return scaled / 255 if x.dtype == jnp.uint8 else scaled


def parameter_key(seed: ArrayLike) -> PRNGKeyArray:
    """The key that ``MLP(..., rngs=nnx.Rngs(seed))`` draws its initial weights from."""
    return next_key(nnx.Rngs(root_key(seed)))


def _array(values: Array | np.ndarray) -> Array:
    """A JAX array; of a NumPy array a copy, made without the program that ``jnp.asarray`` compiles for each shape."""
    return values if isinstance(values, jax.Array) else jax.device_put(np.array(values))


def _initial(
    key: PRNGKeyArray, scale: ArrayLike, *, network: Network, shape: Shape, dtype: Any
) -> list[dict[str, Array]]:
    layers = init_network(network, shape, lambda place: unit_rows(key, place, dtype))
    return [{name: each * scale if name == "kernel" else each for name, each in layer.items()} for layer in layers]


def _dtype(dtype: Any) -> Any:
    """The NumPy dtype; bool, which no model has, if it is not one."""
    try:
        return jnp.dtype(dtype)
    except (TypeError, ValueError):
        return np.dtype(bool)


class Parameters(nnx.Module):
    """The parameters of one layer, each a ``nnx.Param`` by its name."""

    def __init__(self, values: Mapping[str, Array]) -> None:
        for name, value in values.items():
            setattr(self, name, nnx.Param(value))


def _checked(initialization: str, bias_initialization: str, base_width: int) -> dict[str, Any]:
    """The arguments that all layers share; raises InputError if they make no sense."""
    return {
        "initialization": one_of("initialization", initialization, INITIALIZATIONS),
        "bias_initialization": one_of("bias initialization", bias_initialization, BIAS_INITIALIZATIONS),
        "base_width": whole("base_width", base_width, 0, MOST_UNITS),
    }


AnyModel = TypeVar("AnyModel", bound="Model")


class Model(nnx.Module):
    """A network with its parameters, initial (Glorot-uniform kernels, zero biases by default) or trained.

    Attributes:
        network: its layers (``mlp_jax.networks.layers``).
        shape: of an example.
        layers: the parameters of each layer.
        activation: f, of the hidden layers.
        task: what the logits mean.
    """

    def __init__(
        self,
        network: Network,
        shape: Shape,
        *,
        task: str = "multiclass",
        dtype: DTypeLike = jnp.float32,
        init_scale: float = 1.0,
        rngs: nnx.Rngs,
    ) -> None:
        """Create the model with initial weights.

        Args:
            network: the layers; the last one's outputs are the logits.
            shape: of an example.
            task: what the logits mean (``mlp_jax.tasks``).
            dtype: of the parameters and of the arithmetic.
            init_scale: what the initial weights are multiplied by.
            rngs: ``nnx.Rngs(seed)``.

        Raises:
            InputError: a task or type that does not exist, or a layer that can't be given such examples.
        """
        instance("rngs", rngs, nnx.Rngs, "nnx.Rngs(seed)")
        if dtype is None or not jnp.issubdtype(_dtype(dtype), jnp.floating):
            raise InputError(f"dtype is {shown(dtype)}: expected a floating-point type, such as float32")
        self.task = get_task(task).name
        self.activation = network[0].activation
        self.shape = shape
        self.network = network
        parameter_count(network, shape)  # whose layers refuse what they can't be given, before anything is compiled
        static = {"network": network, "shape": shape, "dtype": _dtype(dtype)}
        scale = np.asarray(init_scale, _dtype(dtype))
        self.layers = nnx.List([Parameters(each) for each in run_compiled(_initial, static, next_key(rngs), scale)])

    def with_weights(self: AnyModel, weights: Mapping[str, Array | np.ndarray]) -> AnyModel:
        """A copy of the model with other parameters, by the article's symbols.

        Raises:
            InputError: shapes that do not fit each other.
        """
        model = nnx.clone(self)  # merge and split alone would share the variables
        for symbol, param in model._params().items():
            value, expected = _array(weights[symbol]), param.get_value().shape
            if value.shape != expected:
                raise InputError(f"{symbol} has shape {value.shape}: expected {expected}, to fit the other weights")
            param.set_value(value)
        return model

    def _params(self) -> dict[str, nnx.Param[Array]]:
        return {
            symbol: getattr(layer, name)
            for layer, named in zip(self.layers, symbols(self.network), strict=True)
            for name, symbol in named.items()
        }

    @property
    def weights(self) -> Weights:
        """The parameters by the article's symbols: A, c1, B, c2 (without B and c2 for M = 0)."""
        return {symbol: param[...] for symbol, param in self._params().items()}

    @property
    def features(self) -> int:
        """D, the number of features of an example."""
        return math.prod(self.shape)

    @property
    def hidden_units(self) -> Widths:
        """M, the width of the hidden layer; 0 if there is none, a tuple if there are several."""
        return widths_of(tuple(layer.units for layer in self.network[:-1]))

    @property
    def outputs(self) -> int:
        """K, the number of logits."""
        return self.network[-1].units

    def __call__(self, x: Num[Array | np.ndarray, "B *shape"]) -> Float[Array, "B K"]:
        """Logits of each example ``[B, *shape]``, or flattened, ``[B, D]``; uint8 features are scaled to [0, 1].

        Raises:
            InputError: examples of another shape.
        """
        require_jax()
        if x.shape[1:] not in (self.shape, (self.features,)):
            flat = "" if len(self.shape) == 1 else f" or ({self.features},)"
            raise InputError(f"examples have shape {x.shape[1:]}: expected {self.shape}{flat}")
        params = layer_parameters(self.network, self.weights)
        x = scale_features(jnp.asarray(x), params[0]["kernel"].dtype)
        return apply_network(self.network, params, x.reshape(x.shape[0], *self.shape))

    def predict_proba(self, x: Num[Array | np.ndarray, "B *shape"]) -> Float[Array, "B *K"]:
        """The task's output function of the logits: ``[B, K]`` probabilities, ``[B]`` if binary, or values."""
        return self._compiled(_probabilities, x)

    def class_probabilities(self, x: Num[Array | np.ndarray, "B *shape"]) -> Float[Array, "B classes"]:
        """Probability of every class ``[B, classes]``, also of the two of a binary task.

        Raises:
            InputError: the task is a regression.
        """
        if self.task == "regression":
            raise InputError("a regression has no classes: expected a multiclass or binary model")
        return self._compiled(_class_probabilities, x)

    def predict(self, x: Num[Array | np.ndarray, "B *shape"]) -> Num[Array, "B *K"]:
        """Class labels ``[B]``, or for regression values ``[B, K]``."""
        return self._compiled(_predict, x)

    def _compiled(self, function: Callable[..., Array], x: Num[Array | np.ndarray, "B *shape"]) -> Array:
        graphdef, params = nnx.split(self)
        x = x if isinstance(x, jax.Array) else np.asarray(x)
        return run_compiled(function, {"graphdef": graphdef}, params, x)


class MLP(Model):
    """Multilayer perceptron with a hidden layer of M units, or none, or several."""

    def __init__(
        self,
        features: int,
        hidden_units: Widths,
        outputs: int,
        *,
        activation: str = "sigmoid",
        use_bias: bool = True,
        task: str = "multiclass",
        dtype: DTypeLike = jnp.float32,
        initialization: str = "glorot",
        init_scale: float = 1.0,
        bias_initialization: str = "zeros",
        base_width: int = 0,
        rngs: nnx.Rngs,
    ) -> None:
        """Create the model with initial weights.

        Args:
            features: D, the number of input features.
            hidden_units: M, the width of the hidden layer; 0 for none, a tuple for several layers.
            outputs: K, the number of logits.
            activation: f, a name in ``ACTIVATIONS``.
            use_bias: whether layers have biases.
            task: what the logits mean (``mlp_jax.tasks``).
            dtype: of the parameters and of the arithmetic.
            initialization: of the weights, a name in ``mlp_jax.networks.layers.INITIALIZATIONS``.
            init_scale: what the initial weights are multiplied by.
            bias_initialization: ``zeros`` or ``pytorch``.
            base_width: of µP, by which ``fit`` also scales learning rates; 0 for the standard parametrization.
            rngs: ``nnx.Rngs(seed)``.

        Raises:
            InputError: a size, activation or task that does not exist.
        """
        hidden_units, activation = check_widths(hidden_units), check_activation(activation)
        features, outputs = whole("features", features, 1, MOST_UNITS), whole("outputs", outputs, 1, MOST_UNITS)
        instance("use_bias", use_bias, bool, "True or False")
        init = _checked(initialization, bias_initialization, base_width)
        network = perceptron(layers_of(hidden_units), outputs, activation, use_bias, **init)
        super().__init__(network, (features,), task=task, dtype=dtype, init_scale=init_scale, rngs=rngs)
        self.activation = activation  # without a hidden layer no layer has it

    @classmethod
    def from_weights(
        cls, weights: Mapping[str, Array | np.ndarray], *, activation: str = "sigmoid", task: str = "multiclass"
    ) -> "MLP":
        """Make a model from weights by the article's symbols (no B and c2 for M = 0, no c1 and c2 without biases).

        Raises:
            InputError: shapes that do not fit each other, or an activation or task that does not exist.
        """
        kernels = _kernels(weights)
        for name in kernels:
            if np.ndim(weights[name]) != 2:
                raise InputError(f"{name} has shape {np.shape(weights[name])}: expected a matrix")
        *hidden, outputs = (weights[name].shape[-1] for name in kernels)
        return _create(
            lambda: cls(
                weights["A"].shape[0],
                widths_of(tuple(hidden)),
                outputs,
                activation=activation,
                use_bias="c1" in weights,
                task=task,
                dtype=weights["A"].dtype,
                rngs=nnx.Rngs(0),
            )
        ).with_weights(weights)


class CNN(Model):
    """Convolutional network: two convolutions of M and 2 M channels, each with 2 × 2 pooling, then a dense layer."""

    def __init__(
        self,
        shape: Shape,
        channels: int,
        outputs: int,
        *,
        activation: str = "relu",
        use_bias: bool = True,
        kernel_size: int = 3,
        task: str = "multiclass",
        dtype: DTypeLike = jnp.float32,
        initialization: str = "glorot",
        init_scale: float = 1.0,
        bias_initialization: str = "zeros",
        base_width: int = 0,
        rngs: nnx.Rngs,
    ) -> None:
        """Create the model with initial weights.

        Args:
            shape: of an image: (height, width), or (height, width, channels).
            channels: M, of the first convolution.
            outputs: K, the number of logits.
            activation: f, a name in ``ACTIVATIONS``.
            use_bias: whether layers have biases.
            kernel_size: side of the square that a unit of a convolution sees, odd.
            task: what the logits mean (``mlp_jax.tasks``).
            dtype: of the parameters and of the arithmetic.
            initialization: of the weights, as for ``MLP``; likewise the next three.
            init_scale: what the initial weights are multiplied by.
            bias_initialization: ``zeros`` or ``pytorch``.
            base_width: base width of µP, for M.
            rngs: ``nnx.Rngs(seed)``.

        Raises:
            InputError: a size, activation or task that does not exist, or a shape that is not an image's.
        """
        instance("shape", shape, tuple, "(height, width) or (height, width, channels)")
        shape = tuple(whole("a side of shape", side, 1, MOST_UNITS) for side in shape)
        instance("use_bias", use_bias, bool, "True or False")
        outputs = whole("outputs", outputs, 1, MOST_UNITS)
        init = _checked(initialization, bias_initialization, base_width)
        network = convolutional(channels, outputs, activation, use_bias, kernel_size=kernel_size, **init)
        super().__init__(network, shape, task=task, dtype=dtype, init_scale=init_scale, rngs=rngs)

    @classmethod
    def from_weights(
        cls,
        weights: Mapping[str, Array | np.ndarray],
        shape: Shape,
        *,
        activation: str = "relu",
        task: str = "multiclass",
    ) -> "CNN":
        """Make a model from weights by the article's symbols, for images of a shape, which weights do not tell.

        Raises:
            InputError: shapes that do not fit each other, or an activation or task that does not exist.
        """
        kernels = _kernels(weights)
        if [np.ndim(weights[name]) for name in kernels] != [4, 4, 2]:
            found = ", ".join(f"{name} {np.shape(weights[name])}" for name in kernels)
            raise InputError(
                f"weights have shapes {found}: expected kernels of two convolutions, A and A2, and a matrix B"
            )
        return _create(
            lambda: cls(
                shape,
                weights["A"].shape[-1],
                weights["B"].shape[-1],
                activation=activation,
                use_bias="c1" in weights,
                kernel_size=weights["A"].shape[0],
                task=task,
                dtype=weights["A"].dtype,
                rngs=nnx.Rngs(0),
            )
        ).with_weights(weights)


def model_from_weights(
    weights: Mapping[str, Array | np.ndarray],
    *,
    activation: str,
    task: str = "multiclass",
    shape: Shape | None = None,
) -> Model:
    """Make a model from weights: a ``CNN`` if A is the kernel of a convolution, else an ``MLP``.

    Args:
        weights: by symbol.
        activation: f, of the hidden layers.
        task: what the logits mean.
        shape: of an example; needed for a convolution.

    Raises:
        InputError: shapes that do not fit each other, a convolution for examples that are no images, or an activation
            or task that does not exist.
    """
    if np.ndim(weights["A"]) != 4:
        return MLP.from_weights(weights, activation=activation, task=task)
    if shape is None:
        raise InputError("these are weights of a convolution: expected the shape of its images, (height, width)")
    return CNN.from_weights(weights, shape, activation=activation, task=task)


def _kernels(weights: Mapping[str, Any]) -> list[str]:
    """The symbols of the kernels, from the input: A, A2, ..., B."""
    between = sorted((name for name in weights if re.fullmatch(r"A\d+", name)), key=lambda name: int(name[1:]))
    return ["A", *between, *(["B"] if "B" in weights else [])]


def _create(create: Callable[[], AnyModel]) -> AnyModel:
    """The model with shapes in place of parameters: draws nothing and compiles nothing."""
    require_jax()
    model: AnyModel = nnx.eval_shape(create)
    return model


def _probabilities(params: Any, x: Num[Array, "B *shape"], *, graphdef: nnx.GraphDef[Model]) -> Float[Array, "B *K"]:
    model = nnx.merge(graphdef, params)
    return get_task(model.task).probabilities(model(x))


def _class_probabilities(
    params: Any, x: Num[Array, "B *shape"], *, graphdef: nnx.GraphDef[Model]
) -> Float[Array, "B classes"]:
    model = nnx.merge(graphdef, params)
    return jax.nn.softmax(class_logits(model.task, model(x)), axis=-1)


def _predict(params: Any, x: Num[Array, "B *shape"], *, graphdef: nnx.GraphDef[Model]) -> Num[Array, "B *K"]:
    model = nnx.merge(graphdef, params)
    return get_task(model.task).predict(model(x))


def layer_parameters(network: Network, weights: Mapping[str, Array]) -> list[dict[str, Array]]:
    """The parameters of each layer, by name, from those by the article's symbols."""
    return [{name: weights[symbol] for name, symbol in named.items()} for named in symbols(network)]


def by_symbol(network: tuple[Layer, ...], params: list[dict[str, Array]]) -> Weights:
    """The reverse of ``layer_parameters``."""
    return {
        symbol: layer[name]
        for layer, named in zip(params, symbols(network), strict=True)
        for name, symbol in named.items()
    }
