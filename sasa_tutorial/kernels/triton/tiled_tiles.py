"""What the programs on matrix units share: where a rectangle of pixels is, reading and writing it as a matrix.

Matrices are (pixels, D), a row for each pixel; outside the image and beyond d channels they are 0.
"""

import triton
import triton.language as tl


@triton.jit
def corner(pid, heads, h, w, QY: tl.constexpr, QX: tl.constexpr):
    """A number for image and head together, each of them, and the upper left pixel of a program's rectangle."""
    across = (w + QX - 1) // QX
    tiles = (h + QY - 1) // QY * across
    unit = (pid // tiles).to(tl.int64)
    tile = pid % tiles
    return unit, unit // heads, unit % heads, tile // across * QY, tile % across * QX


@triton.jit
def plane_of(h, w, WIDE: tl.constexpr):
    """The pixels of an image, in 64 bits where planes times pixels need them."""
    if WIDE:
        return h.to(tl.int64) * w
    else:
        return h * w


@triton.jit
def in_window(cell, reach):
    return (cell >= 0) & (cell <= 2 * reach)


@triton.jit
def pointers(base, y, x, sc, sy, sx, D: tl.constexpr):
    c = tl.arange(0, D)
    return base + (y.to(tl.int64) * sy + x.to(tl.int64) * sx)[:, None] + c.to(tl.int64)[None, :] * sc


@triton.jit
def load_pixels(base, y, x, sc, sy, sx, h, w, d: tl.constexpr, D: tl.constexpr):
    """The matrix (pixels, D) of the pixels at rows y and columns x."""
    inside = (y >= 0) & (y < h) & (x >= 0) & (x < w)
    mask = inside[:, None] & (tl.arange(0, D) < d)[None, :]
    return tl.load(pointers(base, y, x, sc, sy, sx, D), mask=mask, other=0.0)


@triton.jit
def load_run(base, y, x, sc, sy, sx, w, d: tl.constexpr, D: tl.constexpr):
    """The matrix (N, D) of the pixels at columns x of row y, one number, which is inside the image."""
    mask = ((x >= 0) & (x < w))[:, None] & (tl.arange(0, D) < d)[None, :]  # the same in every row of the image
    return tl.load(pointers(base, y + 0 * x, x, sc, sy, sx, D), mask=mask, other=0.0)


@triton.jit
def store_pixels(base, b_pixels, y, x, sc, sy, sx, h, w, d: tl.constexpr, D: tl.constexpr):
    """The reverse, in the type of the numbers there."""
    mask = ((y < h) & (x < w))[:, None] & (tl.arange(0, D) < d)[None, :]
    tl.store(pointers(base, y, x, sc, sy, sx, D), b_pixels.to(base.dtype.element_ty), mask=mask)


@triton.jit
def load_table(table, first, last, reach, D: tl.constexpr, A: tl.constexpr):
    """A table of offsets as a matrix (D, A): its channels are first to last of D, its columns 2 reach + 1 of A."""
    c, o = tl.arange(0, D)[:, None], tl.arange(0, A)[None, :]
    mask = (c >= first) & (c < last) & (o <= 2 * reach)
    return tl.load(table + (c - first) * (2 * reach + 1) + o, mask=mask, other=0.0)


@triton.jit
def product(b_a, b_b, PRECISION: tl.constexpr):
    """The product of two matrices, summed in float32."""
    if PRECISION == "interpreted":  # Triton's interpreter multiplies the bits of bfloat16 as if they were whole numbers
        return tl.dot(b_a.to(tl.float32), b_b.to(tl.float32))
    else:
        return tl.dot(b_a, b_b, input_precision=PRECISION)
