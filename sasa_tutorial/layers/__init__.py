"""The mechanisms of the series, one small file each, in the order of the notebooks."""

from sasa_tutorial.layers.convolution import conv2d_loops, conv2d_windows
from sasa_tutorial.layers.neighborhoods import gather_windows, inside_image

__all__ = ["conv2d_loops", "conv2d_windows", "gather_windows", "inside_image"]
