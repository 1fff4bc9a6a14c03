"""Networks assembled from the layers."""

from typing import Any

from sasa_tutorial.models.augmented import attention_augmented_resnet, mnasnet
from sasa_tutorial.models.cifar import cifar_models, cifar_resnet
from sasa_tutorial.models.eamlp import MultiHeadExternalAttention, TokenExternalAttention, eamlp
from sasa_tutorial.models.eanet import EANetBlock
from sasa_tutorial.models.paper import paper_models
from sasa_tutorial.models.resnet import ResNet, resnet
from sasa_tutorial.models.sasa import sasa_resnet
from sasa_tutorial.models.t2t_attention import SelfAttention, TokenPerformer, TokenSelfAttention
from sasa_tutorial.models.t2t_vit import T2TViT
from sasa_tutorial.models.wide_resnet import wide_resnet

__all__ = [
    "EANetBlock",
    "MultiHeadExternalAttention",
    "RawOutputs",
    "ResNet",
    "SelfAttention",
    "T2TViT",
    "TokenExternalAttention",
    "TokenPerformer",
    "TokenSelfAttention",
    "attention_augmented_resnet",
    "cifar_models",
    "cifar_resnet",
    "eamlp",
    "mnasnet",
    "paper_models",
    "resnet",
    "retinanet",
    "sasa_resnet",
    "wide_resnet",
]

_DETECTION = ("RawOutputs", "retinanet")


def __getattr__(name: str) -> Any:
    """Detection is imported when it is asked for: torchvision, which it builds on, takes a second to import."""
    if name not in _DETECTION:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from sasa_tutorial.models import detection

    return getattr(detection, name)
