"""Every mechanism as nested loops over its equation, in float64, without a line of the library.

Slow on purpose: one number at a time, indices as in the papers, plain Python around `float`.
"""

import math

import numpy as np


def project(weight: np.ndarray, x: np.ndarray, groups: int = 1) -> np.ndarray:
    """A 1x1 convolution: weight (c_out, c_in / groups, 1, 1), x (b, c_in, h, w)."""
    batch, _, height, width = x.shape
    out, each_in = weight.shape[:2]
    y = np.zeros((batch, out, height, width))
    for b in range(batch):
        for i in range(height):
            for j in range(width):
                for o in range(out):
                    group = o // (out // groups)
                    for c in range(each_in):
                        y[b, o, i, j] += weight[o, c, 0, 0] * x[b, group * each_in + c, i, j]
    return y


def softmax(logits: list[float]) -> list[float]:
    top = max(logits)
    powers = [math.exp(logit - top) for logit in logits]
    return [power / sum(powers) for power in powers]


def local_attention(q, k, v, row, col, kernel_size: int) -> tuple[np.ndarray, np.ndarray]:
    """SASA, Eq. 2 and 3; q, k, v (b, heads, d, h, w). Returns the output and the weights (b, heads, h, w, k, k)."""
    batch, heads, d, height, width = q.shape
    reach = kernel_size // 2
    out = np.zeros(v.shape)
    weights = np.zeros((batch, heads, height, width, kernel_size, kernel_size))
    for b in range(batch):
        for head in range(heads):
            for i in range(height):
                for j in range(width):
                    cells, logits = [], []
                    for a in range(i - reach, i + reach + 1):
                        for c in range(j - reach, j + reach + 1):
                            if not (0 <= a < height and 0 <= c < width):
                                continue
                            logit = 0.0
                            for n in range(d):
                                if k is not None:
                                    logit += q[b, head, n, i, j] * k[b, head, n, a, c]
                                if row is not None:  # r is the row's half followed by the column's half
                                    half = len(row)
                                    r = row[n, a - i + reach] if n < half else col[n - half, c - j + reach]
                                    logit += q[b, head, n, i, j] * r
                            cells.append((a, c))
                            logits.append(logit)
                    for (a, c), share in zip(cells, softmax(logits), strict=True):
                        weights[b, head, i, j, a - i + reach, c - j + reach] = share
                        for n in range(v.shape[2]):
                            out[b, head, n, i, j] += share * v[b, head, n, a, c]
    return out, weights


def global_attention(q, k, v, scale: float, offset_logit=None) -> np.ndarray:
    """Every pixel to every pixel; q, k, v (b, heads, d, h, w); offset_logit(q vector, rows apart, columns apart)."""
    batch, heads, d, height, width = q.shape
    out = np.zeros(v.shape)
    pixels = [(i, j) for i in range(height) for j in range(width)]
    for b in range(batch):
        for head in range(heads):
            for i, j in pixels:
                logits = []
                for a, c in pixels:
                    logit = sum(q[b, head, n, i, j] * k[b, head, n, a, c] for n in range(d))
                    if offset_logit is not None:
                        logit += offset_logit(q[b, head, :, i, j], a - i, c - j)
                    logits.append(logit * scale)
                for (a, c), share in zip(pixels, softmax(logits), strict=True):
                    for n in range(v.shape[2]):
                        out[b, head, n, i, j] += share * v[b, head, n, a, c]
    return out


def heads_of(x: np.ndarray, heads: int) -> np.ndarray:
    """(b, c, h, w) -> (b, heads, d, h, w): channel = head · d + i."""
    d = x.shape[1] // heads
    return np.stack([np.stack([x[:, head * d + i] for i in range(d)], 1) for head in range(heads)], 1)


def channels_of(x: np.ndarray) -> np.ndarray:
    """The reverse of `heads_of`."""
    return np.stack([x[:, head, i] for head in range(x.shape[1]) for i in range(x.shape[2])], 1)


def external_attention(q, memory_k, memory_v) -> np.ndarray:
    """EANet, Eq. 5 to 7 with double normalization as two divisions; q (b, heads, d, h, w)."""
    batch, heads, d, height, width = q.shape
    slots = len(memory_k)
    pixels = [(i, j) for i in range(height) for j in range(width)]
    out = np.zeros(q.shape)
    for b in range(batch):
        for head in range(heads):
            raw = [
                [sum(q[b, head, n, i, j] * memory_k[s, n] for n in range(d)) for s in range(slots)] for i, j in pixels
            ]
            over_pixels = [softmax([raw[p][s] for p in range(len(pixels))]) for s in range(slots)]
            for p, (i, j) in enumerate(pixels):
                total = sum(over_pixels[s][p] for s in range(slots))
                for s in range(slots):
                    for n in range(d):
                        out[b, head, n, i, j] += over_pixels[s][p] / total * memory_v[s, n]
    return out


def stem(p: dict[str, np.ndarray], x: np.ndarray, *, block: int, heads: int, mixtures: int, values: str) -> np.ndarray:
    """SASA, Sec. 3.2 and App. A.1, before batch norm and pooling, from the stem's parameters by name."""
    q, k = (heads_of(project(p[f"{name}.weight"], x), heads) for name in ("to_q", "to_k"))
    batch, _, d, height, width = q.shape
    row, col = p["offsets.row"], p["offsets.col"]
    channels = heads * d
    if values == "mixture":
        every = project(p["to_v.weight"], x)
        v = np.zeros((batch, channels, height, width))
        for i in range(height):
            for j in range(width):
                position = p["row_embedding"][i % block] + p["col_embedding"][j % block]
                shares = softmax([float(position @ p["mixture_embedding"][m]) for m in range(mixtures)])
                for m in range(mixtures):
                    v[:, :, i, j] += shares[m] * every[:, m * channels : (m + 1) * channels, i, j]
    elif values == "convolution":
        v = convolution(p["to_v.weight"], x)
    else:
        v = project(p["to_v.weight"], x)
    v = heads_of(v, heads)
    out = np.zeros(q.shape)
    for b in range(batch):
        for head in range(heads):
            for i in range(height):
                for j in range(width):
                    top, left = i // block * block, j // block * block
                    cells = [(a, c) for a in range(top, top + block) for c in range(left, left + block)]
                    logits = []
                    for a, c in cells:
                        r = np.concatenate((row[:, a - i + block - 1], col[:, c - j + block - 1]))
                        logits.append(float(q[b, head, :, i, j] @ (k[b, head, :, a, c] + r)))
                    for (a, c), share in zip(cells, softmax(logits), strict=True):
                        out[b, head, :, i, j] += share * v[b, head, :, a, c]
    return channels_of(out)


def convolution(weight: np.ndarray, x: np.ndarray) -> np.ndarray:
    """A convolution to the same size; an even window has its spare row below and its spare column on the right."""
    batch, _, height, width = x.shape
    out, _, rows, cols = weight.shape
    y = np.zeros((batch, out, height, width))
    for i in range(height):
        for j in range(width):
            for a in range(rows):
                for c in range(cols):
                    r, s = i + a - (rows - 1) // 2, j + c - (cols - 1) // 2
                    if 0 <= r < height and 0 <= s < width:
                        y[:, :, i, j] += x[:, :, r, s] @ weight[:, :, a, c].T
    return y


def augmented_convolution(
    p: dict[str, np.ndarray], x: np.ndarray, *, key_channels: int, heads: int, max_size: tuple[int, int]
) -> np.ndarray:
    """AAConv, Eq. 2 to 4: the convolution's channels, then those of attention with added offsets, scaled together."""
    parts = []
    if "conv.weight" in p:
        parts.append(convolution(p["conv.weight"], x))
    if "to_qkv.weight" in p:
        weight = p["to_qkv.weight"]
        blocks = (weight[:key_channels], weight[key_channels : 2 * key_channels], weight[2 * key_channels :])
        q, k, v = (heads_of(project(block, x), heads) for block in blocks)

        def offset(query: np.ndarray, rows: int, cols: int) -> float:
            if "offsets.row" not in p:
                return 0.0
            return float(query @ (p["offsets.row"][rows + max_size[0] - 1] + p["offsets.col"][cols + max_size[1] - 1]))

        scale = (key_channels // heads) ** -0.5
        parts.append(project(p["to_out.weight"], channels_of(global_attention(q, k, v, scale, offset))))
    return np.concatenate(parts, axis=1)
