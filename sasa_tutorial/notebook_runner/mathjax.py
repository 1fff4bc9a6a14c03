"""MathJax beside the pages, so that formulas need no network."""

import importlib.util
import shutil
from pathlib import Path

from sasa_tutorial.errors import TutorialError

FOLDER = "mathjax"  # where it lies beside the pages
SCRIPT = f"{FOLDER}/tex-svg.js"  # glyphs as paths: no fonts to load
# What tex-svg.js may ask for later: packages named in a formula, and the accessibility entries of its menu.
_PARTS = ("tex-svg.js", "input/tex/extensions", "a11y", "sre/mathmaps/base.json", "sre/mathmaps/en.json")


def copy_mathjax(out: Path) -> None:
    """Put the part of MathJax that typesets TeX, 3 MB, into `<out>/mathjax`; nothing happens where it is already.

    Raises:
        TutorialError: the package that brings it is not installed.
    """
    found = importlib.util.find_spec("mathjax")
    if found is None or not found.submodule_search_locations:
        raise TutorialError("formulas on pages need MathJax: pip install 'sasa-tutorial[notebooks]'")
    static = Path(next(iter(found.submodule_search_locations))) / "static" / "mathjax"
    for part in _PARTS:
        source, target = static / "es5" / part, out / FOLDER / part
        if target.exists():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, target) if source.is_dir() else shutil.copyfile(source, target)
    shutil.copyfile(static / "LICENSE", out / FOLDER / "LICENSE")
