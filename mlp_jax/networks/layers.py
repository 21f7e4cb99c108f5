"""Layers: what a network is made of, each written once.

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
"""Of a layer: what an int32 can count."""

Widths = int | tuple[int, ...]
"""Hidden layers as they are written: the width of one, 0 for none, or the widths of several."""

Shape = tuple[int, ...]
"""Of one example, without the axis of examples."""

Rows = Callable[[int, int], Float[Array, "rows count"]]
"""Draws n rows of ``count`` numbers, uniform in (−1, 1); row u is the same whatever n is."""


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
    """A layer with ``units`` outputs (channels, of a convolution), of which each has weights of its own.

    Attributes:
        units: how many.
        activation: f, a name in ``ACTIVATIONS``.
        use_bias: whether each unit has a bias.
    """

    units: int
    activation: str = "identity"
    use_bias: bool = True

    stackable: ClassVar[bool] = False
    """Whether layers that are given the same x may lie below each other, a row per unit, as one product ``A xᵀ``."""

    @abstractmethod
    def after(self, before: Shape) -> Shape:
        """Shape of the output from the shape of the input."""

    @abstractmethod
    def shapes(self, before: Shape) -> dict[str, Shape]:
        """Shapes of the parameters by name; the last axis of each counts the units."""

    @abstractmethod
    def fans(self, before: Shape) -> tuple[int, int]:
        """Numbers that enter each unit and that each input goes into: fan-in and fan-out."""

    @abstractmethod
    def init(self, rows: Rows, before: Shape, first: bool) -> dict[str, Array]:
        """Initial parameters: Glorot-uniform weights, zero biases.

        Args:
            rows: of random numbers.
            before: shape of the input.
            first: whether the layer is given the examples. The first layer draws a row of weights per unit of its own,
                every other one per unit it is given: as layouts put trials side by side.
        """

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
        """``apply`` with what ``examples_last`` makes of a minibatch: no transposition between two layers."""

    @abstractmethod
    def products(self, before: Shape) -> int:
        """Multiplications of the forward pass of one example."""

    def widened(self, units: int) -> "Layer":
        """The same with another number of units."""
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

    def init(self, rows: Rows, before: Shape, first: bool) -> dict[str, Array]:
        inputs = math.prod(before)
        drawn = rows(self.units, inputs).T if first else rows(inputs, self.units)
        limit = jnp.asarray(glorot_limit(sum(self.fans(before))), drawn.dtype)
        params = {"kernel": drawn * limit}
        return params | {"bias": jnp.zeros(self.units, drawn.dtype)} if self.use_bias else params

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
"""Layers one after another; the last one's units are the logits."""


def perceptron(hidden: Sequence[int], outputs: int, activation: str, use_bias: bool = True) -> Network:
    """A multilayer perceptron: dense layers of these widths, then one of ``outputs`` logits."""
    return (
        *(Dense(units, activation, use_bias) for units in hidden),
        Dense(outputs, "identity", use_bias),
    )


def examples_last(x: Float[Array, "B *shape"]) -> Float[Array, "units *places B"]:
    """A minibatch as layers take it: features or channels first, then the places of an image, examples last.

    An image without channels gets one.
    """
    return jnp.moveaxis(x[..., None] if x.ndim == 3 else x, (0, -1), (-1, 0))


def walk(network: Network, shape: Shape) -> Iterator[tuple[Layer, Shape]]:
    """Each layer with the shape of what it is given; ``shape`` is that of an example."""
    for layer in network:
        yield layer, shape
        shape = layer.after(shape)


def init_network(network: Network, shape: Shape, rows: Callable[[int], Rows]) -> list[dict[str, Array]]:
    """Initial parameters of a network.

    Args:
        network: the layers.
        shape: of an example.
        rows: random numbers of a layer by its place, from 0 (``unit_rows``, or what is shared by several networks).
    """
    return [
        layer.init(rows(place), before, first=place == 0) for place, (layer, before) in enumerate(walk(network, shape))
    ]


def apply_network(
    network: Network, params: Sequence[Mapping[str, Array]], x: Float[Array, "B *shape"], precision: str = "float32"
) -> Float[Array, "B K"]:
    """Logits of a minibatch; ``precision`` is that of the first layer's products."""
    for place, (layer, each) in enumerate(zip(network, params, strict=True)):
        x = layer.apply(each, x, precision if place == 0 else "float32")
    return x


def parameter_count(network: Network, shape: Shape) -> int:
    """How many parameters a network has."""
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


def glorot_limit(fans: int) -> float:
    """Bound of Glorot's uniform distribution, √(6 / (fan-in + fan-out)), from their sum (AISTATS 2010)."""
    return math.sqrt(6.0 / fans)


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
    """Of matrices rounded to bfloat16, added up in float32, along one axis of each."""
    axes = (((contracted[0],), (contracted[1],)), ((), ()))
    left, right = left.astype(jnp.bfloat16), right.astype(jnp.bfloat16)
    return jax.lax.dot_general(left, right, axes, preferred_element_type=jnp.float32)
