"""A whole layer of local attention by a kernel, where that computes exactly what the layer's own lines would.

A kernel reads parameters instead of calling modules. So it may only stand in for modules of which the parameters are
all there is to know: a bias, a stride, a hook, a parametrization or a replaced `forward` are things it would leave out.
"""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules import module as every_module

from sasa_tutorial.kernels.dispatch import fastest_backend, local_attention
from sasa_tutorial.kernels.native import projected

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_GLOBAL_HOOKS = ("_global_forward_hooks", "_global_forward_pre_hooks")
_GLOBAL_HOOKS += ("_global_backward_hooks", "_global_backward_pre_hooks")


def fast_local_attention(
    layer: nn.Module, x: Float[Tensor, "b c_in h w"], lesson: type[nn.Module], positions: type[nn.Module]
) -> Float[Tensor, "b heads d h w"] | None:
    """What the layer's own lines compute from x, before the heads are joined; None where no kernel does exactly that.

    On a CPU projections and attention are one step where the projections are plain: queries, keys and values are then
    never in memory for the whole batch. Otherwise the projections are called, and attention alone is the kernel's.

    Args:
        layer: has to_q, to_k, to_v, offsets, heads, kernel_size, scale and queries_keys_values(x).
        x: images.
        lesson: the class whose lines these are; a subclass may make its queries, keys and values in another way.
        positions: the class whose tables, row and col, kernels know how to use; `layer.offsets` is of it or None.
    """
    offsets = layer.offsets
    backend = fastest_backend(x.device.type)
    if backend == "reference" or _anything_watches_all() or type(layer).weights is not lesson.weights:
        return None
    if not (offsets is None or is_plain(offsets, positions)):
        return None
    tables = (None, None) if offsets is None else (offsets.row, offsets.col)
    projections = (layer.to_q, layer.to_k, layer.to_v)
    if backend == "native" and type(layer) is lesson and all(p is None or _is_matrix(p) for p in projections):
        q, k, v = (None if p is None else p.weight.flatten(1) for p in projections)
        if projected.fits(projected.Projected(x, q, k, v, *tables), layer.kernel_size):
            q = q if layer.scale == 1 else layer.scale * q  # both terms of the logits are products with q
            return projected.attend(x, q, k, v, *tables, heads=layer.heads, kernel_size=layer.kernel_size)
    return local_attention(*layer.queries_keys_values(x), *tables, kernel_size=layer.kernel_size)


def is_plain(module: nn.Module, kind: type[nn.Module]) -> bool:
    """Whether calling the module does what the `forward` of its kind does with its parameters, and nothing else."""
    changed = "forward" in module.__dict__ or "_conv_forward" in module.__dict__
    # Parametrizations make a class of their own; pruning and weight norm hang on hooks.
    return type(module) is kind and not changed and not any(getattr(module, name) for name in _HOOKS)


def _is_matrix(projection: nn.Module) -> bool:
    """Whether it is a plain 1x1 convolution: one matrix for every pixel."""
    return (
        is_plain(projection, nn.Conv2d)
        and projection.bias is None
        and projection.weight.shape[2:] == (1, 1)
        and (projection.stride, projection.dilation, projection.groups) == ((1, 1), (1, 1), 1)
        and projection.padding in ((0, 0), "valid", "same")
    )


def _anything_watches_all() -> bool:
    """Whether a hook is to see the call of every module."""
    return any(getattr(every_module, name) for name in _GLOBAL_HOOKS)
