"""The learning rate, the parameter groups, and settings that cannot be."""

import re
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import nn

from sasa_tutorial.models import cifar_models, eamlp, sasa_resnet, wide_resnet
from sasa_tutorial.training.profiles import PROFILES
from sasa_tutorial.training.recipe import Recipe, learning_rate, optimizer_for, parameter_kinds, start_tables


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


def every_network():
    for name, build in cifar_models().items():
        yield name, build(depth=14, width=0.125)
    yield "wide_resnet, augmented", wide_resnet(10, 2, augmented=True)
    yield "sasa_resnet, attention stem", sasa_resnet(14, stem="attention", width=0.125)
    yield (
        "convolution, squeeze-and-excitation",
        cifar_models()["convolution"](depth=14, width=0.125, recalibrate="squeeze-excitation"),
    )
    yield "eamlp", eamlp(7)


@pytest.mark.parametrize(("name", "model"), list(every_network()))
def test_what_a_parameter_is_follows_from_its_place(name, model):
    """By name, without the rule's own means: decay falls on weights of convolutions and linear layers alone."""
    tables = re.compile(r"(row|col|row_embedding|col_embedding|mixture_embedding|memory_[kv])$")
    for parameter, kind in parameter_kinds(model).items():
        if tables.search(parameter):
            expected = "table"
        elif parameter.endswith("bias") or "norm" in parameter:
            expected = "vector"
        elif parameter.endswith("weight") and model.get_parameter(parameter).ndim > 1:
            expected = "kernel"
        else:
            expected = "vector"
        assert kind == expected, f"{name}: {parameter}"


@pytest.mark.parametrize(
    ("name", "tables"),
    [("convolution", 0), ("local_attention", 0), ("relative_offsets", 2 * 4), ("external_attention", 2 * 2)],
)
def test_the_networks_have_the_tables_they_should(name, tables):
    kinds = parameter_kinds(cifar_models()[name](depth=14, width=0.125)).values()
    assert list(kinds).count("table") == tables


def test_each_kind_has_its_decay_and_its_rate_and_everything_is_trained_once():
    model = cifar_models()["relative_offsets"](depth=14, width=0.125)
    settings = recipe(weight_decay=0.01, table_decay=0.002, table_rate=8.0, vector_rate=3.0)
    kernels, tables, vectors = optimizer_for(model, settings).param_groups
    assert [g["weight_decay"] for g in (kernels, tables, vectors)] == [0.01, 0.002, 0.0]
    assert [g["scale"] for g in (kernels, tables, vectors)] == [1.0, 8.0, 3.0]
    expected = {id(module.weight) for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)}
    assert {id(p) for p in kernels["params"]} == expected
    groups = [id(p) for group in (kernels, tables, vectors) for p in group["params"]]
    assert len(groups) == len(set(groups)) == len(list(model.parameters()))
    assert kernels["nesterov"] and kernels["momentum"] == 0.9


def test_tables_start_as_large_as_the_recipe_says_and_nothing_else_changes():
    model = cifar_models()["external_attention"](depth=14, width=0.125)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    start_tables(model, 0.25)
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name] * (0.25 if "memory" in name else 1.0)), name


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
        {"table_rate": 0},
        {"vector_rate": -1.0},
        {"table_start": 0},
        {"flip": "vertical"},
    ],
)
def test_settings_that_cannot_be_are_named(change):
    with pytest.raises(ValueError, match=f"{next(iter(change))}.*got '?{next(iter(change.values()))}"):
        recipe(**change)


def test_the_gpu_profile_is_the_full_recipe_with_a_shorter_schedule():
    gpu, full = PROFILES["gpu"].recipe, PROFILES["full"].recipe
    assert gpu.peak_lr / gpu.batch_size == full.peak_lr / full.batch_size and gpu.epochs < full.epochs
    assert replace(gpu, epochs=full.epochs, batch_size=full.batch_size, peak_lr=full.peak_lr) == full
