"""How long layers and networks take and how much memory they need, next to convolution."""

from sasa_tutorial.bench.document import SECTIONS, Part, new_document, parts, sections_for
from sasa_tutorial.bench.saved import BenchRecordError, bench_documents, save_document
from sasa_tutorial.bench.setting import DTYPES, Setting, default_setting

__all__ = [
    "DTYPES",
    "SECTIONS",
    "BenchRecordError",
    "Part",
    "Setting",
    "bench_documents",
    "default_setting",
    "new_document",
    "parts",
    "save_document",
    "sections_for",
]
