"""What the papers print about cost, and our own count of it."""

from sasa_tutorial.ledger.accounting import Cost, count
from sasa_tutorial.ledger.entries import LedgerEntry, count_published, network_of
from sasa_tutorial.ledger.published import Published, published
from sasa_tutorial.ledger.text import as_markdown, as_text, summary
from sasa_tutorial.models.cost import flops_per_image, parameter_count

__all__ = [
    "Cost",
    "LedgerEntry",
    "Published",
    "as_markdown",
    "as_text",
    "count",
    "count_published",
    "flops_per_image",
    "network_of",
    "parameter_count",
    "published",
    "summary",
]
