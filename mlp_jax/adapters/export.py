"""A trained model for use without this package: plain arrays, or a compiled function's StableHLO.

``npz_bytes``: an archive that NumPy alone loads, without pickle: A ``[D, M]``, c1 ``[M]``, B ``[M, K]``, c2 ``[K]``
(for M = 0 A ``[D, K]`` and c1 ``[K]``; no c1 and c2 without biases); activation, task, class_names and feature_dtype as
strings; and the shape of an example as numbers. The logits are f(x A + c1) B + c2, where x is first divided by 255 if
feature_dtype is uint8. For a convolutional network A and A2 are ``[3, 3, channels, units]``.

``stablehlo_bytes``: what ``jax.export.deserialize`` loads on CPU, GPU or TPU: a function of examples ``[N, D]``, any
N, to a dict of the prediction (class labels ``[N]``, or values ``[N, K]``) and, where there are classes, their
probabilities ``[N, classes]``. It takes uint8 intensities and scales them itself, or numbers as the model sees them.
"""

import io
from collections.abc import Sequence

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Num

from mlp_jax.errors import InputError, MissingExtraError, shown
from mlp_jax.networks.models import Model

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
INPUTS = ("uint8", "float")


def npz_bytes(model: Model, *, class_names: Sequence[str] = (), feature_dtype: str = "float32") -> bytes:
    """The content of an .npz file that holds a model.

    Args:
        model: a trained model.
        class_names: one per class, if there are classes.
        feature_dtype: dtype of the features that it was trained on; uint8 means that they are divided by 255.
    """
    strings = {
        "activation": np.array(model.activation),
        "task": np.array(model.task),
        "class_names": np.array(list(class_names), np.str_),
        "feature_dtype": np.array(feature_dtype),
        "shape": np.array(model.shape),
    }
    file = io.BytesIO()
    np.savez(file, **{symbol: np.asarray(array) for symbol, array in model.weights.items()}, **strings)  # type: ignore[arg-type]
    return file.getvalue()


def stablehlo_bytes(model: Model, *, inputs: str = "float") -> bytes:
    """A model as a serialized StableHLO function with its parameters, for every platform and number of examples.

    Args:
        model: a trained model.
        inputs: ``uint8`` for intensities, or ``float`` for numbers of the parameters' type, used as they are.

    Raises:
        InputError: another value of ``inputs``.
        MissingExtraError: flatbuffers, which ``jax.export`` serializes with, is not installed.
    """
    if inputs not in INPUTS:
        raise InputError(f"unknown inputs {shown(inputs)}: expected one of {', '.join(INPUTS)}")
    try:
        import flatbuffers  # noqa: F401
    except ImportError:
        raise MissingExtraError("exporting StableHLO", "flatbuffers", "export") from None

    def predict(x: Num[Array, "N D"]) -> dict[str, Array]:
        prediction = {"prediction": model.predict(x)}
        return (
            prediction if model.task == "regression" else prediction | {"probabilities": model.class_probabilities(x)}
        )

    dtype = jnp.dtype("uint8") if inputs == "uint8" else model.weights["A"].dtype
    # A dimension variable is at least 1, a number of examples 0: so the variable is one more.
    examples = jax.export.symbolic_shape(f"more - 1, {model.features}")
    exported = jax.export.export(jax.jit(predict), platforms=PLATFORMS)(jax.ShapeDtypeStruct(examples, dtype))
    return bytes(exported.serialize())
