"""What mlp_jax is compared with: the same sweep by other means, each as its own users would write it.

One function a peer. Each takes the problem and gives trainings (``_turns``): one a model where the peer trains one
model after another, one in all where it trains them together. Every model has Glorot-uniform weights and zero biases at
first (scikit-learn: its own), a layer of sigmoid units, and Adam; every epoch takes all examples in a new order, in
minibatches of which the last has what is left.

As a program it is one worker of ``peers.py``, and takes what is to be trained as JSON. Packages are imported by the
functions that need them: a worker pays for its own, and ``peers.py`` for none.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, Literal

import numpy as np
from _turns import Training, in_turn, serve, stepwise, to_the_end

Name = Literal[
    "keras-tensorflow",
    "keras-jax",
    "scikit-learn",
    "torch",
    "torch-padded",
    "parallel-mlps",
    "jax",
    "jax-vmap",
    "jax-packed-one",
    "jax-packed",
]

CLASSES = 10
EPSILON = 1e-7


@dataclass(frozen=True)
class Problem:
    """What is to be trained.

    Attributes:
        data: path of an ``.npz`` file of the three splits, uint8 images and integer labels.
        widths: M of each model.
        epochs: passes over the training split.
        batch_size: examples a minibatch.
        learning_rate: Adam's α.
        seed: of weights and minibatches, where the peer takes one.
        alone: whether nobody else is waiting for a turn, so that there is no need to stop between epochs.
    """

    data: str
    widths: tuple[int, ...]
    epochs: int
    batch_size: int = 128
    learning_rate: float = 1e-3
    seed: int = 0
    alone: bool = False

    def split(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """The examples of a split, float32 in [0, 1], and their labels."""
        with np.load(self.data) as arrays:
            return arrays[f"x_{name}"].astype(np.float32) / np.float32(255), arrays[f"y_{name}"].astype(np.int64)


def _glorot(rng: np.random.Generator, fan_in: int, fan_out: int) -> np.ndarray:
    limit = np.sqrt(6 / (fan_in + fan_out))
    return rng.uniform(-limit, limit, (fan_in, fan_out)).astype(np.float32)


# Keras ---------------------------------------------------------------------------------------------------------------


def keras_model(features: int, width: int, activation: str, learning_rate: float, loss: str) -> Any:
    """A perceptron with one hidden layer, compiled."""
    import keras

    model = keras.Sequential(
        [
            keras.Input((features,)),
            keras.layers.Dense(width, activation=activation),
            keras.layers.Dense(CLASSES, activation="softmax"),
        ]
    )
    adam = keras.optimizers.Adam(learning_rate, epsilon=EPSILON)
    model.compile(optimizer=adam, loss=loss, metrics=["accuracy"])
    return model


def _keras(backend: str, problem: Problem) -> list[Training]:
    """The article's program: build, compile and fit, with the accuracy as a metric."""
    os.environ["KERAS_BACKEND"] = backend
    import keras

    keras.utils.set_random_seed(problem.seed)
    (x, y), (x_test, y_test) = (problem.split(name) for name in ("train", "test"))
    y, y_test = (keras.utils.to_categorical(labels, CLASSES) for labels in (y, y_test))

    def trial(width: int) -> Training:
        model = keras_model(x.shape[1], width, "sigmoid", problem.learning_rate, "categorical_crossentropy")

        # Timed by callbacks: what fit does before its first epoch takes about as long as an epoch, but would be paid
        # only once if one call trained them all. A callback that paused that one call would not do: TensorFlow's input
        # pipeline, kept alive meanwhile, was seen to stall for tens of seconds afterwards.
        clock: list[float] = []
        stopwatch = keras.callbacks.LambdaCallback(
            on_epoch_begin=lambda *_: clock.append(-time.perf_counter()),
            on_epoch_end=lambda *_: clock.append(time.perf_counter()),
        )
        calls = 1 if problem.alone else problem.epochs
        for _ in range(calls):
            clock.clear()
            epochs = problem.epochs // calls
            model.fit(x, y, problem.batch_size, epochs=epochs, verbose=0, callbacks=[stopwatch])
            yield sum(clock)
        return [model.evaluate(x_test, y_test, batch_size=1000, verbose=0)[1]]

    return [trial(width) for width in problem.widths]


def _tensorflow_device() -> str:
    import tensorflow

    found = tensorflow.config.list_physical_devices("GPU")
    return str(tensorflow.config.experimental.get_device_details(found[0])["device_name"]) if found else "cpu"


# scikit-learn --------------------------------------------------------------------------------------------------------


def _scikit_learn(problem: Problem) -> list[Training]:
    """``partial_fit``, which is one epoch and keeps Adam's state; initial weights are scikit-learn's own."""
    from sklearn.neural_network import MLPClassifier

    (x, y), (x_test, y_test) = (problem.split(name) for name in ("train", "test"))

    def trial(width: int) -> Training:
        model = MLPClassifier(
            (width,),
            activation="logistic",
            solver="adam",
            alpha=0.0,
            batch_size=problem.batch_size,
            learning_rate_init=problem.learning_rate,
            epsilon=EPSILON,
            # Not the seed itself: with that, every call of partial_fit would take the examples in the same order.
            random_state=np.random.RandomState(problem.seed),
        )
        for _ in range(problem.epochs):
            begun = time.perf_counter()
            model.partial_fit(x, y, classes=np.arange(CLASSES))
            yield time.perf_counter() - begun
        return [model.score(x_test, y_test)]

    return [trial(width) for width in problem.widths]


# PyTorch -------------------------------------------------------------------------------------------------------------


def _torch_device() -> str:
    import torch

    return str(torch.cuda.get_device_name()) if torch.cuda.is_available() else "cpu"


@dataclass
class TorchTrainer:
    """The loop that the PyTorch peers share; they differ in their parameters and in the function from x to logits."""

    problem: Problem
    device: Any = field(init=False)
    splits: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        import torch

        torch.manual_seed(self.problem.seed)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.splits = {
            name: tuple(torch.from_numpy(array).to(self.device) for array in self.problem.split(name))
            for name in ("train", "validation", "test")
        }

    @property
    def features(self) -> int:
        """D."""
        return int(self.splits["train"][0].shape[1])

    def parameter(self, array: np.ndarray) -> Any:
        """A trainable copy on the device."""
        import torch

        return torch.tensor(array, dtype=torch.float32, device=self.device, requires_grad=True)

    def network(self, rng: np.random.Generator, width: int, activation: str) -> tuple[list[Any], Callable[[Any], Any]]:
        """Parameters of one model, and its logits ``[1, B, K]`` as a function of examples ``[B, D]``."""
        import torch

        a, b = (self.parameter(_glorot(rng, *fans)) for fans in ((self.features, width), (width, CLASSES)))
        c1, c2 = (self.parameter(np.zeros(size)) for size in (width, CLASSES))
        activate = getattr(torch, activation)
        return [a, c1, b, c2], lambda x: torch.addmm(c2, activate(torch.addmm(c1, x, a)), b)[None]

    def train(
        self, parameters: list[Any], logits: Callable[[Any], Any], learning_rate: float | None = None
    ) -> Training:
        """Train T models together.

        Args:
            parameters: of all of them.
            logits: from examples ``[B, D]`` to logits ``[T, B, K]``.
            learning_rate: Adam's α; None for the problem's.
        """
        import torch

        x, y = self.splits["train"]
        adam = torch.optim.Adam(parameters, learning_rate or self.problem.learning_rate, eps=EPSILON, fused=True)
        for _ in range(self.problem.epochs):
            begun = time.perf_counter()
            for batch in torch.randperm(len(x), device=self.device).split(self.problem.batch_size):
                out = logits(x[batch])
                # The sum over models of each one's mean loss: so each gets its own gradient.
                loss = torch.nn.functional.cross_entropy(
                    out.flatten(0, 1), y[batch].repeat(len(out)), reduction="sum"
                ) / len(batch)
                adam.zero_grad()
                loss.backward()
                adam.step()
            if self.device.type == "cuda":
                torch.cuda.synchronize()
            yield time.perf_counter() - begun
        return self.accuracies(logits, "test")

    def accuracies(self, logits: Callable[[Any], Any], split: str) -> list[float]:
        """Of each of T models on a split."""
        import torch

        x, y = self.splits[split]
        with torch.no_grad():
            pairs = zip(x.split(1000), y.split(1000), strict=True)
            hits = sum((logits(some).argmax(2) == labels).sum(1) for some, labels in pairs)
        return [float(hit) / len(x) for hit in hits]


def _torch(problem: Problem) -> list[Training]:
    """One model after another."""
    trainer = TorchTrainer(problem)
    rng = np.random.default_rng(problem.seed)
    return [trainer.train(*trainer.network(rng, width, "sigmoid")) for width in problem.widths]


def _torch_padded(problem: Problem) -> list[Training]:
    """All models together: padded to the widest and masked, batched products over the models."""
    import torch

    trainer = TorchTrainer(problem)
    rng = np.random.default_rng(problem.seed)
    count, widest = len(problem.widths), max(problem.widths)
    first = np.zeros((count, trainer.features, widest))
    second = np.zeros((count, widest, CLASSES))
    for i, width in enumerate(problem.widths):
        first[i, :, :width] = _glorot(rng, trainer.features, width)
        second[i, :width] = _glorot(rng, width, CLASSES)
    a, b = trainer.parameter(first), trainer.parameter(second)
    c1, c2 = (trainer.parameter(np.zeros((count, 1, size))) for size in (widest, CLASSES))
    units = torch.tensor(problem.widths, device=trainer.device)
    mask = (torch.arange(widest, device=trainer.device) < units[:, None, None]).float()

    def logits(x: Any) -> Any:
        z = torch.baddbmm(c1, x.expand(count, -1, -1), a).sigmoid() * mask
        return torch.baddbmm(c2, z, b)

    return [trainer.train([a, c1, b, c2], logits)]


def _parallel_mlps(problem: Problem) -> list[Training]:
    """The idea of ParallelMLPs (Farias, Ludermir, Bastos-Filho, AI 2023, 4(1), 16-27), written afresh.

    One wide first layer for all models. In the second each unit is multiplied with its own weights, elementwise, and
    the products are added up by model: a scatter-add, which along one axis PyTorch calls index_add.
    """
    import torch

    trainer = TorchTrainer(problem)
    rng = np.random.default_rng(problem.seed)
    count, hidden = len(problem.widths), sum(problem.widths)
    # A row a unit: added up along the first axis, the products take less time than along the last.
    a = trainer.parameter(np.concatenate([_glorot(rng, trainer.features, width).T for width in problem.widths]))
    b = trainer.parameter(np.concatenate([_glorot(rng, width, CLASSES) for width in problem.widths]))
    c1, c2 = trainer.parameter(np.zeros((hidden, 1))), trainer.parameter(np.zeros((count, 1, CLASSES)))
    model_of_unit = torch.tensor(np.repeat(np.arange(count), problem.widths), device=trainer.device)

    def logits(x: Any) -> Any:
        z = torch.addmm(c1, a, x.T).sigmoid()
        products = z[:, :, None] * b[:, None]
        return products.new_zeros(count, len(x), CLASSES).index_add(0, model_of_unit, products) + c2

    return [trainer.train([a, c1, b, c2], logits)]


# mlp_jax -------------------------------------------------------------------------------------------------------------


def _jax_device() -> str:
    import jax

    device = jax.devices()[0]
    return "cpu" if device.platform == "cpu" else str(device.device_kind)


def _jax(problem: Problem) -> list[Training]:
    """``mlp_jax.fit``, one model after another."""
    from flax import nnx

    import mlp_jax

    dataset = mlp_jax.load_dataset(problem.data)
    recipe = mlp_jax.Recipe(epochs=problem.epochs, batch_size=problem.batch_size, epsilon=EPSILON)

    def trial(width: int) -> Training:
        start = mlp_jax.MLP(dataset.features, width, CLASSES, rngs=nnx.Rngs(problem.seed))

        def train(pause: Callable[[], None]) -> mlp_jax.Model:
            return mlp_jax.fit(
                start,
                dataset.train,
                learning_rate=problem.learning_rate,
                seed=problem.seed,
                recipe=recipe,
                on_epoch=lambda *_: pause(),
            ).model

        model = yield from stepwise(train)
        return [mlp_jax.evaluate(model, dataset.test).score]

    return [trial(width) for width in problem.widths]


def _jax_sweep(layout: str, problem: Problem) -> list[Training]:
    """``mlp_jax.sweeps.sweep``; unlike the others it also scores the validation split after every epoch."""
    import mlp_jax

    dataset = mlp_jax.load_dataset(problem.data)
    recipe = mlp_jax.Recipe(epochs=problem.epochs, batch_size=problem.batch_size, epsilon=EPSILON)
    grid = mlp_jax.Grid(problem.widths, learning_rates=(problem.learning_rate,), seeds=(problem.seed,))
    mlp_jax.device_a_core(grid, dataset, recipe=recipe, layout=layout)  # as the command line does

    def together() -> Training:
        def train(pause: Callable[[], None]) -> mlp_jax.SweepResult:
            return mlp_jax.sweep(grid, dataset, recipe=recipe, layout=layout, on_epoch=lambda _: pause())

        result = yield from stepwise(train)
        return list(result.final["test_score"])

    return [together()]


# The worker ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Peer:
    """One way to train the sweep.

    Attributes:
        title: for tables and figures.
        modules: what has to be installed.
        trainings: one a model, or one for all models.
        device: what it trained on: ``cpu``, or the name of an accelerator.
        variables: environment variables of its process.
        cache: more of them, with which it keeps what it compiles in a directory, to be named by ``CACHE_DIRECTORY``;
            None for a peer that does not compile.
    """

    title: str
    modules: tuple[str, ...]
    trainings: Callable[[Problem], list[Training]]
    device: Callable[[], str]
    variables: Mapping[str, str] = field(default_factory=dict)
    cache: Mapping[str, str] | None = None


CACHE_DIRECTORY = "JAX_COMPILATION_CACHE_DIR"

# Workers that are blocked must leave room on an accelerator; and a compilation that is called cold must be one.
JAX_VARIABLES = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "JAX_ENABLE_COMPILATION_CACHE": "false"}
_JAX_CACHE = {"JAX_ENABLE_COMPILATION_CACHE": "true", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
_TENSORFLOW_VARIABLES = {"TF_FORCE_GPU_ALLOW_GROWTH": "true", "TF_CPP_MIN_LOG_LEVEL": "3"}

PEERS: dict[Name, Peer] = {
    "keras-tensorflow": Peer(
        "Keras, TensorFlow backend",
        ("keras", "tensorflow"),
        partial(_keras, "tensorflow"),
        _tensorflow_device,
        _TENSORFLOW_VARIABLES,
    ),
    "keras-jax": Peer(
        "Keras, JAX backend", ("keras", "jax"), partial(_keras, "jax"), _jax_device, JAX_VARIABLES, _JAX_CACHE
    ),
    "scikit-learn": Peer("scikit-learn MLPClassifier", ("sklearn",), _scikit_learn, lambda: "cpu"),
    "torch": Peer("PyTorch, one after another", ("torch",), _torch, _torch_device),
    "torch-padded": Peer("PyTorch, batched, padded", ("torch",), _torch_padded, _torch_device),
    "parallel-mlps": Peer("PyTorch, scatter-add (ParallelMLPs)", ("torch",), _parallel_mlps, _torch_device),
    "jax": Peer("mlp_jax fit, one after another", ("mlp_jax",), _jax, _jax_device, JAX_VARIABLES, _JAX_CACHE),
    "jax-vmap": Peer(
        "mlp_jax sweep, vmap", ("mlp_jax",), partial(_jax_sweep, "vmap"), _jax_device, JAX_VARIABLES, _JAX_CACHE
    ),
    "jax-packed-one": Peer(
        "mlp_jax sweep, packed, one device",
        ("mlp_jax",),
        partial(_jax_sweep, "packed"),
        _jax_device,
        {**JAX_VARIABLES, "JAX_NUM_CPU_DEVICES": "1"},
        _JAX_CACHE,
    ),
    "jax-packed": Peer(
        "mlp_jax sweep, packed", ("mlp_jax",), partial(_jax_sweep, "packed"), _jax_device, JAX_VARIABLES, _JAX_CACHE
    ),
}


def worker_command(name: Name, problem: Problem) -> list[str]:
    """The command that starts a worker; if it is alone it waits for no orders, trains, prints its report and ends."""
    return [sys.executable, __file__, json.dumps({"name": name, **asdict(problem)})]


def _main(argument: str) -> None:
    specification = json.loads(argument)
    peer = PEERS[specification.pop("name")]
    problem = Problem(**specification)
    if problem.alone:
        accuracies = [float(accuracy) for training in peer.trainings(problem) for accuracy in to_the_end(training)]
        print(json.dumps({"accuracies": accuracies, "device": peer.device()}))
    else:
        serve(in_turn(peer.trainings(problem)), lambda: {"device": peer.device()})


if __name__ == "__main__":
    _main(sys.argv[1])
