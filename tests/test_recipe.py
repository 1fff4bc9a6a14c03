"""The learning rate, the parameter groups, and settings that cannot be."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import nn

from sasa_tutorial.models import cifar_models
from sasa_tutorial.training.profiles import PROFILES
from sasa_tutorial.training.recipe import Recipe, learning_rate, optimizer_for


def recipe(**changes) -> Recipe:
    return Recipe(**{"epochs": 2, "batch_size": 8, "peak_lr": 0.4, **changes})


def test_warm_up_is_linear_then_half_a_cosine_ends_near_zero():
    rates = [learning_rate(recipe(warmup=0.2), step, 100) for step in range(100)]
    assert max(rates) == pytest.approx(0.4) and rates.index(max(rates)) == 20
    steps = [later - earlier for earlier, later in pairwise(rates[:20])]
    assert rates[0] > 0 and max(steps) == pytest.approx(min(steps))
    assert rates[60] == pytest.approx(0.2)  # half way down the cosine
    assert all(later < earlier for earlier, later in pairwise(rates[20:]))
    assert 0 < rates[99] < 0.4 * 0.001
    # PyTorch's own cosine, started where the warm-up ends.
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.4)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=80)
    for rate in rates[20:]:
        assert rate == pytest.approx(scheduler.get_last_lr()[0], abs=1e-9)
        optimizer.step()
        scheduler.step()


def test_no_warm_up_starts_at_the_peak():
    assert learning_rate(recipe(warmup=0.0), 0, 10) == pytest.approx(0.4)


def test_norms_and_biases_do_not_decay_and_everything_is_trained_once():
    model = cifar_models()["convolution"](depth=14, width=0.125)
    decayed, free = optimizer_for(model, recipe(weight_decay=0.01)).param_groups
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.01, 0.0)
    expected = {id(module.weight) for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)}
    assert {id(p) for p in decayed["params"]} == expected
    assert len(decayed["params"]) + len(free["params"]) == len(list(model.parameters()))
    assert decayed["nesterov"] and decayed["momentum"] == 0.9


@pytest.mark.parametrize(
    "change",
    [
        {"epochs": 0},
        {"batch_size": -1},
        {"peak_lr": 0},
        {"warmup": 1.0},
        {"ema_decay": 1.0},
        {"padding_mode": "mirror"},
        {"padding": -1},
    ],
)
def test_settings_that_cannot_be_are_named(change):
    with pytest.raises(ValueError, match=f"{next(iter(change))}.*got '?{next(iter(change.values()))}"):
        recipe(**change)


def test_the_gpu_profile_is_the_full_recipe_with_a_shorter_schedule():
    gpu, full = PROFILES["gpu"].recipe, PROFILES["full"].recipe
    assert gpu.peak_lr / gpu.batch_size == full.peak_lr / full.batch_size and gpu.epochs < full.epochs
    assert replace(gpu, epochs=full.epochs, batch_size=full.batch_size, peak_lr=full.peak_lr) == full
