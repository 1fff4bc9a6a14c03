"""Networks assembled from the layers."""

from sasa_tutorial.models.cifar import cifar_models, cifar_resnet
from sasa_tutorial.models.resnet import ResNet

__all__ = ["ResNet", "cifar_models", "cifar_resnet"]
