"""The site as its readers meet it: served, and driven in a headless browser. SASA_SITE says where it was built."""

import functools
import http.server
import importlib.util
import os
import re
import shutil
import threading
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import pytest

from sasa_tutorial.notebook_runner import find_notebooks

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
LESSON = "notebooks/04_relative_offsets.html"

READY = os.environ.get("SASA_SITE", "")
pytestmark = pytest.mark.skipif(not READY, reason="no site to look at: make site, then SASA_SITE=build/site")


@pytest.fixture(scope="module")
def site() -> Path:
    """What `make site` made."""
    out = Path(READY).resolve()
    assert (out / "index.html").is_file(), f"SASA_SITE={READY} holds no site: make site"
    return out


class Page(HTMLParser):
    """What a page refers to, the anchors it has, and its pictures and meta data."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links, self.anchors, self.images, self.meta = [], set(), [], {}
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.anchors.add(found.get("id"))
        if tag == "img":
            self.images.append(found)
        if tag == "meta":
            self.meta[found.get("name") or found.get("property")] = found.get("content")
        self.links += [found[key] for key in ("href", "src") if found.get(key)]


@pytest.fixture(scope="module")
def pages(site) -> dict[Path, Page]:
    found = (
        path for path in site.rglob("*.html") if "_static" not in path.relative_to(site).parts
    )  # the theme's parts
    return {path: Page(path) for path in found}


def test_every_internal_link_leads_to_a_file_and_an_anchor(pages):
    wrong = []
    for path, page in pages.items():
        for link in page.links:
            address, anchor = urldefrag(link)
            if urlsplit(link).scheme or link.startswith("//"):
                continue
            address = address.partition("?")[0]
            target = (path.parent / unquote(address)).resolve() if address else path
            target = target / "index.html" if target.is_dir() else target
            if not target.is_file() or (anchor and target in pages and unquote(anchor) not in pages[target].anchors):
                wrong.append(f"{path.name}: {link}")
    assert not wrong


def test_every_lesson_and_every_public_name_has_a_page(site):
    from docs.reference import ROOMS

    assert all((site / "notebooks" / f"{notebook.name}.html").is_file() for notebook in find_notebooks())
    for room in ROOMS:
        names = importlib.import_module(f"sasa_tutorial.{room}").__all__
        assert all((site / "api" / f"{room}.{name}.html").is_file() for name in names)


def test_pages_describe_themselves_and_their_pictures(site, pages):
    for path, page in pages.items():
        if path.parent.name == "notebooks":
            assert page.meta["og:image"] and len(page.meta["description"]) > 50, path
            assert all(image.get("alt", "").strip() for image in page.images), path
    assert (site / "sitemap.xml").read_text().count("<loc>") > 40


def test_notebooks_are_offered_as_they_are_committed(site):
    for notebook in find_notebooks():
        assert (site / "_sources" / "notebooks" / notebook.path.name).read_bytes() == notebook.path.read_bytes()


def test_the_machinery_of_a_notebook_is_out_of_the_way(site):
    for path in (site / "notebooks").glob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert "NBVAL_IGNORE_OUTPUT" not in text, path
        assert text.index("Set-up: installation") < text.index("find_spec"), path


@pytest.fixture(scope="module")
def browser():
    if importlib.util.find_spec("playwright") is None:
        pytest.skip("playwright is not installed: pip install -e '.[site]'")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = os.environ.get("SASA_CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
        if found is None and not Path(playwright.chromium.executable_path).is_file():
            pytest.skip("no Chromium: install one, name one in SASA_CHROMIUM, or `playwright install chromium`")
        # Without its sandbox, because containers often run as root; it only sees pages of this test.
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def address(site):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


@pytest.fixture
def visit(browser, address):
    """Open a page; at the end no request has left the site, none has failed, and the console is without errors."""
    context = browser.new_context(color_scheme="light")
    trouble = []

    def opened(path, *, width=1400):
        page = context.new_page()
        page.set_viewport_size({"width": width, "height": 900})
        page.on("request", lambda r: None if r.url.startswith((address, "data:", "blob:")) else trouble.append(r.url))
        page.on("response", lambda r: trouble.append(f"{r.status} {r.url}") if r.status >= 400 else None)
        page.on("console", lambda message: trouble.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.goto(address + path, wait_until="networkidle")
        return page

    yield opened
    context.close()
    assert not trouble


def test_search_finds_the_skew_trick(visit):
    page = visit("search.html?q=skew")
    results = page.locator("#search-results li a")
    results.first.wait_for()
    assert any("06_augmented_convolution" in link.get_attribute("href") for link in results.all())


def test_formulas_are_typeset(visit):
    page = visit(LESSON)
    written = page.locator(".math").count()
    page.wait_for_function(f"document.querySelectorAll('.math mjx-container svg').length == {written}")
    assert written > 50
    assert page.locator("mjx-merror, [data-mjx-error]").count() == 0
    assert not re.search(r"\$\$|\\text\{", page.locator("main").inner_text())


def test_an_explorer_answers_the_keyboard_and_follows_the_theme(visit):
    page = visit(LESSON)
    explorer = page.locator("[id^=explorer-]")
    words = explorer.locator("[aria-live]")
    explorer.locator("canvas").first.focus()
    before = words.inner_text()
    page.keyboard.press("ArrowRight")
    column = int(re.search(r"column (\d+)", before)[1])
    assert f"column {column + 1}." in words.inner_text()
    page.keyboard.press("2")
    assert "weights of head 2" in explorer.inner_text()


def test_dark_mode_switches_and_figures_stay_on_a_light_card(visit):
    page = visit(LESSON)
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.locator(".theme-switch-button").first.click()
    page.get_by_role("button", name="Dark").click()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.wait_for_function(f"{ground} !== '{light}'")
    figure = page.locator(".cell_output img").first
    assert figure.evaluate("e => getComputedStyle(e).backgroundColor") == "rgb(255, 255, 255)"
    assert figure.evaluate("e => getComputedStyle(e).filter") == "none"
    ink = page.locator("[id^=explorer-]").evaluate("e => getComputedStyle(e).color")
    assert ink == page.evaluate("getComputedStyle(document.body).color")
    box = page.locator(".text_html:has([id^=explorer-])")
    assert box.evaluate("e => getComputedStyle(e).backgroundColor") == "rgba(0, 0, 0, 0)", "light words on a light box"


@pytest.mark.parametrize(
    "path", ["index.html", LESSON, "results.html", "ledger.html", "api/layers.AttentionStem2d.html"]
)
def test_nothing_is_wider_than_a_phone(visit, path):
    page = visit(path, width=360)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_on_paper_no_code_is_cut(visit):
    page = visit(LESSON)
    page.emulate_media(media="print")
    cut = page.locator(".cell pre").evaluate_all("all => all.filter(e => e.scrollWidth > e.clientWidth + 1).length")
    assert cut == 0


def test_a_solution_is_folded_until_it_is_asked_for(visit):
    page = visit(LESSON)
    solution = page.locator("details", has=page.get_by_text("Solution", exact=True)).first
    code = solution.locator("pre").first
    assert not code.is_visible()
    solution.locator("summary").click()
    assert code.is_visible()
