"""A trained model as ONNX, for runtimes such as onnxruntime.

``onnx_bytes``: the content of an .onnx file: a graph from examples ``x`` ``[N, D]``, any N, to ``prediction`` (class
labels ``[N]``, or values ``[N, K]``) and, where there are classes, ``probabilities`` ``[N, classes]``. As with
StableHLO, it takes uint8 intensities and scales them itself, or numbers as the model sees them.
"""

import json
import math
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import numpy as np

from mlp_jax.adapters.export import INPUTS
from mlp_jax.errors import InputError, MissingExtraError, one_of, shown
from mlp_jax.networks.convolution import Conv
from mlp_jax.networks.layers import Dense, Layer, Shape, walk
from mlp_jax.networks.models import Model, layer_parameters

_OPSET, _IR_VERSION = 20, 9
"""Of ONNX 1.15 (2023): the first operators with GELU, and the format that came with them."""
_MOST_BYTES = 2**31 - 2**20
"""Most bytes of parameters, as a protocol buffer holds less than 2 GiB."""
_ACTIVATIONS = {
    "sigmoid": "Sigmoid",
    "tanh": "Tanh",
    "relu": "Relu",
    "gelu": "Gelu",
    "silu": "",  # an operator since opset 24; composed here
    "elu": "Elu",
    "softplus": "Softplus",
    "identity": "",
}


def onnx_bytes(model: Model, *, inputs: str = "float", class_names: Sequence[str] = ()) -> bytes:
    """The content of an .onnx file that holds a model.

    Args:
        model: a trained model of dense layers and convolutions.
        inputs: ``uint8`` for intensities, or ``float`` for numbers of the parameters' type, used as they are.
        class_names: one per class, kept as JSON in the file's metadata ``class_names``.

    Raises:
        InputError: another value of ``inputs``, a layer or activation that ONNX has no operators for here, or more
            than 2 GiB of parameters.
        MissingExtraError: onnx is not installed.
    """
    one_of("inputs", inputs, INPUTS)
    try:
        from onnx import TensorProto, helper
    except ImportError:
        raise MissingExtraError("exporting ONNX", "onnx", "onnx") from None
    weights = model.weights
    if sum(array.nbytes for array in weights.values()) > _MOST_BYTES:
        raise InputError("the parameters take more than the 2 GiB that an .onnx file holds: export npz or StableHLO")
    dtype = np.dtype(weights["A"].dtype)
    graph = _Graph(helper, dtype)
    number = helper.np_dtype_to_tensor_dtype(dtype)
    x = "x"
    if inputs == "uint8":
        x = graph.node("Div", graph.node("Cast", x, to=number), graph.constant(np.array(255, dtype)))
    params = layer_parameters(model.network, weights)
    for (layer, before), each in zip(walk(model.network, model.shape), params, strict=True):
        x = _layer(graph, layer, before, each, x)
    outputs = _outputs(graph, model, x, number)
    described = [helper.make_tensor_value_info(name, kind, ["N", *shape]) for name, kind, shape in outputs]
    taken = TensorProto.UINT8 if inputs == "uint8" else number
    made = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "model",
            [helper.make_tensor_value_info("x", taken, ["N", model.features])],
            described,
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
        producer_name="mlp_jax",
        producer_version=version("mlp-jax"),
    )
    helper.set_model_props(made, {"task": model.task, "class_names": json.dumps(list(class_names))})
    return made.SerializeToString(deterministic=True)


class _Graph:
    """Nodes and constants in the making; every value has a name."""

    def __init__(self, helper: Any, dtype: np.dtype) -> None:
        self.helper, self.dtype = helper, dtype
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def node(self, operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Add an operation; returns the name of its output."""
        output = output or f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(self.helper.make_node(operator, list(inputs), [output], **attributes))
        return output

    def constant(self, values: np.ndarray) -> str:
        """Add an array; returns its name."""
        from onnx import numpy_helper

        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values).reshape(values.shape), name))
        return name

    def shape(self, *sides: int) -> str:
        """Add a shape for Reshape, in which 0 is the side that was there: the number of examples, which may be 0."""
        return self.constant(np.array([0, *sides], np.int64))


def _layer(graph: _Graph, layer: Layer, before: Shape, params: dict[str, Any], x: str) -> str:
    """Add a layer; returns the name of its outputs, ``[N, units]`` or channels last ``[N, h, w, channels]``."""
    if type(layer) not in (Dense, Conv):
        raise InputError(f"a layer is a {shown(type(layer).__name__)}: ONNX is written for Dense and Conv")
    activation = one_of("activation for ONNX", layer.activation, _ACTIVATIONS)
    kernel, bias = np.asarray(params["kernel"]), [np.asarray(params["bias"])] if layer.use_bias else []
    if isinstance(layer, Conv):
        return _convolution(graph, layer, before, activation, (kernel, *bias), x)
    x = graph.node("Reshape", x, graph.shape(math.prod(before))) if len(before) == 3 else x
    return _activated(graph, activation, graph.node("Gemm", x, *map(graph.constant, (kernel, *bias))))


def _convolution(
    graph: _Graph, layer: Conv, before: Shape, activation: str, params: Sequence[np.ndarray], x: str
) -> str:
    """Add a convolution with its pooling, which ONNX computes with the channels first."""
    height, width, channels = (*before, 1)[:3]
    x = graph.node("Transpose", graph.node("Reshape", x, graph.shape(height, width, channels)), perm=[0, 3, 1, 2])
    kernel, *bias = params
    size, edge, pool = layer.kernel_size, layer.kernel_size // 2, layer.pool
    names = map(graph.constant, (kernel.transpose(3, 2, 0, 1), *bias))
    z = graph.node("Conv", x, *names, kernel_shape=[size, size], pads=[edge] * 4)
    pooled = graph.node("MaxPool", _activated(graph, activation, z), kernel_shape=[pool, pool], strides=[pool, pool])
    return graph.node("Transpose", pooled, perm=[0, 2, 3, 1])


def _activated(graph: _Graph, activation: str, z: str) -> str:
    if activation == "silu":
        return graph.node("Mul", z, graph.node("Sigmoid", z))
    operator = _ACTIVATIONS[activation]
    return graph.node(operator, z) if operator else z


def _outputs(graph: _Graph, model: Model, logits: str, number: int) -> list[tuple[str, int, list[int]]]:
    """Add the outputs of the task; returns name, type and shape of one example of each."""
    from onnx import TensorProto

    if model.task == "regression":
        graph.node("Identity", logits, output="prediction")
        return [("prediction", number, [model.outputs])]
    classes = max(2, model.outputs)
    if model.task == "binary":  # the logit of the other class is 0: their softmax is exact where 1 − σ(z) would be 0
        logits = graph.node("Pad", logits, graph.constant(np.array([0, 1, 0, 0], np.int64)))
    graph.node("ArgMax", logits, output="prediction", axis=1, keepdims=0)  # of equals the first, as everywhere
    graph.node("Softmax", logits, output="probabilities", axis=1)
    return [("prediction", TensorProto.INT64, []), ("probabilities", number, [classes])]
