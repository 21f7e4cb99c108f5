"""Layers, from which networks are made, each written once.

A layer is a frozen description, and a network a tuple of layers. Parameters are a dict of arrays for each layer; those
of a trial alone are a list of them. A layout (``mlp_jax.networks.layouts``) makes many networks of these functions.

Examples are rows: a layer maps ``[B, *before]`` to ``[B, *after]``.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, PRNGKeyArray

from mlp_jax.errors import InputError, one_of, whole
from mlp_jax.networks.keys import drawing

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "sigmoid": jax.nn.sigmoid,
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
    "gelu": lambda z: jax.nn.gelu(z, approximate=False),
    "silu": jax.nn.silu,
    "elu": jax.nn.elu,
    "softplus": jax.nn.softplus,
    "identity": lambda z: z,
}

MOST_UNITS = 2**31 - 1
"""Most units of a layer: the largest int32."""

Widths = int | tuple[int, ...]
"""Hidden layers as users write them: the width of one, 0 for none, or the widths of several."""

Shape = tuple[int, ...]
"""Shape of one example, without the batch axis."""

Rows = Callable[[int, int], Float[Array, "rows count"]]
"""Draws n rows of ``count`` numbers, uniform in [−1, 1); row u is the same whatever n is."""

BIASES = 1 << 16
"""Added to the place of a layer to get the random stream of its biases."""


def _normal(drawn: Array) -> Array:
    """Standard normal numbers from uniform ones in [−1, 1)."""
    return math.sqrt(2) * jax.scipy.special.erfinv(jnp.maximum(drawn, jnp.nextafter(jnp.array(-1, drawn.dtype), 0)))


INITIALIZATIONS: dict[str, Callable[[Array, int, int], Array]] = {
    "glorot": lambda drawn, fan_in, fan_out: _within(drawn, 6.0 / (fan_in + fan_out)),
    "he": lambda drawn, fan_in, fan_out: _within(drawn, 6.0 / fan_in),
    "lecun": lambda drawn, fan_in, fan_out: _within(drawn, 3.0 / fan_in),
    "pytorch": lambda drawn, fan_in, fan_out: _within(drawn, 1.0 / fan_in),
    "normal": lambda drawn, fan_in, fan_out: _normal(drawn),
}
"""Weights from numbers uniform in [−1, 1), fan-in and fan-out: uniform within ±√(6 / (fan-in + fan-out)) (Glorot and
Bengio, 2010), ±√(6 / fan-in) (He et al., 2015), ±√(3 / fan-in) (LeCun et al., 1998), ±√(1 / fan-in), as PyTorch's
layers have it; and standard normal."""

BIAS_INITIALIZATIONS = ("zeros", "pytorch")
"""Biases: 0, or uniform within ±√(1 / fan-in)."""


def _within(drawn: Array, square: float) -> Array:
    """Uniform numbers in ±√square."""
    return drawn * jnp.asarray(math.sqrt(square), drawn.dtype)


def check_width(hidden_units: Any) -> int:
    """M of one hidden layer, or 0 for none; raises InputError unless it is a whole number, 0 or more."""
    return whole("hidden_units", hidden_units, 0, MOST_UNITS)


def check_widths(hidden_units: Any) -> Widths:
    """The hidden layers as ``Widths``; raises InputError unless it is a width, 0, or the widths of several layers."""
    if not isinstance(hidden_units, tuple | list) or len(hidden_units) < 2:
        return check_width(hidden_units)
    return tuple(whole("hidden_units", each, 1, MOST_UNITS) for each in hidden_units)


def layers_of(hidden_units: Widths) -> tuple[int, ...]:
    """The width of each hidden layer."""
    if isinstance(hidden_units, tuple):
        return hidden_units
    return (hidden_units,) if hidden_units else ()


def widths_of(layers: tuple[int, ...]) -> Widths:
    """The reverse of ``layers_of``."""
    return layers if len(layers) > 1 else layers[0] if layers else 0


def check_activation(activation: Any) -> str:
    """The name; raises InputError unless there is such an activation."""
    return one_of("activation", activation, ACTIVATIONS)


@dataclass(frozen=True, order=True)
class Layer(ABC):
    """A layer with ``units`` outputs (channels, for a convolution), each of which has its own weights.

    Attributes:
        units: number of outputs.
        activation: f, a name in ``ACTIVATIONS``.
        use_bias: whether each unit has a bias.
        initialization: of the weights, a name in ``INITIALIZATIONS``.
        bias_initialization: a name in ``BIAS_INITIALIZATIONS``.
        base_width: width of every hidden layer at which initial weights and learning rates are the usual ones, while
            they are scaled at others (``mlp_jax.networks.parametrization``); 0 for the standard parametrization.
    """

    units: int
    activation: str = "identity"
    use_bias: bool = True
    initialization: str = "glorot"
    bias_initialization: str = "zeros"
    base_width: int = 0

    stackable: ClassVar[bool] = False
    """Whether layers with the same input x can be stacked, one row per unit, and computed as one product ``A xᵀ``."""

    @abstractmethod
    def after(self, before: Shape) -> Shape:
        """Shape of the output from the shape of the input."""

    @abstractmethod
    def shapes(self, before: Shape) -> dict[str, Shape]:
        """Shapes of the parameters by name; the last axis of each counts the units."""

    @abstractmethod
    def fans(self, before: Shape) -> tuple[int, int]:
        """Fan-in and fan-out: the number of inputs of each unit, and of units that each input feeds."""

    @abstractmethod
    def draw(self, rows: Rows, before: Shape, first: bool) -> Float[Array, "*kernel"]:
        """Numbers uniform in [−1, 1), of the shape of the kernel.

        Args:
            rows: of random numbers.
            before: shape of the input.
            first: whether the layer is given the examples. The first layer draws a row of weights per unit of its own,
                every other one per unit it is given: as layouts put trials side by side.
        """

    def init(self, rows: Rows, bias_rows: Rows, before: Shape, first: bool, fans: tuple[int, int]) -> dict[str, Array]:
        """Initial parameters.

        Args:
            rows: of random numbers, for the kernel.
            bias_rows: likewise, for the biases.
            before: shape of the input.
            first: as for ``draw``.
            fans: fan-in and fan-out to go by.
        """
        drawn, (fan_in, fan_out) = self.draw(rows, before, first), fans
        params = {"kernel": INITIALIZATIONS[self.initialization](drawn, fan_in, fan_out)}
        if not self.use_bias:
            return params
        if self.bias_initialization == "zeros":
            return params | {"bias": jnp.zeros(self.units, drawn.dtype)}
        return params | {"bias": _within(bias_rows(self.units, 1)[:, 0], 1.0 / fan_in)}

    def unflattened(self, before: Shape) -> dict[str, Shape]:
        """The shapes with all axes of the input: those along which a wider network's parameters go on."""
        return self.shapes(before)

    def apply(
        self, params: Mapping[str, Array], x: Float[Array, "B *before"], precision: str = "float32"
    ) -> Float[Array, "B *after"]:
        """Outputs of a minibatch; ``precision`` is that of the products, as in ``Recipe``."""
        return jnp.moveaxis(self.across(params, examples_last(x), precision), (0, -1), (-1, 0))

    @abstractmethod
    def across(
        self, params: Mapping[str, Array], x: Float[Array, "*before B"], precision: str = "float32"
    ) -> Float[Array, "units *places B"]:
        """``apply`` with examples last (``examples_last``), so that nothing is transposed between layers."""

    @abstractmethod
    def products(self, before: Shape) -> int:
        """Multiplications in the forward pass of one example."""

    def widened(self, units: int) -> "Layer":
        """The same layer with another number of units."""
        return replace(self, units=units)


@dataclass(frozen=True, order=True)
class Dense(Layer):
    """f(x W + b), with W ``[before, units]``; inputs of several axes are flattened."""

    stackable: ClassVar[bool] = True

    def after(self, before: Shape) -> Shape:
        return (self.units,)

    def shapes(self, before: Shape) -> dict[str, Shape]:
        shapes: dict[str, Shape] = {"kernel": (math.prod(before), self.units)}
        return shapes | {"bias": (self.units,)} if self.use_bias else shapes

    def fans(self, before: Shape) -> tuple[int, int]:
        return math.prod(before), self.units

    def draw(self, rows: Rows, before: Shape, first: bool) -> Float[Array, "inputs units"]:
        inputs = math.prod(before)
        return rows(self.units, inputs).T if first else rows(inputs, self.units)

    def unflattened(self, before: Shape) -> dict[str, Shape]:
        return self.shapes(before) | {"kernel": (*before, self.units)}

    def across(
        self, params: Mapping[str, Array], x: Float[Array, "*before B"], precision: str = "float32"
    ) -> Float[Array, "units B"]:
        x = jnp.moveaxis(x, 0, -2).reshape(len(params["kernel"]), x.shape[-1])  # channels last, as the kernel has them
        z = first_product(params["kernel"].T, x.T, precision)
        return ACTIVATIONS[self.activation](z + params["bias"][:, None] if self.use_bias else z)

    def products(self, before: Shape) -> int:
        return math.prod(before) * self.units


Network = tuple[Layer, ...]
"""Consecutive layers; the outputs of the last one are the logits."""


def perceptron(hidden: Sequence[int], outputs: int, activation: str, use_bias: bool = True, **init: Any) -> Network:
    """A multilayer perceptron: dense layers of these widths, then one of ``outputs`` logits.

    Args:
        hidden: units of the hidden layers.
        outputs: K.
        activation: of the hidden layers.
        use_bias: whether layers have biases.
        **init: ``initialization``, ``bias_initialization`` and ``base_width`` of every layer.
    """
    return (
        *(Dense(units, activation, use_bias, **init) for units in hidden),
        Dense(outputs, "identity", use_bias, **init),
    )


def examples_last(x: Float[Array, "B *shape"]) -> Float[Array, "units *places B"]:
    """A minibatch as layers take it: features or channels first, then the places of an image, examples last.

    An image without channels gets one.
    """
    return jnp.moveaxis(x[..., None] if x.ndim == 3 else x, (0, -1), (-1, 0))


def walk(network: Network, shape: Shape) -> Iterator[tuple[Layer, Shape]]:
    """Each layer with the shape of its input; ``shape`` is that of an example."""
    for layer in network:
        yield layer, shape
        shape = layer.after(shape)


def init_network(network: Network, shape: Shape, rows: Callable[[int], Rows]) -> list[dict[str, Array]]:
    """Initial parameters of a network.

    Args:
        network: the layers.
        shape: of an example.
        rows: random numbers of a layer by its place, from 0 (``unit_rows``, or what is shared by several networks), and
            of its biases by that and ``BIASES``.
    """
    params = []
    for place, (layer, before) in enumerate(walk(network, shape)):
        fans = _base_fans(network, place, before)
        drawn = layer.init(rows(place), rows(BIASES + place), before, place == 0, fans)
        if (scale := _kernel_scale(network, place)) != 1:
            drawn["kernel"] *= jnp.asarray(scale, drawn["kernel"].dtype)
        params.append(drawn)
    return params


# The maximal update parametrization: Yang et al. (2022), table 3, relative to a base width


def _ratios(network: Network, place: int) -> tuple[float, float]:
    """Widths of what a layer is given and of its own outputs over the base widths; 1 for what has no width to vary."""

    def ratio(i: int) -> float:
        hidden = 0 <= i < len(network) - 1 and network[i].base_width
        return network[i].units / network[i].base_width if hidden else 1.0

    return ratio(place - 1), ratio(place)


def _base_fans(network: Network, place: int, before: Shape) -> tuple[int, int]:
    """Fan-in and fan-out of a layer at the base width, or its own in the standard parametrization."""
    layer = network[place]
    if not layer.base_width:
        return layer.fans(before)
    if place:
        before = (*before[:-1], network[place - 1].base_width)
    return (layer if place == len(network) - 1 else layer.widened(layer.base_width)).fans(before)


def _kernel_scale(network: Network, place: int) -> float:
    """Factor of µP for initial weights: variances scale as 1 / fan-in, those of output weights as its square."""
    into, _ = _ratios(network, place)
    return 1 / into if place == len(network) - 1 else 1 / math.sqrt(into)


def rate_factors(network: Network, adaptive: bool) -> list[dict[str, float]]:
    """Factors of µP for the learning rates of each layer's parameters, by name; 1 in the standard parametrization.

    Args:
        network: the layers.
        adaptive: whether the optimizer's updates do not grow with the gradient, as Adam's.
    """
    factors = []
    for place in range(len(network)):
        into, out = _ratios(network, place)
        factors.append({"kernel": 1 / into, "bias": 1.0} if adaptive else {"kernel": out / into, "bias": out})
    return factors


Drop = Callable[[int, Float[Array, "B *after"]], Float[Array, "B *after"]]
"""Dropout: maps the place of a hidden layer and its outputs to the outputs that remain."""


def apply_network(
    network: Network,
    params: Sequence[Mapping[str, Array]],
    x: Float[Array, "B *shape"],
    precision: str = "float32",
    drop: Drop | None = None,
) -> Float[Array, "B K"]:
    """Logits of a minibatch.

    Args:
        network: the layers.
        params: of each.
        x: the examples.
        precision: of the first layer's products, as in ``Recipe``.
        drop: dropout of hidden layers, if there is any.
    """
    for place, (layer, each) in enumerate(zip(network, params, strict=True)):
        x = layer.apply(each, x, precision if place == 0 else "float32")
        if drop is not None and place < len(network) - 1:
            x = drop(place, x)
    return x


def parameter_count(network: Network, shape: Shape) -> int:
    """Number of parameters of a network."""
    return sum(math.prod(each) for layer, before in walk(network, shape) for each in layer.shapes(before).values())


def symbols(network: Network) -> list[dict[str, str]]:
    """The article's symbols for the parameters of each layer: A and c1, B and c2; A2, A3, ... between A and B."""
    last = len(network) - 1

    def kernel(place: int) -> str:
        return "A" if place == 0 else "B" if place == last else f"A{place + 1}"

    return [
        {"kernel": kernel(place), **({"bias": f"c{place + 1}"} if layer.use_bias else {})}
        for place, layer in enumerate(network)
    ]


def unit_rows(key: PRNGKeyArray, place: int, dtype: DTypeLike) -> Rows:
    """Random numbers for the layer at a place, counted from the input: each row from a key of its own.

    A row depends on the key, the place, its number, and how many numbers it has: not on how many rows there are. So the
    rows of a narrow network are the first ones of a wide network's.
    """
    key = jax.random.fold_in(key, place)

    def rows(units: int, count: int) -> Float[Array, "units count"]:
        def row(unit: Array) -> Float[Array, "count"]:
            return jax.random.uniform(jax.random.fold_in(key, unit), (count,), dtype, -1.0, 1.0)

        with drawing():
            return jax.vmap(row)(jnp.arange(units))

    return rows


def first_product(a: Float[Array, "M D"], x: Float[Array, "B D"], precision: str) -> Float[Array, "M B"]:
    """A xᵀ, the product of a first layer, in a precision of ``Recipe``.

    Raises:
        InputError: a precision below float32 for weights of another type.
    """
    if precision != "float32" and a.dtype != jnp.float32:
        raise InputError(f"precision {precision} is for dtype float32: got {a.dtype}")
    if precision == "bfloat16":
        return _rounded_product(a, x)
    if precision == "tensorfloat32":
        with jax.default_matmul_precision("tensorfloat32"):
            return a @ x.T
    return a @ x.T


@jax.custom_vjp
def _rounded_product(a: Float[Array, "M D"], x: Float[Array, "B D"]) -> Float[Array, "M B"]:
    # With a gradient of its own: JAX's would multiply the float32 cotangent by bfloat16 values, a product that no
    # hardware has, so that XLA does it in float32; and it would round the sum besides.
    return _bfloat16_product(a, x, (1, 1))


def _rounded_forward(a: Array, x: Array) -> tuple[Array, tuple[Array, Array]]:
    return _bfloat16_product(a, x, (1, 1)), (a, x)


def _rounded_backward(factors: tuple[Array, Array], cotangent: Array) -> tuple[Array, Array]:
    a, x = factors
    return _bfloat16_product(cotangent, x, (1, 0)), _bfloat16_product(cotangent, a, (0, 0))


_rounded_product.defvjp(_rounded_forward, _rounded_backward)


def _bfloat16_product(left: Array, right: Array, contracted: tuple[int, int]) -> Array:
    """Product of matrices rounded to bfloat16, accumulated in float32, contracted along one axis of each."""
    axes = (((contracted[0],), (contracted[1],)), ((), ()))
    left, right = left.astype(jnp.bfloat16), right.astype(jnp.bfloat16)
    return jax.lax.dot_general(left, right, axes, preferred_element_type=jnp.float32)
