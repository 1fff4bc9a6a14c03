"""How long the layers take and how much memory they need, next to convolution."""

from sasa_tutorial.bench.subjects import Setting, subjects
from sasa_tutorial.bench.table import LayerResult, measure_layers, table

__all__ = ["LayerResult", "Setting", "measure_layers", "subjects", "table"]
