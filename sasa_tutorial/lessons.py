"""The series as data: its lessons in their order, and its profiles in theirs. Whoever lists them reads them here.

Nothing is imported, so that the command line can name them without waiting for PyTorch.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """One mechanism: a layer, a network of the comparison, a notebook and a colour."""

    name: str  # of the layer's file, and of the network in `cifar_models()`
    notebook: str  # the file, without its ending
    question: str  # which the lesson before leaves open
    colour: str  # of the mechanism in every figure
    beside: tuple[str, ...]  # lessons whose results stand beside this one's: the convolution, and what it changes

    @property
    def title(self) -> str:
        """In words, for labels."""
        return self.name.replace("_", " ")


# The colours are Okabe and Ito's palette: told apart with every common kind of colour vision.
LESSONS = (
    Lesson(
        name="convolution",
        notebook="01_convolution",
        question="What does a convolution take for granted?",
        colour="#000000",
        beside=(),
    ),
    Lesson(
        name="global_attention",
        notebook="02_global_attention",
        question="What if the content decides which pixels matter?",
        colour="#0072B2",
        beside=("convolution",),
    ),
    Lesson(
        name="local_attention",
        notebook="03_local_attention",
        question="Must every pixel look at every other?",
        colour="#56B4E9",
        beside=("convolution", "global_attention"),
    ),
    Lesson(
        name="relative_offsets",
        notebook="04_relative_offsets",
        question="How does attention know where?",
        colour="#009E73",
        beside=("convolution", "local_attention"),
    ),
    Lesson(
        name="attention_stem",
        notebook="05_attention_stem",
        question="Can attention read raw pixels?",
        colour="#CC79A7",
        beside=("convolution", "relative_offsets"),
    ),
    Lesson(
        name="augmented_convolution",
        notebook="06_augmented_convolution",
        question="Why not both?",
        colour="#D55E00",
        beside=("convolution", "global_attention"),
    ),
    Lesson(
        name="external_attention",
        notebook="07_external_attention",
        question="Must the keys come from the image?",
        colour="#E69F00",
        beside=("convolution", "global_attention"),
    ),
)

PROFILE_NAMES = ("smoke", "laptop", "evening", "gpu", "full")  # by the time they take; `training.profiles` says what
