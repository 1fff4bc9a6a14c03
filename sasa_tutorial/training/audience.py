"""Who reads what a run says: somebody at a terminal, or somebody in front of a notebook."""

import sys


def in_notebook() -> bool:
    """Whether this is the kernel of a notebook."""
    shell = sys.modules.get("IPython")
    return shell is not None and hasattr(shell.get_ipython(), "kernel")


def option(name: str) -> str:
    """How the reader asks for an option: --resume at a terminal, resume=True in a notebook."""
    return f"{name}=True" if in_notebook() else f"--{name}"


def stopped(reason: str, step: int, steps: int, kept: str) -> str:
    """That a run was stopped, and how to go on.

    Args:
        reason: by what.
        step: how many steps are done.
        steps: of how many.
        kept: the file that keeps the run; empty for none.
    """
    if in_notebook() and kept:
        return f"Stopped at step {step} of {steps}. Run this cell again to go on."
    where = f"saved in {kept}; go on with --resume" if kept else "not saved"
    return f"stopped by {reason} at step {step} of {steps}; {where}"
