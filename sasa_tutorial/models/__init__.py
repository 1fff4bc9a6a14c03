"""Networks assembled from the layers."""

from sasa_tutorial.models.augmented import attention_augmented_resnet, mnasnet
from sasa_tutorial.models.cifar import cifar_models, cifar_resnet
from sasa_tutorial.models.resnet import ResNet, resnet
from sasa_tutorial.models.sasa import sasa_resnet
from sasa_tutorial.models.wide_resnet import wide_resnet

__all__ = [
    "ResNet",
    "attention_augmented_resnet",
    "cifar_models",
    "cifar_resnet",
    "mnasnet",
    "resnet",
    "sasa_resnet",
    "wide_resnet",
]
