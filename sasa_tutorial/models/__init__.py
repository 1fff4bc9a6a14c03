"""Networks assembled from the layers."""

from sasa_tutorial.models.cifar import cifar_models, cifar_resnet
from sasa_tutorial.models.resnet import ResNet
from sasa_tutorial.models.sasa import sasa_resnet

__all__ = ["ResNet", "cifar_models", "cifar_resnet", "sasa_resnet"]
