"""The studies as data: which question each asks, and which networks answer it.

Published numbers are top-1 accuracies in percent on ImageNet unless a study says otherwise: there to compare trends
with, not values.
"""

from typing import Any

from sasa_tutorial import lessons
from sasa_tutorial.experiments.study import Entry, Study
from sasa_tutorial.experiments.tried import TRIED


def _sasa(label: str, published: float | None = None, **options: Any) -> Entry:
    return Entry(label=label, model="relative_offsets", options=options, published=published)


def _augmented(label: str, published: float | None = None, **options: Any) -> Entry:
    return Entry(label=label, model="augmented_convolution", options=options, published=published)


def _external(label: str, **options: Any) -> Entry:
    return Entry(label=label, model="external_attention", options=options)


_LESSONS = tuple(Entry(label=lesson.title, model=lesson.name) for lesson in lessons.LESSONS)

RECIPE = Study(
    name="recipe",
    question="Which learning rate suits the convolutional baseline, and which the network with local attention?",
    source="",
    trend="One rate is fixed for every row; this asks, on the validation images, whether it favours one of the two.",
    entries=tuple(
        Entry(label=f"{name}, {words} the peak rate", model=model, rate=rate, against=f"{name}, once the peak rate")
        for model, name in (("convolution", "convolution"), ("relative_offsets", "relative offsets"))
        for rate, words in ((0.5, "half"), (1.0, "once"), (2.0, "twice"))
    ),
    reference="convolution, once the peak rate",
    metric="val_top1",
    seeds=1,
    lesson="01_convolution",
    profiles=("full", "gpu", "laptop", "smoke"),  # under evening, `TRIED` asks it and more
)

LESSONS = Study(
    name="lessons",
    question="What does each mechanism make of the same network, data and recipe?",
    source="",
    trend="We know of no publication that trains these mechanisms side by side on CIFAR-100.",
    entries=_LESSONS,
    reference="convolution",
    lesson="00_start_here",
)

EXTENT = Study(
    name="extent",
    question="How far should a pixel look?",
    source="SASA, Table 4, test",
    trend="Accuracy grows with the window up to 9 x 9 and is then flat.",
    entries=tuple(
        _sasa(f"{k} x {k}", published, **({} if k == 7 else {"kernel_size": k}))
        for k, published in ((3, 76.4), (5, 77.2), (7, 77.4), (9, 77.7), (11, 77.6))
    ),
    reference="7 x 7",
    lesson="03_local_attention",
)

POSITIONS = Study(
    name="positions",
    question="Must attention know where, and how?",
    source="SASA, Table 5, validation",
    trend="Relative offsets are best by two points; absolute positions are a little better than none.",
    entries=(
        Entry(label="none", model="local_attention", published=77.6),
        _sasa("absolute", 78.2, positions="absolute"),
        _sasa("absolute, in queries and keys only", positions="absolute_qk"),
        _sasa("relative", 80.2),
    ),
    reference="relative",
    lesson="04_relative_offsets",
)

LOGITS = Study(
    name="logits",
    question="Is where enough, without what?",
    source="SASA, Table 6, test",
    trend="Offsets alone (q·r) lose half a point to both terms.",
    entries=(_sasa("q·r", 76.9, content=False), _sasa("q·k + q·r", 77.4)),
    reference="q·k + q·r",
    lesson="04_relative_offsets",
)

STEM = Study(
    name="stem",
    question="Can attention read raw pixels?",
    source="SASA, Table 7, test; the convolution stem: Table 1, ResNet-50",
    trend="Plain attention loses 1.4 points to values that know where they are; those do as well as a convolution.",
    entries=(
        Entry(label="plain values", model="attention_stem", options={"stem_values": "plain"}, published=76.2),
        Entry(
            label="values by convolution",
            model="attention_stem",
            options={"stem_values": "convolution"},
            published=77.2,
        ),
        Entry(label="spatially-aware values", model="attention_stem", published=77.6),
        _sasa("convolution stem", 77.4, pooled_stem=True),
    ),
    reference="spatially-aware values",
    lesson="05_attention_stem",
)

_ROWS = (
    ((1, 2, 3, 4), 80.2),
    ((2, 3, 4), 80.7),
    ((3, 4), 80.7),
    ((4,), 80.2),
    ((1,), 79.7),
    ((1, 2), 79.6),
    ((1, 2, 3), 79.9),
)
GROUPS = Study(
    name="groups",
    question="Where in the network does attention help?",
    source="SASA, Table 3, validation",
    trend="Convolution early and attention late is best; attention early alone is no better than convolution.",
    entries=(
        *(
            _sasa(
                f"attention in {', '.join(map(str, groups))}",
                published,
                **({} if len(groups) == 4 else {"attention_groups": list(groups)}),
            )
            for groups, published in _ROWS
        ),
        Entry(label="attention nowhere", model="convolution", published=79.5),
    ),
    reference="attention nowhere",
    lesson="08_from_layers_to_networks",
)

WIDTH = Study(
    name="width",
    question="Does the comparison hold at other widths?",
    source="",
    trend="SASA shows it in a figure, whose numbers are not in the text.",
    entries=tuple(
        Entry(label=f"{name}, {width:g} x", model=model, width=width, against=f"convolution, {width:g} x")
        for width in (0.5, 1.0, 1.5)
        for model, name in (("convolution", "convolution"), ("relative_offsets", "relative offsets"))
    ),
    reference="convolution, 1 x",
    lesson="08_from_layers_to_networks",
)

SHARE = Study(
    name="share",
    question="How many channels should attention make?",
    source="",
    trend="Public notes on AAConv (ResNet-50, ImageNet): attention alone scores 2.5 points less than convolution, "
    "with a quarter fewer parameters.",
    entries=(
        Entry(label="convolution", model="convolution"),
        *(
            _augmented(f"κ = υ = {share:g}", **({} if share == 0.25 else {"kappa": share, "upsilon": share}))
            for share in (0, 0.25, 0.5, 0.75, 1.0)
        ),
    ),
    reference="convolution",
    lesson="06_augmented_convolution",
)

CODES = Study(
    name="codes",
    question="Which positions does augmented convolution need?",
    source="AAConv, Table 7, ResNet-50",
    trend="Beside convolution, relative positions gain 0.2 points, and sinusoids and coordinates none.",
    entries=(
        _augmented("none", 77.5, positions="none"),
        _augmented("sinusoids", 77.5, positions="sine"),
        _augmented("coordinates", 77.5, positions="coordinates"),
        _augmented("relative", 77.7),
    ),
    reference="relative",
    lesson="06_augmented_convolution",
)

RECALIBRATION = Study(
    name="recalibration",
    question="Is attention between pixels worth more than gates on channels?",
    source="AAConv, Table 1, CIFAR-100, Wide-ResNet-28-10",
    trend="Squeeze-and-excitation gains 0.7 points over convolution, augmentation 1.3.",
    entries=(
        Entry(label="convolution", model="convolution", published=80.3),
        Entry(
            label="squeeze-and-excitation",
            model="convolution",
            options={"recalibrate": "squeeze-excitation"},
            published=81.0,
        ),
        _augmented("augmented convolution", 81.6),
    ),
    reference="convolution",
    lesson="06_augmented_convolution",
)

SLOTS = Study(
    name="slots",
    question="How many memories are enough?",
    source="",
    trend="The paper takes 64 slots.",
    entries=tuple(
        _external(f"{slots} slots", **({} if slots == 64 else {"slots": slots})) for slots in (8, 16, 32, 64, 128, 256)
    ),
    reference="64 slots",
    lesson="07_external_attention",
)

NORMALIZATION = Study(
    name="normalization",
    question="Does double normalization matter, and do heads?",
    source="",
    trend="An author: 0.1 to 0.3, of what is open, between this and softmax over slots (EANet, issue 11).",
    entries=(
        _external("double, 8 heads"),
        _external("softmax over slots, 8 heads", normalization="slots"),
        _external("double, 1 head", heads=1),
    ),
    reference="double, 8 heads",
    lesson="07_external_attention",
)

_LONG = {"epochs": 200, "batch_size": 256, "peak_lr": 0.2}
LARGE = Study(
    name="large",
    question="What do the large networks reach with a long schedule?",
    source="AAConv, Table 1, CIFAR-100",
    trend="Augmentation gains 1.3 points over Wide-ResNet-28-10.",
    entries=(
        Entry(label="Wide-ResNet-28-10", model="wide_resnet", recipe=_LONG, published=80.3),
        Entry(
            label="AA-Wide-ResNet-28-10",
            model="wide_resnet",
            options={"augmented": True},
            recipe=_LONG,
            published=81.6,
        ),
        Entry(label="SASA ResNet-26, 200 epochs", model="relative_offsets", recipe=_LONG),
    ),
    reference="Wide-ResNet-28-10",
    seeds=1,
    lesson="08_from_layers_to_networks",
    profiles=("full",),
)

STUDIES = (
    LESSONS,
    RECIPE,
    EXTENT,
    POSITIONS,
    LOGITS,
    STEM,
    GROUPS,
    WIDTH,
    SHARE,
    CODES,
    RECALIBRATION,
    SLOTS,
    NORMALIZATION,
    LARGE,
    TRIED,
)


def studies_named(names: tuple[str, ...] = ()) -> tuple[Study, ...]:
    """The studies of these names, all of them for none.

    Raises:
        ValueError: no study has a name.
    """
    known = {study.name: study for study in STUDIES}
    for name in names:
        if name not in known:
            raise ValueError(f"no study is called {name!r}; there are: {', '.join(known)}")
    return tuple(known[name] for name in names) or STUDIES
