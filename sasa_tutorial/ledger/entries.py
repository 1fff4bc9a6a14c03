"""Published and counted, side by side: one entry for each number."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal
from typing import Any

import torch

from sasa_tutorial import models
from sasa_tutorial.ledger.accounting import Cost, count_on_paper
from sasa_tutorial.ledger.published import QUANTITIES, Published, published
from sasa_tutorial.models.cost import put_on_paper

MULTIPLY_ADDS_ALONE = "multiply-adds alone"  # how the note of a number begins that was counted by fitted rules


@dataclass(frozen=True, kw_only=True)
class LedgerEntry:
    """One quantity of one row, as `sasa-tutorial ledger --json` prints it."""

    paper: str
    table: str
    row: str
    quantity: str  # "params", "flops" or "multiply_adds"
    published: str | None  # as printed; None where the printed number was not seen
    counted: float  # in the unit, unrounded
    unit: str
    matches: bool | None  # equal after rounding to the printed digits, or cut off there where the note says so
    note: str


def count_published(
    rows: Iterable[Published] | None = None, *, done: Callable[[], None] = lambda: None
) -> list[LedgerEntry]:
    """Count the networks of the rows (all of them by default). `done` is called after each row."""
    counted: dict[str, Cost] = {}
    entries = []
    for row in published() if rows is None else rows:
        key = f"{row.network} {sorted(row.options.items())} {row.size}"
        if key not in counted:
            counted[key] = count_on_paper(put_on_paper(network_of(row)), row.size)
        entries += _entries(row, counted[key])
        done()
    return entries


def network_of(row: Published) -> torch.nn.Module:
    """The network of a row, on the meta device: shapes without numbers. A detector without its selection of boxes."""
    from torchvision.models.detection import RetinaNet  # here: torchvision takes a second to import

    with torch.device("meta"):
        network = _make(row.network, row.options)
        return models.RawOutputs(network) if isinstance(network, RetinaNet) else network


def _make(name: str, options: dict[str, Any]) -> torch.nn.Module:
    """A builder's network. An option may name a network of its own (a detector's backbone) or a layer."""
    made = dict(options)
    if "backbone" in made:
        made["backbone"] = _make(made["backbone"]["network"], _without_network(made["backbone"]))
    if "token_attention" in made:
        made["token_attention"] = getattr(models, made["token_attention"])
    return getattr(models, name)(**made)


def _without_network(options: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in options.items() if key != "network"}


def _entries(row: Published, cost: Cost) -> Iterator[LedgerEntry]:
    ways = {"multiply-adds": cost.flops, "every cell": cost.explicit_flops, "fitted": cost.table_flops()}
    flops = ways[row.accounting]
    params = cost.params + (cost.buffers if row.with_buffers else 0)
    numbers = {"params": params / 1e6, "flops": flops / 1e9, "multiply_adds": flops / 2e9}
    for quantity, unit in QUANTITIES.items():
        printed = getattr(row, quantity)
        if printed is None:
            continue
        note = row.notes.get(quantity, "")
        if row.accounting == "fitted" and quantity == "flops":
            note = " ".join(filter(None, [note, f"{MULTIPLY_ADDS_ALONE}: {cost.explicit_flops / 1e9:.2f}"]))
        yield LedgerEntry(
            paper=row.paper,
            table=row.table,
            row=row.row,
            quantity=quantity,
            published=printed if row.seen else None,
            counted=numbers[quantity],
            unit=unit,
            matches=agrees(printed, numbers[quantity], truncated=quantity in row.truncated) if row.seen else None,
            note=note,
        )


def agrees(printed: str, counted: float, *, truncated: bool = False) -> bool:
    """Whether the counted number, rounded (or cut off) to the digits of the printed one, is the printed one."""
    target = Decimal(printed)
    rounding = ROUND_DOWN if truncated else ROUND_HALF_UP
    return Decimal(repr(counted)).quantize(target, rounding=rounding) == target
