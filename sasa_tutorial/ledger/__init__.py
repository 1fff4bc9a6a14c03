"""What the papers print about cost, and our own count of it."""

from sasa_tutorial.ledger.accounting import Cost, count
from sasa_tutorial.ledger.comparison import Entry, build, compare
from sasa_tutorial.ledger.published import Published, published
from sasa_tutorial.ledger.report import report, summary
from sasa_tutorial.models.cost import flops_per_image, parameter_count

__all__ = [
    "Cost",
    "Entry",
    "Published",
    "build",
    "compare",
    "count",
    "flops_per_image",
    "parameter_count",
    "published",
    "report",
    "summary",
]
