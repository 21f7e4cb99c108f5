"""The same weights as PyTorch, from the same start on the same minibatches: optimizers, decay, schedules, depth.

PyTorch's SGD, its AdamW and its learning-rate schedulers are what ours claim to be. In float64 (1e-9 absolute, on
parameters of order 1); run with: pytest -m peers (extra peers).
"""

import jax
import numpy as np
import pytest
from conftest import make_dataset

from mlp_jax import Recipe, Trial, fit
from mlp_jax.networks.keys import root_key
from mlp_jax.training.axes import OF_MODEL, RULE
from mlp_jax.training.epoch import minibatches
from mlp_jax.training.trials import initial_model

pytestmark = pytest.mark.peers

RECIPE = Recipe(epochs=3, batch_size=16)
STEPS = 3 * 5  # 70 examples

TRIALS = {
    "sgd": Trial(7, "relu", 0.1, 3, "sgd"),
    "momentum": Trial((6, 4), "tanh", 0.1, 3, "sgd", momentum=0.9),
    "nesterov": Trial(7, "sigmoid", 0.1, 3, "nesterov", momentum=0.8),
    "weight decay of sgd": Trial(7, "relu", 0.1, 3, "sgd", momentum=0.9, weight_decay=0.02),
    "adamw": Trial(7, "relu", 0.01, 3, "adamw", weight_decay=0.3),
    "label smoothing": Trial(7, "relu", 0.1, 3, "sgd", label_smoothing=0.1),
    "cosine": Trial(7, "relu", 0.1, 3, "sgd", schedule="cosine"),
    "steps": Trial(7, "relu", 0.1, 3, "sgd", schedule="steps", decay_steps=4, decay_factor=0.5),
    "warm-up": Trial(7, "relu", 0.01, 3, "adamw", weight_decay=0.1, warmup_steps=6),
    "squared error": Trial(7, "relu", 0.1, 3, "sgd", momentum=0.9, objective="squared-error"),
    "PyTorch's initialization": Trial(
        9, "relu", 0.1, 3, "sgd", initialization="pytorch", bias_initialization="pytorch"
    ),
}


@pytest.fixture(scope="module")
def torch():
    # Imported here, not above: pytest imports every test file, whether or not its tests are wanted.
    return pytest.importorskip("torch", reason="needs PyTorch: python -m pip install 'mlp-jax[peers]'")


def optimizer_and_schedule(torch, trial, parameters):
    rate, decay = trial.learning_rate, trial.weight_decay
    if trial.optimizer == "adamw":
        betas, eps = (RECIPE.beta1, RECIPE.beta2), RECIPE.epsilon
        optimizer = torch.optim.AdamW(parameters, rate, betas, eps, weight_decay=decay)
    else:
        nesterov = trial.optimizer == "nesterov"
        optimizer = torch.optim.SGD(parameters, rate, trial.momentum, weight_decay=decay, nesterov=nesterov)
    schedulers = torch.optim.lr_scheduler
    if trial.schedule == "cosine":
        return optimizer, schedulers.CosineAnnealingLR(optimizer, STEPS)
    if trial.schedule == "steps":
        return optimizer, schedulers.StepLR(optimizer, trial.decay_steps, trial.decay_factor)
    if trial.warmup_steps:
        first = 1 / trial.warmup_steps
        return optimizer, schedulers.LinearLR(optimizer, first, 1.0, trial.warmup_steps - 1)
    return optimizer, None


@pytest.mark.parametrize("name", TRIALS)
def test_weights_are_those_of_pytorch(name, float64, torch):
    trial, dataset = TRIALS[name], make_dataset()
    start = initial_model(trial, (dataset.features,), dataset.outputs, dtype="float64")
    rule = {each: getattr(trial, each) for each in RULE if each not in OF_MODEL}
    ours = fit(start, dataset.train, learning_rate=trial.learning_rate, seed=trial.seed, recipe=RECIPE, **rule).model

    activation = {"relu": torch.nn.ReLU, "tanh": torch.nn.Tanh, "sigmoid": torch.nn.Sigmoid}[trial.activation]
    layers = []
    for layer in start.layers:
        kernel = np.asarray(layer.kernel[...])
        linear = torch.nn.Linear(*kernel.shape, dtype=torch.float64)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(kernel.T.copy()))
            linear.bias.copy_(torch.from_numpy(np.array(layer.bias[...])))
        layers += [linear, activation()]
    model = torch.nn.Sequential(*layers[:-1])
    optimizer, schedule = optimizer_and_schedule(torch, trial, model.parameters())
    x = torch.from_numpy(np.asarray(dataset.train.features, np.float64))
    y = torch.from_numpy(np.asarray(dataset.train.targets, np.int64))
    one_hot = torch.nn.functional.one_hot(y, dataset.outputs).double()
    entropy = torch.nn.CrossEntropyLoss(label_smoothing=trial.label_smoothing)
    for epoch in range(RECIPE.epochs):
        for batch in np.asarray(minibatches(root_key(trial.seed), epoch, len(x), RECIPE.batch_size)):
            rows = torch.from_numpy(batch[batch < len(x)].astype(np.int64))
            optimizer.zero_grad()
            out = model(x[rows])
            squared = trial.objective == "squared-error"
            loss = torch.nn.functional.mse_loss(out, one_hot[rows]) if squared else entropy(out, y[rows])
            loss.backward()
            optimizer.step()
            if schedule is not None:
                schedule.step()
    for layer, linear in zip(ours.layers, model[::2], strict=True):
        np.testing.assert_allclose(layer.kernel[...], linear.weight.detach().numpy().T, rtol=0, atol=1e-9)
        np.testing.assert_allclose(layer.bias[...], linear.bias.detach().numpy(), rtol=0, atol=1e-9)


def test_initial_weights_are_distributed_as_pytorchs(torch):
    trial = Trial(500, "relu", 0.1, 0, initialization="pytorch", bias_initialization="pytorch")
    ours = initial_model(trial, (300,), 10)
    torch.manual_seed(0)
    theirs = [torch.nn.Linear(300, 500), torch.nn.Linear(500, 10)]
    for layer, linear in zip(ours.layers, theirs, strict=True):
        for mine, other in ((layer.kernel[...], linear.weight), (layer.bias[...], linear.bias)):
            mine, other = np.sort(np.ravel(jax.device_get(mine))), np.sort(other.detach().numpy().ravel())
            assert abs(mine).max() == pytest.approx(abs(other).max(), rel=0.3 if mine.size < 100 else 0.02)
            assert mine.std() == pytest.approx(other.std(), rel=0.5 if mine.size < 100 else 0.1)
