"""Where the project keeps things: in the checkout when there is one, in the current folder when installed from a wheel.

Notebooks run from their own folder under nbval and from the caller's under papermill, so nothing here depends on the
current folder while a checkout is found.
"""

import os
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
SOURCES = (".py", ".c", ".h", ".html", ".toml")


def checkout() -> Path | None:
    """The root of the checkout this package is imported from, or None when it was installed from a wheel."""
    root = PACKAGE.parent
    return root if (root / "pyproject.toml").is_file() and (root / "notebooks").is_dir() else None


def home() -> Path:
    """The folder that `data/` and `build/` are in: the checkout, else the current folder."""
    return checkout() or Path.cwd()


def data_root() -> Path:
    """Where CIFAR-100 lies unless a command says otherwise: `$SASA_DATA`, else `data/`."""
    return _named_in("SASA_DATA", "data")


def build_root() -> Path:
    """What can be made again, runs with checkpoints and executed notebooks: `$SASA_BUILD`, else `build/`."""
    return _named_in("SASA_BUILD", "build")


def learned_root() -> Path | None:
    """Where networks of the pay-offs are kept once they have learned: `$SASA_LEARNED`; without it they are not kept."""
    return _named_in("SASA_LEARNED", "") if os.environ.get("SASA_LEARNED") else None


def _named_in(variable: str, usual: str) -> Path:
    """A variable's folder, tied to the project where it is relative: notebooks run from folders of their own."""
    return home() / Path(os.environ.get(variable) or usual).expanduser()


def shown(path: Path) -> str:
    """A path as messages show it: from the project's folder where it lies inside, the same on every machine."""
    return str(path.relative_to(home())) if path.is_relative_to(home()) else str(path)


def results_root() -> Path:
    """The committed records: `data/results` of the checkout, else the copy inside the installed package."""
    root = checkout()
    return root / "data" / "results" if root else PACKAGE / "recorded"


def weights_root() -> Path:
    """The committed trained weights: `data/weights` of the checkout, else the copy inside the installed package."""
    root = checkout()
    return root / "data" / "weights" if root else PACKAGE / "trained"


def source_files(*rooms: str) -> list[Path]:
    """The library's sources in a fixed order: Python, C with its headers, pages and tables that the code reads.

    Args:
        rooms: only of these, each a folder of the package or a file at its top without the suffix; none for all.
    """
    sources = (path for path in PACKAGE.rglob("*") if path.suffix in SOURCES)
    return sorted(p for p in sources if not rooms or p.relative_to(PACKAGE).parts[0].removesuffix(".py") in rooms)
