"""L-BFGS: the whole data set in every step, in float64."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num

from mlp_jax.adapters.estimators._losses import consistent_loss
from mlp_jax.machine.compilation import run_compiled
from mlp_jax.networks.layers import Network, apply_network
from mlp_jax.networks.packing import Parameters
from mlp_jax.tasks import Task


class Minimum(NamedTuple):
    """Where L-BFGS ended.

    Attributes:
        params: of each layer, by name.
        loss: the mean, without the penalty.
        penalty: ½ α Σ W², by the same divisor.
        iterations: how many.
        problem: why it ended before it converged; empty if it converged.
    """

    params: Parameters
    loss: float
    penalty: float
    iterations: int
    problem: str


def _loss_and_slope(
    params: Any, x: Float[Array, "N D"], y: Num[Array, "N *K"], weights: Float[Array, "N"], alpha: Array, **static: Any
) -> tuple[Array, Any]:
    network, task = static["network"], static["task"]

    def loss(params: Any) -> Array:
        each = consistent_loss(task)(apply_network(network, params, x), y, None)
        penalty = alpha / 2 * sum(jnp.sum(jnp.square(layer["kernel"])) for layer in params)
        return (jnp.sum(each * weights) + penalty) / weights.sum()

    return jax.value_and_grad(loss)(params)


def minimize(
    network: Network,
    params: Parameters,
    x: Float[np.ndarray, "N D"],
    targets: Num[np.ndarray, "N *K"],
    weights: Float[np.ndarray, "N"] | None,
    *,
    task: Task,
    alpha: float,
    iterations: int,
    evaluations: int,
    tol: float,
    verbose: bool,
) -> Minimum:
    """Minimize the mean loss with the penalty.

    Args:
        network: the layers.
        params: of each, to start from.
        x: the examples.
        targets: theirs.
        weights: of the examples; None for 1.
        task: whose loss it is.
        alpha: of the penalty ½ α Σ W² on the sum of the losses.
        iterations: at most.
        evaluations: of the loss, at most.
        tol: greatest component of the gradient at which it has converged.
        verbose: whether to print the loss after every iteration.
    """
    import scipy.optimize

    leaves, structure = jax.tree.flatten(params)
    ends = np.cumsum([leaf.size for leaf in leaves])[:-1]
    count = np.ones(len(x)) if weights is None else weights
    data = np.asarray(x, np.float64), np.asarray(targets, np.float64 if targets.ndim == 2 else np.int32)

    def unflattened(flat: np.ndarray) -> Any:
        parts = np.split(flat, ends)
        return jax.tree.unflatten(structure, [a.reshape(leaf.shape) for a, leaf in zip(parts, leaves, strict=True)])

    def evaluate(flat: np.ndarray) -> tuple[float, np.ndarray]:
        static = {"network": network, "task": task}
        found, slope = run_compiled(_loss_and_slope, static, unflattened(flat), *data, count, np.float64(alpha))
        return float(found), _flattened(jax.tree.leaves(slope))

    def note(intermediate_result: Any) -> None:
        if verbose:
            print(f"loss = {intermediate_result.fun:.8f}")

    with jax.enable_x64(True):
        found = scipy.optimize.minimize(
            evaluate,
            _flattened(leaves),
            method="L-BFGS-B",
            jac=True,
            callback=note,
            options={"maxiter": iterations, "maxfun": evaluations, "gtol": tol},
        )
    problem = "" if found.status == 0 else str(found.message)
    best = unflattened(found.x)
    penalty = alpha / 2 * sum(float(np.square(layer["kernel"]).sum()) for layer in best) / float(count.sum())
    return Minimum(best, float(found.fun) - penalty, penalty, min(int(found.nit), iterations), problem)


def _flattened(leaves: Sequence[Any]) -> Float[np.ndarray, "n"]:
    return np.concatenate([np.asarray(leaf, np.float64).ravel() for leaf in leaves])
