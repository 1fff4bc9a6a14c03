"""Local attention as a loop of shifts, in plain PyTorch: fast on a CPU, and nothing of size k² times the channels.

The window cell (a, b) of every query at once is the key image shifted by (a, b). So the logits of one cell are a sum
over channels of query plane times shifted key plane, and the output is a sum over cells of weight plane times shifted
value plane: multiply-adds over whole planes, which is what processors are fastest at. Images and heads are the last
axis here, so that a shift along a row, too, reads memory in long straight runs.

The logits of a few images at a time exist, k² numbers a pixel and head; the backward pass computes them again instead
of keeping them.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from sasa_tutorial.kernels.inputs import Inputs, compute_dtype
from sasa_tutorial.kernels.operators import empty_lse, operator
from sasa_tutorial.kernels.reference import offset_logits

FAR = -1e30  # a logit for cells outside the image: exp gives exactly 0, and no sum of three becomes infinite
# Pixels times images times heads at a time. A CPU likes planes that stay in its caches; a GPU likes long ones.
PLANE_ON_CPU, PLANE_ON_GPU = 2**16, 2**21


def forward(inputs: Inputs, reach: list[int]) -> tuple[Tensor, Tensor]:
    """The weighted sum of the values in each window, and lse."""
    q, k, v, *_ = inputs
    out, lse, tables = torch.empty_like(v), empty_lse(q), _tables(inputs)
    for part in _parts(q):
        queries, keys, values = (_planes(x, part) for x in (q, k, v))
        shape = tuple(queries.shape[1:])
        weights = _logits(queries, keys, tables, reach, shape)
        most = weights.amax(dim=0)
        weights.sub_(most).exp_()  # the softmax, in place: the logits are the largest thing here
        total = weights.sum(dim=0)
        weights.div_(total)
        mixed = torch.zeros_like(values)
        for weight, value in zip(weights, _shifts(_padded(values, reach), reach, shape), strict=True):
            for channel in range(len(mixed)):
                mixed[channel].addcmul_(weight, value[channel])
        _put(out, part, mixed)
        _put(lse[:, :, None], part, (most + total.log())[None])
    return out, lse


def backward(grad: Tensor, inputs: Inputs, out: Tensor, lse: Tensor, reach: list[int]) -> Inputs:
    """The gradients."""
    q, k, v, row, col = inputs
    tables = _tables(inputs)
    to_q, to_k, to_v = (None if x is None else torch.zeros_like(x) for x in (q, k, v))
    to_row, to_col = (None, None) if tables is None else map(torch.zeros_like, tables)
    for part in _parts(q):
        queries, keys, values, upstream = (_planes(x, part) for x in (q, k, v, grad))
        shape = tuple(queries.shape[1:])
        weights = _logits(queries, keys, tables, reach, shape)
        weights.sub_(_planes(lse[:, :, None], part)[0]).exp_()
        to_logits, to_values = _through_the_sum(upstream, weights, values, reach, shape)
        # Through the softmax: weight · (its gradient - the mean of all of them under the weights).
        mean = (upstream * _planes(out, part)).sum(dim=0)
        to_logits.sub_(mean).mul_(weights)
        del weights
        to_queries = torch.zeros_like(queries)
        if keys is not None:
            _put(to_k, part, _through_the_products(to_logits, queries, keys, to_queries, reach, shape))
        if tables is not None:
            cells = to_logits.unflatten(0, (2 * reach[0] + 1, 2 * reach[1] + 1))
            d_row = len(row)
            for table, to_table, by_offset, some in (
                (tables[0], to_row, cells.sum(dim=1), slice(d_row)),
                (tables[1], to_col, cells.sum(dim=0), slice(d_row, None)),
            ):
                to_queries[some] += torch.einsum("dk,k...->d...", table, by_offset)
                to_table += torch.einsum("d...,k...->dk", queries[some], by_offset)
        _put(to_q, part, to_queries)
        _put(to_v, part, to_values)
    if tables is not None:
        to_row, to_col = to_row.to(row.dtype), to_col.to(col.dtype)
    return Inputs(to_q, to_k, to_v, to_row, to_col)


attend = operator("streaming", forward, backward)


def _through_the_sum(upstream, weights, values, reach, shape) -> tuple[Tensor, Tensor]:
    """out = Σ weight · shifted value: the gradients of the weights and of the values."""
    padded = _padded(values, reach)
    to_weights, to_padded = torch.zeros_like(weights), torch.zeros_like(padded)
    shifted = zip(_shifts(padded, reach, shape), _shifts(to_padded, reach, shape), strict=True)
    for weight, to_weight, (value, to_value) in zip(weights, to_weights, shifted, strict=True):
        for channel in range(len(value)):
            to_weight.addcmul_(upstream[channel], value[channel])
            to_value[channel].addcmul_(upstream[channel], weight)
    return to_weights, _cut(to_padded, reach, shape)


def _through_the_products(to_logits, queries, keys, to_queries, reach, shape) -> Tensor:
    """logit = Σ query · shifted key: adds to the gradient of the queries, returns that of the keys."""
    padded = _padded(keys, reach)
    to_padded = torch.zeros_like(padded)
    shifted = zip(_shifts(padded, reach, shape), _shifts(to_padded, reach, shape), strict=True)
    for to_logit, (key, to_key) in zip(to_logits, shifted, strict=True):
        for channel in range(len(key)):
            to_queries[channel].addcmul_(to_logit, key[channel])
            to_key[channel].addcmul_(to_logit, queries[channel])
    return _cut(to_padded, reach, shape)


def _logits(
    queries: Float[Tensor, "d h w n"],
    keys: Float[Tensor, "d h w n"] | None,
    tables: tuple[Float[Tensor, "d1 kh"], Float[Tensor, "d2 kw"]] | None,
    reach: list[int],
    shape: tuple[int, int, int],
) -> Float[Tensor, "cells h w n"]:
    """One plane for each cell of the window, in the order of `_shifts`."""
    h, w, n = shape
    by_row = _outside(h, reach[0], queries)[:, :, None, None]
    by_col = _outside(w, reach[1], queries)[:, None, :, None]
    if tables is not None:
        of_row, of_col = offset_logits(queries, *tables)
        by_row, by_col = of_row + by_row, of_col + by_col
    logits = (by_row[:, None] + by_col[None]).flatten(0, 1).expand(-1, h, w, n).contiguous()
    if keys is not None:
        for logit, key in zip(logits, _shifts(_padded(keys, reach), reach, shape), strict=True):
            for channel in range(len(queries)):
                logit.addcmul_(queries[channel], key[channel])
    return logits


def _outside(side: int, reach: int, like: Tensor) -> Float[Tensor, "offsets side"]:
    """0 where position + offset is in the image, FAR where not."""
    position = torch.arange(side, device=like.device)
    reached = position + torch.arange(-reach, reach + 1, device=like.device)[:, None]
    zeros = torch.zeros(reached.shape, dtype=like.dtype, device=like.device)
    return zeros.masked_fill((reached < 0) | (reached >= side), FAR)


def _shifts(padded: Tensor, reach: list[int], shape: tuple[int, int, int]) -> Iterator[Tensor]:
    """The planes seen from every cell of the window, row by row: views, nothing is copied."""
    for a in range(2 * reach[0] + 1):
        for b in range(2 * reach[1] + 1):
            yield padded[:, a : a + shape[0], b : b + shape[1]]


def _padded(planes: Float[Tensor, "d h w n"], reach: list[int]) -> Float[Tensor, "d h2 w2 n"]:
    return F.pad(planes, (0, 0, reach[1], reach[1], reach[0], reach[0]))


def _cut(padded: Tensor, reach: list[int], shape: tuple[int, int, int]) -> Tensor:
    return padded[:, reach[0] : reach[0] + shape[0], reach[1] : reach[1] + shape[1]]


def _parts(q: Tensor) -> Iterator[slice]:
    """Slices over the images, each about a plane's worth."""
    images, heads, _, h, w = q.shape
    plane = PLANE_ON_CPU if q.device.type == "cpu" else PLANE_ON_GPU
    step = max(1, plane // max(1, heads * h * w))
    return (slice(start, start + step) for start in range(0, images, step))


def _planes(x: Tensor | None, part: slice) -> Float[Tensor, "d h w n"] | None:
    return (
        None if x is None else rearrange(x[part].to(compute_dtype(x)), "b heads d h w -> d h w (b heads)").contiguous()
    )


def _put(out: Float[Tensor, "b heads d h w"], part: slice, planes: Float[Tensor, "d h w n"]) -> None:
    out[part] = rearrange(planes, "d h w (b heads) -> b heads d h w", heads=out.shape[1])


def _tables(inputs: Inputs) -> tuple[Tensor, Tensor] | None:
    dtype = compute_dtype(inputs.q)
    return None if inputs.row is None else (inputs.row.to(dtype), inputs.col.to(dtype))
