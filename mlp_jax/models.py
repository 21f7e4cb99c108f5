"""The article's model: a perceptron with one hidden layer of M units, or none.

    h(x) = B f(A x + c1) + c2        (M > 0)
    h(x) = A x + c1                  (M = 0, the generalized linear model)

in the article's symbols, where f is the activation; the task's output function turns the logits h into predictions.
Arrays are stored the way Flax stores them: A as ``[D, M]``, B as ``[M, K]``, examples as rows.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Array, Float, Int, Num, PRNGKeyArray

from mlp_jax.backend import require_jax
from mlp_jax.compilation import run_compiled
from mlp_jax.errors import InputError, instance, shown, whole
from mlp_jax.keys import drawing, next_key, root_key
from mlp_jax.tasks import class_logits, get_task

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

Weights = dict[str, Array]
"""One trial's parameters by the article's symbols: A [D, M], c1 [M], B [M, K], c2 [K]; for M = 0 A [D, K], c1 [K]."""

MOST_ROWS = 2**31 - 1
"""Of an array, in any direction: what an int32 can count."""

HIDDEN, OUTPUT = 0, 1  # what a layer's initial weights are drawn for


def check_width(hidden_units: Any) -> int:
    """M as an int; raises InputError unless it is a whole number, 0 or more."""
    return whole("hidden_units", hidden_units, 0, MOST_ROWS)


def check_activation(activation: Any) -> str:
    """The name; raises InputError unless there is such an activation."""
    if not isinstance(activation, str) or activation not in ACTIVATIONS:
        raise InputError(f"unknown activation {shown(activation)}: expected one of {', '.join(ACTIVATIONS)}")
    return activation


def check_seed(seed: Any) -> int:
    """The seed as an int; raises InputError unless it is a whole number that JAX makes a key of its own from."""
    return whole("seed", seed, 0, 2**32 - 1)


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


def scale_features(x: Num[Array, "B D"], dtype: DTypeLike) -> Float[Array, "B D"]:
    """Features as the model sees them: uint8 intensities as [0, 1], anything else as it is."""
    scaled = x.astype(dtype)
    return scaled / 255 if x.dtype == jnp.uint8 else scaled


def parameter_key(seed: ArrayLike) -> PRNGKeyArray:
    """The key that ``MLP(..., rngs=nnx.Rngs(seed))`` draws its initial weights from."""
    return next_key(nnx.Rngs(root_key(seed)))


def glorot_limit(fans: int | np.ndarray) -> np.floating | np.ndarray:
    """Bound of Glorot's uniform distribution, √(6 / (fan_in + fan_out)), from fan_in + fan_out (AISTATS 2010)."""
    return np.sqrt(6.0 / fans)


def unit_weights(
    key: PRNGKeyArray, layer: int, units: Int[Array, "H"], limits: Float[Array, "H"], count: int
) -> Float[Array, "H count"]:
    """Draw uniform initial weights, one row a unit, each row from a key of its own.

    A unit's draw depends on the key, the layer and its number within its trial: not on how many units lie beside
    it. So the rows of any number of trials can be drawn in one call, and they are what each trial alone would get.

    Args:
        key: of the trial's seed.
        layer: HIDDEN for the weights into a unit, OUTPUT for those out of it.
        units: number of each unit within its trial, from 0.
        limits: bound of each unit's distribution.
        count: weights a unit.
    """
    key = jax.random.fold_in(key, layer)

    def row(unit: Int[Array, ""]) -> Float[Array, "count"]:
        return jax.random.uniform(jax.random.fold_in(key, unit), (count,), limits.dtype, -1.0, 1.0)

    with drawing():
        return jax.vmap(row)(units) * limits[:, None]


def initial_weights(
    key: PRNGKeyArray, features: int, hidden_units: int, outputs: int, use_bias: bool, dtype: DTypeLike
) -> Weights:
    """Initial weights of one trial: Glorot-uniform kernels, zero biases, as Keras's Dense layers have them."""

    def rows(layer: int, units: int, count: int) -> Float[Array, "units count"]:
        limits = jnp.full(units, glorot_limit(units + count), dtype)
        return unit_weights(key, layer, jnp.arange(units), limits, count)

    first = hidden_units or outputs
    weights = {"A": rows(HIDDEN, first, features).T}
    if use_bias:
        weights["c1"] = jnp.zeros(first, dtype)
    if hidden_units:
        weights["B"] = rows(OUTPUT, hidden_units, outputs)
        if use_bias:
            weights["c2"] = jnp.zeros(outputs, dtype)
    return weights


def _array(values: Array | np.ndarray) -> Array:
    """A JAX array of its own: of NumPy's a copy, made without the program that ``jnp.asarray`` compiles by shape."""
    return values if isinstance(values, jax.Array) else jax.device_put(np.array(values))


def _dtype(dtype: Any) -> Any:
    """The NumPy dtype that is meant; bool, which no model has, if none is."""
    try:
        return jnp.dtype(dtype)
    except (TypeError, ValueError):
        return np.dtype(bool)


class MLP(nnx.Module):
    """Multilayer perceptron with one hidden layer of M units, or none; Glorot-uniform kernels, zero biases.

    Attributes:
        hidden: A ``[D, M]`` and c1 ``[M]``; None for M = 0.
        output: B ``[M, K]`` and c2 ``[K]``; for M = 0 A ``[D, K]`` and c1 ``[K]``.
    """

    def __init__(
        self,
        features: int,
        hidden_units: int,
        outputs: int,
        *,
        activation: str = "sigmoid",
        use_bias: bool = True,
        task: str = "multiclass",
        dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ) -> None:
        """Create the model with initial weights.

        Args:
            features: D, the number of input features.
            hidden_units: M, the width of the hidden layer; 0 for none.
            outputs: K, the number of logits.
            activation: f, a name in ``ACTIVATIONS``.
            use_bias: whether c1 and c2 are there.
            task: what the logits mean (``mlp_jax.tasks``).
            dtype: of the parameters and of the arithmetic.
            rngs: ``nnx.Rngs(seed)``.

        Raises:
            InputError: a size, activation or task that does not exist.
        """
        hidden_units, activation = check_width(hidden_units), check_activation(activation)
        features, outputs = whole("features", features, 1, MOST_ROWS), whole("outputs", outputs, 1, MOST_ROWS)
        instance("use_bias", use_bias, bool, "True or False")
        instance("rngs", rngs, nnx.Rngs, "nnx.Rngs(seed)")
        if dtype is None or not jnp.issubdtype(_dtype(dtype), jnp.floating):
            raise InputError(f"dtype is {shown(dtype)}: expected a floating-point type, such as float32")
        self.task = get_task(task).name
        self.activation = activation
        shape = {"features": features, "hidden_units": hidden_units, "outputs": outputs}
        weights = run_compiled(initial_weights, {**shape, "use_bias": use_bias, "dtype": _dtype(dtype)}, next_key(rngs))

        def linear(fan_in: int, fan_out: int, kernel: str, bias: str) -> nnx.Linear:
            return nnx.Linear(
                fan_in,
                fan_out,
                use_bias=use_bias,
                dtype=dtype,
                param_dtype=dtype,
                kernel_init=lambda *_: weights[kernel],
                bias_init=lambda *_: weights[bias],
                rngs=rngs,
            )

        first = linear(features, hidden_units or outputs, "A", "c1")
        self.hidden = first if hidden_units else None
        self.output = linear(hidden_units, outputs, "B", "c2") if hidden_units else first

    @classmethod
    def from_weights(
        cls, weights: Mapping[str, Array | np.ndarray], *, activation: str = "sigmoid", task: str = "multiclass"
    ) -> "MLP":
        """Make a model that has these weights (no B and c2 for M = 0, no c1 and c2 where there are no biases).

        Raises:
            InputError: shapes that do not fit each other, or an activation or task that does not exist.
        """
        require_jax()
        features, first = weights["A"].shape

        def create() -> MLP:
            return cls(
                features,
                first if "B" in weights else 0,
                weights["B"].shape[1] if "B" in weights else first,
                activation=activation,
                use_bias="c1" in weights,
                task=task,
                dtype=weights["A"].dtype,
                rngs=nnx.Rngs(0),
            )

        model = nnx.eval_shape(create)  # draws nothing, and compiles nothing
        for symbol, param in model._params().items():
            value, expected = _array(weights[symbol]), param.get_value().shape
            if value.shape != expected:
                raise InputError(f"{symbol} has shape {value.shape}: expected {expected}, to fit the other weights")
            param.set_value(value)
        return model

    def _params(self) -> dict[str, nnx.Param[Array]]:
        first, second = (self.output, None) if self.hidden is None else (self.hidden, self.output)
        named = {"A": first.kernel, "c1": first.bias}
        if second is not None:
            named |= {"B": second.kernel, "c2": second.bias}
        return {symbol: param for symbol, param in named.items() if param is not None}

    @property
    def weights(self) -> Weights:
        """The parameters by the article's symbols: A, c1, B, c2 (without B and c2 for M = 0)."""
        return {symbol: param[...] for symbol, param in self._params().items()}

    @property
    def hidden_units(self) -> int:
        """M, the width of the hidden layer; 0 if there is none."""
        return 0 if self.hidden is None else self.hidden.out_features

    def __call__(self, x: Num[Array | np.ndarray, "B D"]) -> Float[Array, "B K"]:
        """Logits of each example; uint8 features are scaled to [0, 1]."""
        require_jax()
        z = scale_features(jnp.asarray(x), self.output.param_dtype)
        if self.hidden is not None:
            z = ACTIVATIONS[self.activation](self.hidden(z))
        return self.output(z)

    def predict_proba(self, x: Num[Array | np.ndarray, "B D"]) -> Float[Array, "B *K"]:
        """The task's output function of the logits: ``[B, K]`` probabilities, ``[B]`` if binary, or values."""
        return self._compiled(_probabilities, x)

    def class_probabilities(self, x: Num[Array | np.ndarray, "B D"]) -> Float[Array, "B classes"]:
        """Probability of every class, of a binary task's two as well.

        Raises:
            InputError: the task is a regression.
        """
        if self.task == "regression":
            raise InputError("a regression has no classes: expected a multiclass or binary model")
        return self._compiled(_class_probabilities, x)

    def predict(self, x: Num[Array | np.ndarray, "B D"]) -> Num[Array, "B *K"]:
        """Class labels ``[B]``, or for regression values ``[B, K]``."""
        return self._compiled(_predict, x)

    def _compiled(self, function: Callable[..., Array], x: Num[Array | np.ndarray, "B D"]) -> Array:
        graphdef, params = nnx.split(self)
        x = x if isinstance(x, jax.Array) else np.asarray(x)
        return run_compiled(function, {"graphdef": graphdef}, params, x)


def _probabilities(params: Any, x: Num[Array, "B D"], *, graphdef: nnx.GraphDef[MLP]) -> Float[Array, "B *K"]:
    model = nnx.merge(graphdef, params)
    return get_task(model.task).probabilities(model(x))


def _class_probabilities(
    params: Any, x: Num[Array, "B D"], *, graphdef: nnx.GraphDef[MLP]
) -> Float[Array, "B classes"]:
    model = nnx.merge(graphdef, params)
    return jax.nn.softmax(class_logits(model.task, model(x)), axis=-1)


def _predict(params: Any, x: Num[Array, "B D"], *, graphdef: nnx.GraphDef[MLP]) -> Num[Array, "B *K"]:
    model = nnx.merge(graphdef, params)
    return get_task(model.task).predict(model(x))
