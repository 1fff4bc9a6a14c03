"""The inputs that kernels are tried with: every two values of two factors together, in as few cases as chance finds."""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations, product
from typing import Any

# The first value of each is what training uses most: the most important cases come first.
FACTORS: Mapping[str, Sequence[Any]] = {
    "dtype": ("bfloat16", "float32", "float16"),
    "layout": ("channels_last", "contiguous", "sliced"),
    "d": (8, 16, 4, 32, 20, 64),
    "k": (7, 3, 11),
    "size": ((32, 32), (5, 7), (33, 17), (1, 1), (9, 2), (16, 16)),
    "tables": ("float32", "same", "none"),
    "content": (True, False),
}
DRAWN = 40  # candidates for each case, of which the one with the most new pairs is taken


@dataclass(frozen=True, kw_only=True)
class Case:
    """One input of local attention.

    `layout`: of q, k, v as a layer hands them over, projected images with the heads split; "sliced" are channels from
    the middle of wider images, where nothing is aligned. `tables`: "float32", as under autocast, "same" as the queries,
    or "none". `content`: whether there are keys.
    """

    dtype: str
    layout: str
    d: int
    k: int
    size: tuple[int, int]
    tables: str
    content: bool
    b: int = 2
    heads: int = 3

    def __str__(self) -> str:
        h, w = self.size
        keys = "" if self.content else ", no keys"
        tables = {"float32": "tables float32", "same": f"tables {self.dtype}", "none": "no tables"}[self.tables]
        return (
            f"{self.dtype}, {self.layout}, d {self.d}, k {self.k}, {h} x {w}, {tables}{keys}, "
            f"{self.b} images, {self.heads} heads"
        )


def usual_cases() -> Iterator[Case]:
    """What training computes: tried first."""
    usual = {name: values[0] for name, values in FACTORS.items()}
    yield Case(**usual)
    yield Case(**usual | {"d": 16})
    yield Case(**usual | {"dtype": "float32", "tables": "same"})
    yield Case(**usual | {"d": 32, "size": (5, 7)})
    yield Case(**usual | {"dtype": "float32", "tables": "same", "d": 32, "layout": "contiguous", "size": (33, 17)})
    yield Case(**usual | {"dtype": "float16", "d": 16, "content": False, "size": (1, 1)})


def covering_cases(seed: int) -> list[Case]:
    """The usual cases, then as many as it takes for every two values of two factors to meet."""
    chance, cases = random.Random(seed), list(usual_cases())
    lacking = {
        frozenset(((one, a), (other, b)))
        for one, other in combinations(FACTORS, 2)
        for a, b in product(FACTORS[one], FACTORS[other])
        if not {(one, a), (other, b)} >= {("tables", "none"), ("content", False)}  # leaves no logits
    }
    for case in cases:
        lacking -= _pairs(case)
    while lacking:
        wanted = dict(chance.choice(sorted(lacking, key=str)))
        drawn = [case for _ in range(DRAWN) if (case := _draw(chance, wanted))]
        best = max(drawn, key=lambda case: len(lacking & _pairs(case)))
        cases.append(best)
        lacking -= _pairs(best)
    return cases


def _draw(chance: random.Random, wanted: Mapping[str, Any]) -> Case | None:
    values = {name: wanted.get(name, chance.choice(choices)) for name, choices in FACTORS.items()}
    if values["tables"] == "none" and not values["content"]:
        return None
    return Case(**values)


def _pairs(case: Case) -> set[frozenset]:
    values = {name: value for name, value in asdict(case).items() if name in FACTORS}
    return {frozenset(pair) for pair in combinations(values.items(), 2)}
