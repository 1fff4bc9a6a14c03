"""What the Triton programs of local attention share: which pixels are theirs, reading and writing them.

Tiles are (S, D, P), (S, P) or (D, P): S neighbouring pixels of a row and D channels in each of P threads (see
`programs.py`). c are channel numbers (D), y and x the row and column of a pixel for each thread (P).
"""

import triton
import triton.language as tl

LOG2E = tl.constexpr(1.4426950408889634)  # exponentials are to the base 2, which is what the hardware has
LN2 = tl.constexpr(0.6931471805599453)
LOWEST = tl.constexpr(-1.0e30)  # below every logit, and finite: a difference of two of them is not NaN
NOTHING = tl.constexpr(-0.0)  # x + NOTHING is x for every x, so the compiler leaves the sum out


@triton.jit
def now(x, IN_ORDER: tl.constexpr):
    """x, computed before what follows is loaded: else the compiler loads everything first and runs out of registers."""
    if IN_ORDER:
        x = tl.inline_asm_elementwise("mov.b32 $0, $1;", "=f,f", [x], dtype=tl.float32, is_pure=False, pack=1)
    return x


@triton.jit
def anew(x, IN_ORDER: tl.constexpr):
    """x, whole numbers that do not change in a loop, in a way that the compiler cannot know it.

    What follows from them is computed again in each round. Kept from round to round it would not fit into registers.
    """
    if IN_ORDER:
        if x.dtype == tl.int64:
            x = tl.inline_asm_elementwise("mov.b64 $0, $1;", "=l,l", [x], dtype=tl.int64, is_pure=False, pack=1)
        else:
            x = tl.inline_asm_elementwise("mov.b32 $0, $1;", "=r,r", [x], dtype=tl.int32, is_pure=False, pack=1)
    return x


@triton.jit
def place(pid, heads, h, w, S: tl.constexpr, P: tl.constexpr, WIDE: tl.constexpr):
    """A number for image and head together, each of them, the pixels of an image; row and first column of its own."""
    groups = (w + S - 1) // S
    blocks = (groups * h + P - 1) // P
    unit = (pid // blocks).to(tl.int64)
    group = (pid % blocks) * P + tl.arange(0, P)
    y, x = group // groups, group % groups * S
    if WIDE:
        y, x = y.to(tl.int64), x.to(tl.int64)
    return unit, unit // heads, unit % heads, h.to(tl.int64) * w, y, x


@triton.jit
def nearest(position, side):
    """The nearest row or column inside the image."""
    return tl.minimum(tl.maximum(position, 0), side - 1)


@triton.jit
def channels(D: tl.constexpr, WIDE: tl.constexpr):
    c = tl.arange(0, D)
    if WIDE:
        c = c.to(tl.int64)
    return c


@triton.jit
def by_pixel(starts, steps):
    """The pointers (rows, P): starts (rows) + steps (P or (rows, P)), said to run along P.

    They need not, so this is no statement about memory but about who reads: the compiler gives the axis that looks the
    most contiguous to neighbouring threads. Left alone, Triton 3.6 chooses the channels, and every tile then goes
    through shared memory with a barrier to where it is used. Loads stay one number wide, because nothing is known about
    the alignment. The hint has to stand where the sum does: on the argument of a function it is lost.
    """
    return tl.max_contiguous(starts[:, None] + steps, (1, 2))


@triton.jit
def wide_pointers(pixels, D: tl.constexpr, VECTOR: tl.constexpr):
    """(D / VECTOR, VECTOR, P) pointers to the channels of a pixel for each thread, where those lie side by side.

    Pixels start at a multiple of VECTOR numbers, so that a thread moves VECTOR of them at a time; P comes second for
    the reason `by_pixel` gives.
    """
    BYTES: tl.constexpr = VECTOR * pixels.dtype.element_ty.primitive_bitwidth // 8
    i = tl.arange(0, D // VECTOR)[:, None] * VECTOR + tl.arange(0, VECTOR)[None, :]  # (D / VECTOR, VECTOR)
    pointers = tl.multiple_of(pixels[None, None, :] + i[:, :, None], (1, BYTES, 1))
    return i, tl.max_contiguous(pointers, (1, VECTOR, 2))


@triton.jit
def read_column(
    base, c, y, x, sc, sy, sx, h, w,
    d: tl.constexpr, D: tl.constexpr, P: tl.constexpr, VECTOR: tl.constexpr,
):  # fmt: skip
    """The channels (D, P) of one pixel for each thread; outside the image those of the nearest pixel inside.

    Its weight is 0 there, and it lies in the same window as the cell it stands for, so that what is not a number
    spreads no further than it does in the equation. Loads without a mask cost one instruction less each.
    """
    y, x = nearest(y, h), nearest(x, w)
    steps = y * sy + x * sx
    if VECTOR > 0:
        i, wide = wide_pointers(base + steps, D, VECTOR)
        if d == D:
            return tl.reshape(tl.load(wide), [D, P]).to(tl.float32)
        else:
            there = (i < d)[:, :, None] & (0 * y == 0)[None, None, :]
            return tl.reshape(tl.load(wide, mask=there, other=0.0), [D, P]).to(tl.float32)
    pointers = by_pixel(base + c * sc, steps[None, :])
    if d == D:
        return tl.load(pointers).to(tl.float32)
    else:
        return tl.load(pointers, mask=(c < d)[:, None] & (0 * y == 0)[None, :], other=0.0).to(tl.float32)


@triton.jit
def own(
    base, c, y, x, sc, sy, sx, h, w,
    d: tl.constexpr, D: tl.constexpr, S: tl.constexpr, P: tl.constexpr, VECTOR: tl.constexpr,
):  # fmt: skip
    """The channels (S, D, P) of a program's own pixels, whose first column is x.

    Column by column, as the others are read: at once, the compiler would spread S over the threads.
    """
    s = tl.arange(0, S)[:, None, None]
    tile = tl.zeros([S, D, P], tl.float32)
    for i in tl.static_range(S):
        column = read_column(base, c, y, x + i, sc, sy, sx, h, w, d, D, P, VECTOR)
        tile = tl.where(s == i, column[None, :, :], tile)
    return tile


@triton.jit
def write(
    base, tile, c, y, x, sc, sy, sx, h, w,
    d: tl.constexpr, D: tl.constexpr, S: tl.constexpr, P: tl.constexpr, VECTOR: tl.constexpr,
):  # fmt: skip
    """The reverse of `own`."""
    s = tl.arange(0, S)[:, None, None]
    for n in tl.static_range(S):
        steps = y * sy + (x + n) * sx
        mine = (y < h) & (x + n < w)
        column = tl.sum(tl.where(s == n, tile, NOTHING), 0)  # (D, P)
        if VECTOR > 0:
            i, wide = wide_pointers(base + steps, D, VECTOR)
            tl.store(wide, tl.reshape(column, [D // VECTOR, VECTOR, P]), mask=(i < d)[:, :, None] & mine[None, None, :])
        else:
            tl.store(by_pixel(base + c * sc, steps[None, :]), column, mask=(c < d)[:, None] & mine[None, :])


@triton.jit
def read_plane(plane, y, x, h, w, S: tl.constexpr, P: tl.constexpr):
    """One number (S, P) for each pixel of a program."""
    s = tl.arange(0, S)[:, None]
    tile = tl.zeros([S, P], tl.float32)
    for i in tl.static_range(S):
        one = tl.load(plane + (y * w + x + i), mask=(y < h) & (x + i < w), other=0.0)
        tile = tl.where(s == i, one[None, :], tile)
    return tile


@triton.jit
def write_plane(plane, tile, y, x, h, w, S: tl.constexpr):
    """The reverse of `read_plane`."""
    s = tl.arange(0, S)[:, None]
    for i in tl.static_range(S):
        mine = (y < h) & (x + i < w)
        tl.store(plane + (y * w + x + i), tl.sum(tl.where(s == i, tile, NOTHING), 0), mask=mine)


@triton.jit
def row_offset(row, c, a, ry, d_row: tl.constexpr):
    """The offset (D) of window row a: the first d_row channels."""
    return tl.load(row + c * (2 * ry + 1) + a, mask=c < d_row, other=0.0).to(tl.float32)


@triton.jit
def col_mask(c, b, rx, d_row: tl.constexpr, d: tl.constexpr):
    return (c >= d_row) & (c < d) & (0 * c + b <= 2 * rx)  # a tile, because the interpreter stumbles over a scalar


@triton.jit
def col_offset(col, c, b, rx, d_row: tl.constexpr, d: tl.constexpr):
    """The offset (D) of window column b: the other channels."""
    return tl.load(col + (c - d_row) * (2 * rx + 1) + b, mask=col_mask(c, b, rx, d_row, d), other=0.0).to(tl.float32)
