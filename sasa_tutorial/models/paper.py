"""The papers' full-size networks by name, for training on ImageNet or on other images of that size.

Sources: SASA, arXiv:1906.05909, Table 1; AAConv, arXiv:1904.09925, Table 2.
"""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

from torch import nn

from sasa_tutorial.models.augmented import attention_augmented_resnet
from sasa_tutorial.models.resnet import resnet
from sasa_tutorial.models.sasa import sasa_resnet

SASA_DEPTHS = (26, 38, 50)
AACONV_DEPTHS = (34, 50, 101, 152)
# Which lesson a kind of network belongs to.
_LESSONS = {
    "resnet": "convolution",
    "sasa_resnet": "relative_offsets",
    "full_attention_resnet": "attention_stem",
    "attention_augmented_resnet": "augmented_convolution",
}


def paper_models() -> Mapping[str, Callable[..., nn.Module]]:
    """Builders of the papers' networks, by name.

    `resnet_50` is the baseline, `sasa_resnet_50` the paper's "conv-stem + attention", `full_attention_resnet_50` its
    "full attention", `attention_augmented_resnet_50` AAConv's; the same at the other depths. Each builder takes
    `num_classes` and `image_size`, the side of the images.
    """
    return _PAPER_MODELS


def mechanism_of(model: str) -> str:
    """The lesson that a network belongs to: `sasa_resnet_50` to relative_offsets; a lesson's own network to itself."""
    return _LESSONS.get(model.rpartition("_")[0], model)


def _any_size(build: Callable[..., nn.Module], depth: int, **options: str) -> Callable[..., nn.Module]:
    def built(*, num_classes: int = 1000, image_size: int = 224) -> nn.Module:
        return build(depth, num_classes=num_classes, **options)  # nothing in these depends on the image's size

    return built


_PAPER_MODELS: Mapping[str, Callable[..., nn.Module]] = MappingProxyType(
    {f"resnet_{depth}": _any_size(resnet, depth) for depth in sorted({*SASA_DEPTHS, *AACONV_DEPTHS})}
    | {f"sasa_resnet_{depth}": _any_size(sasa_resnet, depth) for depth in SASA_DEPTHS}
    | {f"full_attention_resnet_{depth}": _any_size(sasa_resnet, depth, stem="attention") for depth in SASA_DEPTHS}
    | {f"attention_augmented_resnet_{depth}": partial(attention_augmented_resnet, depth) for depth in AACONV_DEPTHS}
)
