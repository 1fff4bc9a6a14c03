"""What was tried before the recipe of `evening` was fixed: one change at a time against one reference.

The reference is the recipe as it was before, for four epochs: fewer turn the order around. All choices are made on the
validation images, and one seed each is a hint, not a verdict: seeds differ by about half a point.
"""

from collections.abc import Mapping
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
    "padding": 4,
    "padding_mode": "reflect",
    "flip": "random",
    "compile": False,
    "bfloat16": True,
}


def _entries(
    model: str, variants: Mapping[str, Mapping[str, Any]], options: Mapping[str, Mapping[str, Any]]
) -> tuple[Entry, ...]:
    name = model.replace("_", " ")
    reference = f"{name}: as before"
    return (
        Entry(label=reference, model=model, recipe=_BEFORE, against=reference),
        *(
            Entry(label=f"{name}: {label}", model=model, recipe=_BEFORE | change, against=reference)
            for label, change in variants.items()
        ),
        *(
            Entry(label=f"{name}: {label}", model=model, recipe=_BEFORE, options=change, against=reference)
            for label, change in options.items()
        ),
    )


TRIED = Study(
    name="tried",
    question="Under which recipe does attention learn where to look, in the time of an evening?",
    source="",
    trend="Every variant changes one setting of the recipe as it was before.",
    entries=(
        *_entries(
            "relative_offsets",
            {
                "float32": {"bfloat16": False},
                "tables do not decay": {"table_decay": 0.0},
                "tables do not decay, 8 x their rate": {"table_decay": 0.0, "table_rate": 8.0},
                "twice the rate": {"peak_lr": 0.2},
                "padding 2": {"padding": 2},
                "alternating mirror images": {"flip": "alternating"},
                "4 x the rate of norms and biases": {"vector_rate": 4.0},
                "tables start at a tenth, 8 x their rate": {
                    "table_decay": 0.0,
                    "table_rate": 8.0,
                    "table_start": 0.1,
                },
                "batches of 32": {"batch_size": 32, "peak_lr": 0.07},
                "label smoothing 0.1": {"label_smoothing": 0.1},
                "half the rate": {"peak_lr": 0.05},
                "weights averaged over 1,000 steps": {"ema_decay": 0.999},
            },
            {
                "blocks begin as their shortcuts": {"zero_residual": True},
                "logits divided by √d": {"scaled": True},
                "heads of at least 16 channels": {"head_channels": 16},
                "heads of at least 4 channels": {"head_channels": 4},
                "sinusoids instead": {"positions": "absolute"},
                "sinusoids in queries and keys instead": {"positions": "absolute_qk"},
            },
        ),
        *_entries(
            "external_attention",
            {
                "memories do not decay": {"table_decay": 0.0},
                "memories do not decay, 8 x their rate": {"table_decay": 0.0, "table_rate": 8.0},
                "memories do not decay, 32 x their rate": {"table_decay": 0.0, "table_rate": 32.0},
                "memories start 4 x as large": {"table_decay": 0.0, "table_start": 4.0},
            },
            {},
        ),
        *_entries(
            "augmented_convolution",
            {
                "tables do not decay, 8 x their rate": {"table_decay": 0.0, "table_rate": 8.0},
                "tables do not decay, 32 x their rate": {"table_decay": 0.0, "table_rate": 32.0},
            },
            {},
        ),
        *_entries("convolution", {"twice the rate": {"peak_lr": 0.2}, "padding 2": {"padding": 2}}, {}),
    ),
    reference="relative offsets: as before",
    metric="val_top1",
    seeds=1,
    lesson="10_ablations",
    profiles=("evening",),
)
