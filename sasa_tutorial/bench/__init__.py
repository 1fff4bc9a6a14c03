"""How long layers and networks take and how much memory they need, next to convolution: a section is one file."""

from sasa_tutorial.bench.document import (
    BenchRecordError,
    bench_documents,
    new_document,
    parts,
    save_document,
    sections_for,
    show,
)
from sasa_tutorial.bench.setting import DTYPES, Setting, default_setting

__all__ = [
    "DTYPES",
    "BenchRecordError",
    "Setting",
    "bench_documents",
    "default_setting",
    "new_document",
    "parts",
    "save_document",
    "sections_for",
    "show",
]
