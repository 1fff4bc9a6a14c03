"""Settings of the site. Its pages are made by build.py, which calls Sphinx on them; `make site` calls build.py."""

import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
from docstrings import as_rst  # noqa: E402

from sasa_tutorial import __version__  # noqa: E402
from sasa_tutorial.notebook_runner.mathjax import SCRIPT  # noqa: E402

_URLS = tomllib.loads((HERE.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]

project = "Attention in vision, step by step"
author = "The sasa_tutorial maintainers"
project_copyright = f"{author}, MIT license"
version = release = __version__
html_baseurl = _URLS["Documentation"]
html_title = "Attention in vision"

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "sphinx_design",
    "sphinx_sitemap",
    "sphinxext.opengraph",
]

# Notebooks are shown as they are committed.
nb_execution_mode = "off"
nb_render_markdown_format = "gfm"  # tables of results are Markdown outputs
nb_merge_streams = True
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_dmath_double_inline = True
myst_heading_anchors = 3

# MathJax lies in the site; so does everything else that a page loads.
mathjax_path = SCRIPT

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_use_rtype = False
napoleon_use_ivar = True
maximum_signature_line_length = 80
add_module_names = False
toc_object_entries = False

html_theme = "sphinx_book_theme"
html_static_path = [str(HERE / "static")]
html_css_files = ["site.css"]
html_js_files = ["site.js"]
html_favicon = str(HERE / "static" / "favicon.svg")
html_context = {"default_mode": "auto"}
html_theme_options = {
    "repository_url": _URLS["Homepage"],
    "repository_branch": "main",
    "path_to_docs": "",
    "use_repository_button": True,
    "use_issues_button": True,
    "use_download_button": True,
    "use_fullscreen_button": False,
    "launch_buttons": {"colab_url": "https://colab.research.google.com"},
    "navbar_persistent": [],  # the search of the sidebar is enough
    "show_navbar_depth": 1,
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}

sitemap_url_scheme = "{link}"
ogp_site_url = html_baseurl
ogp_image = "_images/series.png"
ogp_use_first_image = True
ogp_enable_meta_description = True
ogp_social_cards = {"enable": False}  # they would load a font; the first figure of a page is its picture


def setup(app) -> None:
    """Docstrings are plain text with formulas; before Napoleon reads them they become reStructuredText."""
    app.connect("autodoc-process-docstring", lambda *event: as_rst(event[-1]), priority=100)
