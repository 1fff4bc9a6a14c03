"""What the compiler makes of the Triton programs of local attention, without a GPU: a table.

    python scripts/compile_report.py                          # Turing, Ampere and Hopper, all cases
    python scripts/compile_report.py --sm 75 --case "bf16 NHWC d=8" --json

Triton brings NVIDIA's assembler and disassembler, so programs can be compiled for a processor that is not here and
read instruction by instruction. What the table says of each program:

    loop        instructions in the innermost loop: one row of a window, or one tile of keys, for all pixels of a thread
    barriers    BAR instructions in that loop: threads that wait for each other because numbers change hands
    spills      LDL and STL instructions in that loop: numbers that did not fit into the registers
    stack       bytes a thread keeps outside its registers, anywhere in the program
    registers   of a thread; 65,536 divided by them is how many threads an SM holds at a time
    a pixel     warp instructions issued in that loop for each pixel and head: what the arithmetic costs

They are counts of one compiler, not times; those come from `sasa-tutorial bench` on a device. To look at another
Triton, put it in front: `pip install --no-deps --target DIR triton==3.6.0`, then `PYTHONPATH=DIR:. python scripts/…`.
Compiling a program takes about ten seconds; Triton's cache keeps it.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.runtime import driver

from sasa_tutorial.kernels.inputs import Inputs
from sasa_tutorial.kernels.triton import operator as gpu
from sasa_tutorial.kernels.triton import programs, tiled, tiled_programs

BIN = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
SIDE, HEADS, KERNEL_SIZE = 32, 4, 7
SMS = (75, 80, 90)
KINDS = ("forward", "queries", "keys")
CASES = {
    f"{name} {layout} d={d}": (dtype, layout, d)
    for name, dtype, layout, d in (
        ("fp32", torch.float32, "NCHW", 8),
        ("fp32", torch.float32, "NHWC", 8),
        ("bf16", torch.bfloat16, "NHWC", 8),
        ("bf16", torch.bfloat16, "NHWC", 16),
        ("bf16", torch.bfloat16, "NHWC", 32),
        ("fp16", torch.float16, "NHWC", 16),
    )
}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One compiled program, in the words of the table above."""

    program: str
    case: str
    sm: int
    loop: int
    barriers: int
    spills: int
    stack: int
    registers: int
    a_pixel: float


class NoDevice:
    """Stands where Triton looks for a device, and only says what it is."""

    def __init__(self, sm: int):
        self.sm = sm

    def get_current_device(self) -> int:
        return self.sm  # a number of its own for each processor: Triton keeps what it compiled by device

    def get_current_stream(self, *_) -> int:
        return 0

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", self.sm, 32)


class CompileOnly:
    """Stands for a program: a launch compiles it, and hands over what came out and how it would have been launched."""

    def __init__(self, name: str, program, found: list):
        self.name, self.program, self.found = name, program, found

    def __getitem__(self, grid):
        def launch(*arguments, **options):
            compiled = self.program.warmup(*arguments, grid=grid, **options)
            self.found.append((self.name, compiled.asm["cubin"], options))

        return launch


def compile_programs(sm: int, case: str, on_matrix_units: bool = False) -> Iterator[tuple[str, bytes, dict]]:
    """Name, binary and options of each program that the forward and the backward pass of a case launch."""
    dtype, layout, d = CASES[case]
    found = []
    module, start = (tiled_programs, "tiled_") if on_matrix_units else (programs, "")
    original = {name: getattr(module, name) for name in (f"{start}{kind}_program" for kind in KINDS)}
    pays = tiled.pays
    driver.set_active(NoDevice(sm))
    warnings.filterwarnings("error", "local attention goes on in plain PyTorch")  # what does not compile is said here
    try:
        tiled.pays = lambda *_: on_matrix_units
        for name, program in original.items():
            setattr(module, name, CompileOnly(name, program, found))
        x = torch.zeros(1, HEADS * d, SIDE, SIDE, dtype=dtype)
        if layout == "NHWC":
            x = x.to(memory_format=torch.channels_last)
        q = x.unflatten(1, (HEADS, d))
        row, col = (torch.zeros(n, KERNEL_SIZE, dtype=dtype) for n in (d // 2, d - d // 2))
        inputs, reach = Inputs(q, q, q, row, col), [KERNEL_SIZE // 2] * 2
        out, lse = gpu.forward(inputs, reach)
        gpu.backward(out, inputs, out, lse, reach)
    finally:
        tiled.pays = pays
        for name, program in original.items():
            setattr(module, name, program)
    return iter(found)


def suits(sm: int, case: str) -> bool:
    """Whether matrix units are for this case: half precision that the processor's units know, and enough channels."""
    dtype, _, d = CASES[case]
    return d >= tiled.FROM_CHANNELS and (dtype == torch.float16 or (dtype == torch.bfloat16 and sm >= 80))


def read(name: str, case: str, sm: int, binary: bytes, options: dict) -> Row:
    """The row of one program, from its machine code."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(binary)
        file.flush()
        sass, usage = (
            subprocess.run(
                [BIN / "cuobjdump", flag, file.name], capture_output=True, encoding="utf-8", check=True
            ).stdout
            for flag in ("-sass", "-res-usage")
        )
    body = innermost_loop(instructions(sass))
    kinds = [kind.split(".")[0] for kind in body]
    return Row(
        program=name.removesuffix("_program"),
        case=case,
        sm=sm,
        loop=len(body),
        barriers=kinds.count("BAR"),
        spills=kinds.count("LDL") + kinds.count("STL"),
        stack=int(re.search(r"STACK:(\d+)", usage)[1]),
        registers=int(re.search(r"REG:(\d+)", usage)[1]),
        a_pixel=round(rounds(options) * len(body) * options["num_warps"] / own_pixels(options), 1),
    )


def rounds(options: dict) -> int:
    """How often a program goes through its innermost loop: window rows, or tiles."""
    if "N" not in options:
        return KERNEL_SIZE
    return (options["QY"] + KERNEL_SIZE - 1) * -(-(options["QX"] + KERNEL_SIZE - 1) // options["N"])


def own_pixels(options: dict) -> int:
    """How many pixels a program computes."""
    return options["QY"] * options["QX"] if "N" in options else options["S"] * options["P"]


def instructions(sass: str) -> list[tuple[int, str, str]]:
    """(address, name, the rest) of each instruction of a disassembly."""
    lines = re.findall(r"^\s+/\*([0-9a-f]{4,})\*/\s+(?:@!?U?P\w+ )?\s*([A-Z][\w.]*)(.*?);", sass, re.MULTILINE)
    return [(int(address, 16), name, rest) for address, name, rest in lines]


def innermost_loop(found: list[tuple[int, str, str]]) -> list[str]:
    """The names in the longest loop that contains no other; all of them where there is no loop."""
    loops = []
    for address, name, rest in found:
        target = re.search(r"0x([0-9a-f]+)", rest)
        if name.startswith("BRA") and target and int(target[1], 16) < address:
            loops.append((int(target[1], 16), address))
    inner = [(a, b) for a, b in loops if not any((c, e) != (a, b) and a <= c and e <= b for c, e in loops)]
    if not inner:
        return [name for _, name, _ in found]
    first, last = max(inner, key=lambda loop: loop[1] - loop[0])
    return [name for address, name, _ in found if first <= address <= last]


def markdown(rows: list[Row]) -> str:
    """The table of one Triton."""
    head = ("case", "sm", "program", "loop", "barriers", "spills", "stack", "registers", "a pixel")
    body = [
        (r.case, r.sm, r.program, r.loop, r.barriers, r.spills, r.stack, r.registers, f"{r.a_pixel:.1f}") for r in rows
    ]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in (head, ("---",) * len(head), *body))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sm", type=int, action="append", choices=SMS, help="compute capability times ten; repeatable")
    parser.add_argument("--case", action="append", choices=CASES, help="repeatable; without it, all")
    parser.add_argument("--json", action="store_true", help="rows as JSON instead of a table")
    chosen = parser.parse_args()
    rows = []
    for case in chosen.case or CASES:
        for sm in chosen.sm or SMS:
            for on_matrix_units in (False, True) if suits(sm, case) else (False,):
                for name, binary, options in compile_programs(sm, case, on_matrix_units):
                    rows.append(read(name, case, sm, binary, options))
                    print(f"sm_{sm} {case} {name}", file=sys.stderr)
    if chosen.json:
        print(json.dumps({"triton": triton.__version__, "rows": [asdict(row) for row in rows]}))
    else:
        print(f"## Triton {triton.__version__}\n\n{markdown(rows)}")


if __name__ == "__main__":
    main()
