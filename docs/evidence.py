"""Pages of results, costs and times, made from the committed records by the functions that the command line uses."""

from collections.abc import Iterator
from itertools import groupby
from typing import Any

from sasa_tutorial import bench, ledger
from sasa_tutorial.experiments import STUDIES, lesson_rows, row_of
from sasa_tutorial.experiments.comparison import best_profile
from sasa_tutorial.experiments.result_tables import lesson_tables, study_text
from sasa_tutorial.training import committed_records, read_records

TITLES = {
    "machine": "What the machine can do",
    "layers": "Layers",
    "network": "A training step of whole networks",
    "growth": "Growth over",
    "floor": "The floor",
}


def results_page() -> str:
    """The lessons' networks, then each study of which something has run."""
    records = read_records(committed_records())
    lines = [
        "# Results",
        "",
        "Top-1 accuracy on CIFAR-100, mean ± standard deviation over n seeds, from the committed records. Choices are",
        "made on validation images; the test images are looked at once per run. Chance is 1 %. A `laptop` row is a",
        "short run of a small network: it shows that the network learns, not how good it can be. Only what has run is",
        "shown; `sasa-tutorial results --missing` lists the rest.",
        "",
        "## The lessons' networks",
        "",
        lesson_tables(lesson_rows(records)),
    ]
    for study in STUDIES:
        profile = best_profile(study, records)
        if any(row_of(entry, profile, records).records for entry in study.entries):
            lines += ["", f"## Study: {study.name.replace('_', ' ')}", "", study_text(study, records, profile)]
    return "\n".join([*lines, ""])


def ledger_page() -> str:
    """Every number that the papers print about cost, beside our own count of the same network."""
    entries = ledger.count_published()
    lines = [
        "# Ledger of parameters and FLOPs",
        "",
        "What the papers print about the cost of their networks, and what counting the library's networks gives; ✗",
        "marks numbers that differ. The same on the command line: `sasa-tutorial ledger`.",
        "",
        "```text",
        ledger.summary(entries),
        "```",
        "",
        "## Row by row",
        "",
        ledger.as_markdown(entries),
    ]
    return "\n".join([*lines, ""])


def times_page() -> str:
    """The committed records of `sasa-tutorial bench`, as the command shows them."""
    lines = ["# Times and memory", "", "Measured by `sasa-tutorial bench`, one record for each device."]
    for document in bench.bench_documents():
        lines += ["", f"## {document['device']}", ""]
        lines += [f"torch {document['torch']}, Python {document['python']}, {document['date'][:10]}, medians of"]
        lines += [f"{document['rounds']} interleaved rounds.", ""]
        for title, section, stored in _measured(document):
            lines += [f"### {title}", "", "```text", bench.show(section, stored), "```", ""]
    return "\n".join([*lines, ""])


def _measured(document: dict[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """(title, section, what is stored) of each part of a document that was measured; growth goes factor by factor."""
    for section, title in TITLES.items():
        if section == "growth":
            for factor, curves in groupby(document[section], key=lambda curve: curve["factor"]):
                yield f"{title} {factor.replace('_', ' ')}", section, list(curves)
        elif document[section]:
            yield title, section, document[section]
