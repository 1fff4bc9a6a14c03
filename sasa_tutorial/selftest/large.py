"""Tensors with more than 2^31 numbers: offsets that do not fit into 32 bits."""

import torch
from einops import rearrange
from torch import Tensor

from sasa_tutorial import kernels
from sasa_tutorial.devices import free_memory
from sasa_tutorial.selftest.checking import TOLERANCES, Outcome, compared
from sasa_tutorial.selftest.ways import Way

TITLE = "more than 2^31 numbers in a tensor, and in one image"
KERNEL_SIZE, HEADS, D, SIZE = 7, 8, 16, 32
SIDE = 12_000  # of the one image: 16 channels of it are 2.3e9 numbers
SEEN = 96  # pixels of the corner that is computed again alone
BYTES_A_NUMBER = 26  # q, k, v, out, gradients, queries in float32, planes for each window row and column
SPARE = 6e9


def check_large(way: Way, device: torch.device, seed: int) -> Outcome:
    """Many images: some of them against the same alone, forward and backward. One huge image: its last corner.

    Raises:
        NotImplementedError: too little memory, or a CPU, where it would take minutes.
    """
    if device.type == "cpu":
        raise NotImplementedError("64-bit offsets are tried on GPUs: on a CPU it takes minutes")
    images = 2**31 // (HEADS * D * SIZE**2) + 4
    needed, free = BYTES_A_NUMBER * 2**31 + SPARE, free_memory(device)
    if free < needed:
        raise NotImplementedError(f"it takes {needed / 1e9:.0f} GB of memory, and {free / 1e9:.0f} GB are free")
    torch.manual_seed(seed)
    try:
        with way.chosen():
            many = _many_images(way, images, device)
            free_memory(device)
            return many if many.problem else _one_image(way, device)
    finally:
        free_memory(device)


def _random(images: int, heads: int, side: int, device: torch.device, scale: float = 1.0) -> Tensor:
    x = torch.empty(images, heads * D, side, side, device=device, dtype=torch.bfloat16)
    x = x.to(memory_format=torch.channels_last).normal_(std=scale)
    return rearrange(x, "b (heads d) h w -> b heads d h w", heads=heads)


def _tables(device: torch.device) -> list[Tensor]:
    return [0.5 * torch.randn(D // 2, KERNEL_SIZE, device=device) for _ in range(2)]


def _many_images(way: Way, images: int, device: torch.device) -> Outcome:
    q, k, v = (_random(images, HEADS, SIZE, device, 0.5).requires_grad_() for _ in range(3))
    row, col = _tables(device)
    some = [0, images // 2, images - 2, images - 1]
    out = kernels.local_attention(q, k, v, row, col, kernel_size=KERNEL_SIZE, backend=way.backend)
    upstream = torch.ones((), device=device, dtype=out.dtype).expand_as(out)
    gradients = torch.autograd.grad(out, (q, k, v), upstream)
    found = {"out": out.detach()[some], **dict(zip("qkv", (g[some] for g in gradients), strict=True))}
    del gradients, out
    alone = [x.detach()[some].requires_grad_() for x in (q, k, v)]
    del q, k, v
    out = kernels.local_attention(*alone, row, col, kernel_size=KERNEL_SIZE, backend=way.backend)
    gradients = torch.autograd.grad(out, alone, upstream[: len(some)])
    right = {"out": out.detach(), **dict(zip("qkv", gradients, strict=True))}
    return compared(found, found, {name: x.double() for name, x in right.items()}, TOLERANCES["bfloat16"])


def _one_image(way: Way, device: torch.device) -> Outcome:
    q, k, v = (_random(1, 1, SIDE, device, 0.5) for _ in range(3))
    row, col = _tables(device)
    with torch.no_grad():
        out = kernels.local_attention(q, k, v, row, col, kernel_size=KERNEL_SIZE, backend=way.backend)
        corner = [x[..., -SEEN:, -SEEN:].contiguous() for x in (q, k, v)]
        alone = kernels.local_attention(*corner, row, col, kernel_size=KERNEL_SIZE, backend=way.backend)
    inner = SEEN - KERNEL_SIZE // 2  # the cut edges see less than they do inside the image
    found, right = out[..., -inner:, -inner:], alone[..., -inner:, -inner:]
    return compared({"out": found}, {"out": found}, {"out": right.double()}, TOLERANCES["bfloat16"])
