"""What is tried before the recipe of `evening` is fixed: each change against the same network without it.

The reference is the recipe as it was before, for four epochs: fewer turn the order around. All choices are made on the
validation images, and one seed each is a hint, not a verdict.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

from sasa_tutorial.experiments.study import Entry, Study

_BEFORE = {
    "epochs": 4,
    "batch_size": 64,
    "peak_lr": 0.1,
    "warmup": 0.1,
    "weight_decay": 5e-4,
    "table_decay": 5e-4,
    "table_start": 1.0,
    "table_rate": 1.0,
    "vector_rate": 1.0,
    "label_smoothing": 0.0,
    "ema_decay": 0.99,
    "momentum": 0.9,
    "clip": 0.0,
    "padding": 4,
    "padding_mode": "reflect",
    "flip": "random",
    "compile": False,
    "bfloat16": True,
}


_REFERENCE = "as before"


def _tried(model: str, label: str = _REFERENCE, options: Mapping[str, Any] | None = None, **change: Any) -> Entry:
    """The network with one change of the recipe, or of its options."""
    name = model.replace("_", " ")
    recipe = _BEFORE | change
    against = f"{name}: {_REFERENCE}"
    return Entry(label=f"{name}: {label}", model=model, options=options or {}, recipe=recipe, against=against)


_relative = partial(_tried, "relative_offsets")
_external = partial(_tried, "external_attention")
_augmented = partial(_tried, "augmented_convolution")
_convolution = partial(_tried, "convolution")
_global = partial(_tried, "global_attention")
_stem = partial(_tried, "attention_stem")
_FREE = {"table_decay": 0.0}

TRIED = Study(
    name="tried",
    question="Under which recipe does attention learn where to look, in the time of an evening?",
    source="",
    trend="Every variant changes what its name says of the recipe as it was before, and nothing else.",
    entries=(
        _relative(),
        _relative("float32", bfloat16=False),
        _convolution(),
        _convolution("float32", bfloat16=False),
        _relative("tables do not decay", **_FREE),
        _relative("tables do not decay, 8 x their rate", **_FREE, table_rate=8.0),
        _external(),
        _external("memories do not decay, 8 x their rate", **_FREE, table_rate=8.0),
        _augmented(),
        _augmented("tables do not decay, 8 x their rate", **_FREE, table_rate=8.0),
        _augmented("queries and keys begin √3 x as large", {"query_gain": 3**0.5}),
        _relative("queries and keys begin √3 x as large", {"query_gain": 3**0.5}),
        _relative("twice the rate", peak_lr=0.2),
        _convolution("twice the rate", peak_lr=0.2),
        _relative("padding 2", padding=2),
        _relative("blocks begin as their shortcuts", {"zero_residual": True}),
        _relative("tables start at a tenth, 8 x their rate", **_FREE, table_rate=8.0, table_start=0.1),
        _relative("logits divided by √d", {"scaled": True}),
        _relative("alternating mirror images", flip="alternating"),
        _relative("4 x the rate of norms and biases", vector_rate=4.0),
        _external("memories do not decay, 32 x their rate", **_FREE, table_rate=32.0),
        _augmented("tables do not decay, 32 x their rate", **_FREE, table_rate=32.0),
        _relative("batches of 32", batch_size=32, peak_lr=0.07),
        _relative("label smoothing 0.1", label_smoothing=0.1),
        _relative("weights averaged over 1,000 steps", ema_decay=0.999),
        _relative("heads of at least 16 channels", {"head_channels": 16}),
        _relative("heads of at least 4 channels", {"head_channels": 4}),
        _relative("sinusoids instead", {"positions": "absolute"}),
        _relative("sinusoids in queries and keys instead", {"positions": "absolute_qk"}),
        _external("memories start 4 x as large", **_FREE, table_start=4.0),
        _convolution("padding 2", padding=2),
        _convolution("half the rate", peak_lr=0.05),
        _convolution("4 x the rate", peak_lr=0.4),
        _relative("half the rate", peak_lr=0.05),
        _relative("tables do not decay, 2 x their rate", **_FREE, table_rate=2.0),
        _relative("twice the decay of kernels", weight_decay=1e-3),
        _relative("warm-up twice as long", warmup=0.2),
        _global(),
        _global("queries and keys begin √3 x as large", {"query_gain": 3**0.5}),
        _global("twice the rate", peak_lr=0.2),
        _stem(),
        _stem("tables do not decay, 8 x their rate", **_FREE, table_rate=8.0),
        _augmented(
            "queries and keys √3 x as large, tables 8 x their rate", {"query_gain": 3**0.5}, **_FREE, table_rate=8.0
        ),
        _external("twice the rate", peak_lr=0.2),
        _external("queries begin 3 x as large", {"query_gain": 3.0}),
        _external(
            "memories do not decay, start 4 x as large, 8 x their rate", **_FREE, table_start=4.0, table_rate=8.0
        ),
    ),
    reference="relative offsets: as before",
    metric="val_top1",
    seeds=1,
    lesson="10_ablations",
    profiles=("evening",),
)
