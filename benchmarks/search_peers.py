"""What a search is compared with: tuners that stop losers early around networks trained one after another.

One function a peer, each as its own users would write it, with a single seed. All search the same networks, trained as
those of ``peer_workers.py`` are but for ReLU units, and count the epochs that they train: at the end of their budget
they are stopped wherever they are.

As a program it is one worker of ``search.py``: it takes what is to be searched as JSON, and prints one line of it.
"""

import contextlib
import dataclasses
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from peer_workers import JAX_VARIABLES, Problem, TorchTrainer, keras_model

Name = Literal["optuna-torch", "optuna-keras", "keras-tuner"]

ACTIVATION = "relu"


@dataclass(frozen=True)
class Search:
    """What is to be searched, and how.

    Attributes:
        data: path of an ``.npz`` file of the three splits, uint8 images and integer labels.
        widths, rates: the values of M and of the learning rate; every combination is a configuration.
        epochs: that the best are trained.
        eta: one configuration in so many goes on at a rung, the first of which is epoch 1.
        budget: epochs of training of all configurations together.
        seed: of weights, minibatches and the order of the configurations.
    """

    data: str
    widths: tuple[int, ...]
    rates: tuple[float, ...]
    epochs: int
    eta: int
    budget: int
    seed: int

    @property
    def problem(self) -> Problem:
        """The same for ``peer_workers``, whose learning rate nobody uses."""
        return Problem(self.data, tuple(self.widths), self.epochs, seed=self.seed)


class BudgetSpentError(Exception):
    """As many epochs are trained as may be."""


@dataclass
class Spending:
    """Epochs trained so far, and the latest validation accuracy of each configuration."""

    budget: int
    epochs: int = 0
    accuracies: dict[tuple[int, float], float] = field(default_factory=dict)

    def note(self, width: int, rate: float, accuracy: float) -> None:
        """Count an epoch; raises BudgetSpentError after the last."""
        self.epochs += 1
        self.accuracies[width, rate] = accuracy
        if self.epochs >= self.budget:
            raise BudgetSpentError


Train = Callable[[int, float, Callable[[float], None]], None]
"""Trains a configuration to the end, and calls a function with the validation accuracy after every epoch."""


def _optuna(search: Search, train: Train, spending: Spending) -> None:
    """Every configuration once, in an order drawn anew, pruned by (asynchronous) successive halving."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=search.eta)
    sampler = optuna.samplers.RandomSampler(seed=search.seed)
    study = optuna.create_study(direction="maximize", sampler=sampler, pruner=pruner)
    points = [(width, rate) for width in search.widths for rate in search.rates]
    for place in np.random.default_rng(search.seed).permutation(len(points)).tolist():
        study.enqueue_trial(dict(zip(("width", "rate"), points[place], strict=True)))

    def objective(trial: Any) -> float:
        width = trial.suggest_int("width", min(search.widths), max(search.widths), log=True)
        rate = trial.suggest_float("rate", min(search.rates), max(search.rates), log=True)
        epochs = 0

        def report(accuracy: float) -> None:
            nonlocal epochs
            epochs += 1
            spending.note(width, rate, accuracy)
            trial.report(accuracy, epochs)
            if trial.should_prune():
                raise optuna.TrialPruned

        train(width, rate, report)
        return spending.accuracies[width, rate]

    study.optimize(objective, n_trials=len(points))


def _optuna_torch(search: Search, spending: Spending) -> None:
    trainer, rng = TorchTrainer(search.problem), np.random.default_rng(search.seed)

    def train(width: int, rate: float, report: Callable[[float], None]) -> None:
        parameters, logits = trainer.network(rng, width, ACTIVATION)
        for _ in trainer.train(parameters, logits, rate):
            report(trainer.accuracies(logits, "validation")[0])

    _optuna(search, train, spending)


def _optuna_keras(search: Search, spending: Spending) -> None:
    import keras

    keras.utils.set_random_seed(search.seed)
    (x, y), validation = (search.problem.split(name) for name in ("train", "validation"))

    def train(width: int, rate: float, report: Callable[[float], None]) -> None:
        keras.utils.clear_session()
        told = keras.callbacks.LambdaCallback(on_epoch_end=lambda _, logs: report(logs["val_accuracy"]))
        model = keras_model(x.shape[1], width, ACTIVATION, rate, "sparse_categorical_crossentropy")
        batch_size = search.problem.batch_size
        model.fit(x, y, batch_size, epochs=search.epochs, validation_data=validation, verbose=0, callbacks=[told])

    _optuna(search, train, spending)


def _keras_tuner(search: Search, spending: Spending) -> None:
    """Hyperband, again and again until the budget is spent or it finds no configuration that is new."""
    import keras
    import keras_tuner

    keras.utils.set_random_seed(search.seed)
    (x, y), validation = (search.problem.split(name) for name in ("train", "validation"))

    def build(hp: Any) -> Any:
        width, rate = hp.Choice("width", list(search.widths)), hp.Choice("rate", list(search.rates))
        model = keras_model(x.shape[1], width, ACTIVATION, rate, "sparse_categorical_crossentropy")
        model.configuration = width, rate
        return model

    class Told(keras.callbacks.Callback):  # type: ignore[misc]  # a class: KerasTuner copies callbacks, and no closures
        def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
            try:
                width, rate = self.model.configuration
                spending.note(width, rate, (logs or {})["val_accuracy"])
            except BudgetSpentError as spent:
                raise keras_tuner.errors.FatalError(str(spent)) from spent  # all others only end a trial

    with tempfile.TemporaryDirectory() as folder:
        tuner = keras_tuner.Hyperband(
            build,
            "val_accuracy",
            max_epochs=search.epochs,
            factor=search.eta,
            hyperband_iterations=search.budget,
            seed=search.seed,
            directory=folder,
        )
        with contextlib.suppress(keras_tuner.errors.FatalError):
            tuner.search(
                x, y, batch_size=search.problem.batch_size, validation_data=validation, verbose=0, callbacks=[Told()]
            )


@dataclass(frozen=True)
class Peer:
    """One way to search.

    Attributes:
        title: for tables.
        modules: what has to be installed.
        run: searches, and notes what it spends.
        variables: environment variables of its process.
    """

    title: str
    modules: tuple[str, ...]
    run: Callable[[Search, Spending], None]
    variables: Mapping[str, str] = field(default_factory=dict)


_KERAS_VARIABLES = {**JAX_VARIABLES, "KERAS_BACKEND": "jax"}

PEERS: dict[str, Peer] = {
    "optuna-torch": Peer("Optuna, PyTorch", ("optuna", "torch"), _optuna_torch),
    "optuna-keras": Peer("Optuna, Keras 3 (JAX)", ("optuna", "keras", "jax"), _optuna_keras, _KERAS_VARIABLES),
    "keras-tuner": Peer("KerasTuner Hyperband (JAX)", ("keras_tuner", "keras", "jax"), _keras_tuner, _KERAS_VARIABLES),
}


def worker_command(name: str, search: Search) -> list[str]:
    """The command that starts a worker."""
    return [sys.executable, __file__, json.dumps({"name": name, **dataclasses.asdict(search)})]


def _main(argument: str) -> None:
    specification = json.loads(argument)
    peer = PEERS[specification.pop("name")]
    search = Search(**specification)
    spending = Spending(search.budget)
    for module in peer.modules:  # which is nothing that a search takes
        __import__(module)
    begun = time.perf_counter()
    # KerasTuner prints what nobody asked for.
    with (
        Path(os.devnull).open("w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.suppress(BudgetSpentError),
    ):
        peer.run(search, spending)
    seconds = time.perf_counter() - begun
    best = max(spending.accuracies, key=lambda point: spending.accuracies[point])
    found = {
        "seconds": seconds,
        "epochs": spending.epochs,
        "configurations": len(spending.accuracies),
        "picked": best,
        "best": spending.accuracies[best],
    }
    print(json.dumps(found))


if __name__ == "__main__":
    _main(sys.argv[1])
