"""Figures of attention draw the numbers they are given, and the explorer is small, its own, and holds its weights."""

import base64
import json
import re
import shutil
import subprocess
from fractions import Fraction
from io import BytesIO
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from matplotlib.colors import to_hex, to_rgb
from matplotlib.patches import Rectangle
from PIL import Image

from sasa_tutorial import datasets, ledger, lessons, teaching
from sasa_tutorial.experiments import STUDIES
from sasa_tutorial.experiments.comparison import compare
from sasa_tutorial.experiments.result_tables import NOT_RUN
from sasa_tutorial.experiments.results import row_of
from sasa_tutorial.experiments.studies import EXTENT, GROUPS, LARGE, LESSONS, LOGITS, SLOTS, STEM, WIDTH
from sasa_tutorial.experiments.tried import TRIED
from sasa_tutorial.models import sasa_resnet
from sasa_tutorial.teaching import (
    ACCENT,
    MECHANISM_COLOURS,
    animation,
    attention_over_image,
    best_guesses,
    check_answer,
    entering,
    explorer,
    growth_of_time,
    layer_times,
    maps_of_queries,
    moved_and_held,
    other_recorded_studies,
    paying_off,
    photograph,
    preferences_of_heads,
    published_and_ours,
    recorded_study,
    recorded_trials,
    roofline,
    shared_loads,
    time_shares,
    use_style,
    walks_to_memory,
    windows_of_queries,
)
from sasa_tutorial.teaching.ablation_figures import in_words
from sasa_tutorial.training.profiles import PROFILES
from sasa_tutorial.training.records import append_record
from tests.test_experiments import recorded

HEADS, H, W = 3, 4, 5


@pytest.fixture(autouse=True)
def style():
    plt.switch_backend("agg")
    with plt.rc_context():
        use_style()
        yield
    plt.close("all")


def picture(height: int = 8, width: int = 10) -> torch.Tensor:
    return torch.randint(0, 256, (3, height, width), dtype=torch.uint8)


def softmax(*shape: int, over: int = 2) -> torch.Tensor:
    """Weights that sum to 1 over the last axes."""
    return torch.randn(*shape).flatten(-over).softmax(dim=-1).unflatten(-1, shape[-over:])


def drawn(ax) -> torch.Tensor:
    return torch.from_numpy(np.asarray(ax.images[0].get_array()))


# Attention over an image


@pytest.mark.parametrize("heads", [1, 3, 4, 5, 8])
def test_the_image_and_the_weights_are_drawn_as_they_are_on_one_scale(heads):
    image, weights = picture(), softmax(heads, H, W)
    first, *panels = attention_over_image(image, weights, (1, 2))
    assert torch.equal(drawn(first), image.permute(1, 2, 0))
    assert len(panels) == heads
    for panel, head in zip(panels, weights, strict=True):
        assert torch.equal(drawn(panel), head)
        assert panel.images[0].get_clim() == (0, weights.max().item())
    assert first.figure.axes[-1].get_ylabel() == "attention weight"
    width, height = first.figure.get_size_inches()
    assert width <= 6 and height <= 3


def test_the_query_is_framed_in_every_panel_whatever_its_resolution():
    first, *panels = attention_over_image(picture(8, 10), softmax(HEADS, H, W), (1, 2))
    for ax, scale in ((first, 2), *((panel, 1) for panel in panels)):
        frame = ax.patches[0]
        centre = (frame.get_x() + frame.get_width() / 2, frame.get_y() + frame.get_height() / 2)
        assert centre == pytest.approx((2.5 * scale - 0.5, 1.5 * scale - 0.5))
        assert frame.get_width() >= scale, "the frame stands around the cell and hides nothing of it"
        assert to_hex(frame.get_edgecolor()).upper() == ACCENT and not frame.get_fill()


def test_titles_are_those_of_the_heads():
    panels = attention_over_image(picture(), softmax(2, H, W), (0, 0), titles=("content", "position"))
    assert [ax.get_title() for ax in panels] == ["query (0, 0)", "content", "position"]
    with pytest.raises(ValueError, match="3 heads, got 1"):
        attention_over_image(picture(), softmax(3, H, W), (0, 0), titles=("content",))


def test_too_many_heads_and_a_query_outside_are_refused():
    with pytest.raises(ValueError, match="at most 8 heads fit, got 9"):
        attention_over_image(picture(), softmax(9, H, W), (0, 0))
    with pytest.raises(ValueError, match=r"\(4, 0\) lies outside the map of 4 x 5"):
        attention_over_image(picture(), softmax(1, H, W), (4, 0))


# Windows in their place


# Tables of offsets


# The explorer


def data_of(page: str) -> dict:
    """What the page's own script reads."""
    return json.loads(re.search(r"^const data = (\{.*\});$", page, re.M)[1])


def identity(page: str) -> str:
    return re.search(r'<div id="([^"]+)"', page)[1]


def decoded(data: dict) -> torch.Tensor:
    heads, height, width, rows, cols = data["shape"]
    levels = torch.tensor([data["digits"].index(digit) for digit in data["weights"]], dtype=torch.float64)
    largest = torch.tensor(data["largest"], dtype=torch.float64).reshape(height, width, 1, 1, 1)
    values = levels.reshape(height, width, heads, rows, cols) / (len(data["digits"]) - 1) * largest
    return values.permute(2, 0, 1, 3, 4)


@pytest.mark.parametrize(
    ("shape", "local"), [((2, 4, 5, 4, 5), False), ((3, 4, 5, 3, 3), True), ((1, 3, 3, 3, 3), False)]
)
def test_the_explorer_holds_the_weights_to_half_a_level(shape, local):
    weights = softmax(*shape).requires_grad_()
    data = data_of(explorer(picture(), weights, name="toy").data)
    assert data["local"] is local
    largest = weights.detach().double().amax(dim=(0, 3, 4), keepdim=True)
    assert torch.all((decoded(data) - weights.detach()).abs() <= 1.01 * largest / 63 / 2)
    assert torch.allclose(torch.tensor(data["largest"], dtype=torch.float64), largest.flatten(), rtol=1e-3)


def test_the_explorer_holds_the_image(tmp_path):
    image = picture()
    data = data_of(explorer(image, softmax(1, H, W, H, W), name="toy").data)
    file = tmp_path / "image.png"
    file.write_bytes(base64.b64decode(data["image"].removeprefix("data:image/png;base64,")))
    assert np.array_equal(np.round(255 * plt.imread(file)[..., :3]), image.permute(1, 2, 0).numpy())


def test_the_explorer_opens_on_the_most_selective_head():
    weights = softmax(3, H, W, H, W)
    weights[1] = 0
    weights[1, :, :, 0, 0] = 1  # all of it on one pixel
    assert data_of(explorer(picture(), weights, name="toy").data)["head"] == 1
    assert data_of(explorer(picture(), weights.flip(0)[:2], name="toy").data)["head"] == 1
    assert data_of(explorer(picture(), torch.ones(2, H, W, 3, 3), name="toy").data)["head"] == 0


def test_the_explorer_is_deterministic_and_its_own():
    image, weights = picture(), softmax(2, H, W, 3, 3)
    page = explorer(image, weights, name="toy").data
    assert page == explorer(image.clone(), weights.clone(), name="toy").data
    others = [
        explorer(255 - image, weights, name="toy").data,
        explorer(image, weights.flip(0), name="toy").data,
        explorer(image, weights, name="other").data,
    ]
    assert len({identity(page), *map(identity, others)}) == 4
    assert page.count(identity(page)) == 2, "the element, and the script that looks for it"


def test_the_explorer_stands_alone_and_speaks_without_scripts():
    page = explorer(picture(), softmax(1, H, W, H, W), name="</script><b>&").data
    assert not re.search(r"https?:|\bsrc=|<link|@import|import\(|fetch\(", page)
    assert page.count("</script>") == 1 and "<b>" not in page
    assert data_of(page)["name"] == "</script><b>&"
    without_script = re.sub(r"<script>.*</script>", "", page, flags=re.S)
    assert "needs JavaScript" in without_script and "Run this cell" in without_script


@pytest.mark.parametrize("shape", [(4, 8, 8, 8, 8), (2, 16, 16, 7, 7), (3, 16, 16, 7, 7), (8, 16, 16, 7, 7)])
def test_what_the_lessons_show_fits(shape):
    assert len(explorer(picture(32, 32), softmax(*shape), name="a picture of noise").data.encode()) <= 120_000


def test_too_many_weights_are_refused_with_a_way_out():
    with pytest.raises(ValueError, match=r"\d\d,\d{3} bytes, more than 120,000: 131,072 weights.* fewer heads"):
        explorer(picture(), softmax(2, 16, 16, 16, 16), name="toy")


@pytest.mark.parametrize(
    ("image", "weights", "message"),
    [
        (picture().float(), softmax(1, H, W, H, W), "uint8 image"),
        (picture()[0], softmax(1, H, W, H, W), r"\(3, H, W\)"),
        (picture(), softmax(H, W, H, W), "4-D"),
        (picture(), softmax(1, H, W, 2, 2), "2 x 2 weights are neither the map of 4 x 5 nor a window"),
        (picture(), -softmax(1, H, W, H, W), "not negative; the smallest is -"),
        (picture(), softmax(1, H, W, H, W) * torch.nan, "finite"),
    ],
)
def test_what_is_no_image_and_no_weights_is_refused(image, weights, message):
    with pytest.raises(ValueError, match=message):
        explorer(image, weights, name="toy")


# A page of the least that the explorer's script asks of a browser; `INK` is the colour of the text around it.
BROWSER = """
const made = [];
const pen = new Proxy({}, {get: () => () => {}, set: () => true});
const element = () => ({
  style: {}, dataset: {}, listeners: {}, attributes: {}, textContent: "",
  append() {}, focus() {}, getContext: () => pen,
  setAttribute(name, value) { this.attributes[name] = value; },
  addEventListener(name, listener) { this.listeners[name] = listener; },
});
const root = Object.assign(element(), {id: "root"});
globalThis.getComputedStyle = () => ({color: INK});
globalThis.Image = class {};
globalThis.document = {
  createElement: () => (made.push(element()), made.at(-1)),
  querySelectorAll: () => [root],
};
SCRIPT
const press = (key, more = {}) => {
  let taken = false;
  root.listeners.keydown({key, ...more, preventDefault() { taken = true; }, stopPropagation() {}});
  return taken;
};
const keys = ["ArrowDown", "2", "b"].map((key) => press(key)).concat(press("2", {ctrlKey: true}));
const words = made.map((one) => one.textContent).filter((text) => text.startsWith("Query"));
console.log(JSON.stringify({dataset: root.dataset, css: made[0].textContent, keys, words}));
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="node, which runs the explorer's script, is not installed")
@pytest.mark.parametrize("ink", ["rgba(0, 0, 0, 0.87)", "rgb(255, 255, 255)", "rgb(200, 200, 200)"])
def test_the_explorer_keeps_its_keys_and_can_be_read_on_any_page(ink):
    page = explorer(picture(), softmax(2, 4, 5, 4, 5), name="toy").data
    script = page.partition("<script>")[2].partition("</script>")[0]
    program = BROWSER.replace("INK", json.dumps(ink)).replace("SCRIPT", script)
    done = subprocess.run(["node", "-"], input=program, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["dataset"] == {"ready": "yes", "lmSuppressShortcuts": "true"}, "data-lm-suppress-shortcuts of Lumino"
    assert found["keys"] == [True, True, False, False] and found["words"][0].startswith("Query: row 3, column 2.")
    text, ground = re.search(r"color: (#\w+); background: (#\w+);", found["css"]).groups()
    assert contrast(text, ground) > 12
    assert (luminance(text) > luminance(ground)) == ("0, 0, 0" not in ink), "as light or dark as the page"


def luminance(colour: str) -> float:
    """Of WCAG."""
    parts = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in to_rgb(colour)]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_a_query_without_any_weight_is_drawn_as_zeros():
    weights = softmax(1, H, W, H, W)
    weights[:, 0, 0] = 0
    assert torch.equal(decoded(data_of(explorer(picture(), weights, name="toy").data))[:, 0, 0], torch.zeros(1, H, W))


# What was measured


def times(median: float) -> dict:
    return {"median": median, "low": 0.9 * median, "high": 1.2 * median}


def curve(factor: str, name: str, values: tuple[int, ...], power: float, *, spread: float | None = None) -> dict:
    points = [{"value": v, "both": times(v**power), "ns_per_pixel": 7.0 * v**power} for v in values]
    return {"factor": factor, "name": name, "points": points, "exponent": power, "spread": spread}


LAYERS = {"convolution 3x3": 20.0, "convolution 7x7": 80.0, "attention, unfold": 1000.0, "attention, native": 10.0}
SPEEDS = {"convolution": 400.0, "local_attention": 200.0, "relative_offsets": 100.0}
GROWTH = {"convolution 3x3": 0.0, "convolution k x k": 2.0, "attention": 1.5}
MEASURED = {
    "layers": [{"name": name, "both": times(ms)} for name, ms in LAYERS.items()],
    "network": [
        {
            "name": n,
            "images_per_second": s * width,
            "of_convolution": s / 400,
            "setting": {"depth": 26, "width": width, "batch": 8},
        }
        for width in (1.0, 0.25)
        for n, s in SPEEDS.items()
    ],
    "growth": [
        *(curve("kernel_size", name, (3, 5, 7, 9, 11), power) for name, power in GROWTH.items()),
        *(curve("batch", name, (8, 16), power) for name, power in GROWTH.items()),
        *(curve("size", name, (16, 32, 256), 0.1, spread=1.32) for name in GROWTH),
    ],
}


def texts(ax) -> list[str]:
    return [text.get_text() for text in ax.texts]


def test_dots_of_layers_lie_at_their_multiple_of_the_convolution():
    ax = layer_times(MEASURED)
    assert not ax.patches, "a bar has no foot on a logarithmic axis"
    assert ax.collections[-1].get_offsets()[:, 0].tolist() == pytest.approx([1, 4, 50, 0.5])
    assert texts(ax) == ["1", "4", "50", "0.5"] and ax.get_xscale() == "log"
    assert [label.get_text() for label in ax.get_yticklabels()] == list(LAYERS)


def test_every_factor_but_the_size_has_a_panel_with_its_exponents():
    panels = growth_of_time(MEASURED)
    assert [ax.get_xlabel() for ax in panels] == ["images a batch", "window k"]
    for ax, values in zip(panels, ((8, 16), (3, 5, 7, 9, 11)), strict=True):
        assert sorted(texts(ax)) == ["0.0", "1.5", "2.0"]
        for text in ax.texts:  # stands at the end of its own line
            assert text.xy == pytest.approx((values[-1], values[-1] ** float(text.get_text())))
        for line, power in zip(ax.lines, GROWTH.values(), strict=True):
            assert np.allclose(line.get_xdata(), values)
            assert np.allclose(line.get_ydata(), [value**power for value in values])
    assert [label.get_text() for label in panels[1].get_xticklabels()] == ["3", "5", "7", "", "11"], "9 touches 11"


def test_labels_of_lines_that_end_together_do_not_overlap():
    crowded = {
        "growth": [curve("batch", name, (8, 16), power) for name, power in zip(GROWTH, (1, 1.01, 0.99), strict=True)]
    }
    (ax,) = growth_of_time(crowded)
    boxes = sorted((text.get_window_extent() for text in ax.texts), key=lambda box: box.y0)
    assert all(below.y1 <= above.y0 + 1 for below, above in pairwise(boxes))


def test_what_is_carried_to_memory_is_added_up():
    many, one = walks_to_memory(7, 8)
    assert many.get_title() == "one operator after the other: 224" and one.get_title() == "fused: 4.1"
    assert {"1", "49", "50", "6.1", "55.1"} <= set(texts(many))


@pytest.mark.parametrize("draw", [layer_times, growth_of_time])
def test_figures_of_measurements_fit(draw):
    draw(MEASURED)
    width, height = plt.gcf().get_size_inches()
    assert width <= 6 and height <= 3


# From FLOPs to seconds

POINTS = {
    "convolution 3x3": (2e9, 2e7, 0.02),
    "attention, unfold": (1e9, 4e9, 1.0),
    "attention, native": (1e9, 1e8, 0.02),
}


def test_points_lie_at_their_intensity_and_rate_under_the_ceilings():
    ax = roofline(POINTS, flops_per_second=2e11, bytes_per_second=2e10)
    roof, *points = ax.lines
    assert np.allclose(roof.get_xdata()[1], 10) and np.allclose(roof.get_ydata()[1:], 200), "the ridge, in GFLOP/s"
    assert roof.get_ydata()[0] == pytest.approx(20 * roof.get_xdata()[0])
    found = {line.get_label(): (line.get_xdata()[0], line.get_ydata()[0]) for line in points}
    assert found == {name: pytest.approx((f / b, f / t / 1e9)) for name, (f, b, t) in POINTS.items()}
    assert ax.get_xscale() == ax.get_yscale() == "log"
    for x, y in found.values():
        assert ax.get_xlim()[0] < x < ax.get_xlim()[1] and ax.get_ylim()[0] < y < ax.get_ylim()[1]
    said = ["fastest arithmetic: 200 GFLOP/s", "slope, a copy: 20 GB/s", "dotted, the ridge: 10 FLOPs a byte"]
    assert texts(ax) == said
    ends = [collection.get_segments()[0][:, 1] for collection in ax.collections[1:]]  # from each point to its roof
    roofs = [min(200, 20 * flops / moved) for flops, moved, _ in POINTS.values()]
    assert [end.max() for end in ends] == pytest.approx(roofs)
    colours = [to_hex(line.get_color()).upper() for line in points]
    assert colours == [MECHANISM_COLOURS[name] for name in ("convolution", "relative_offsets", "relative_offsets")]


def test_what_is_moved_and_what_is_held_have_a_panel_each():
    rows = {"unfold": (275.0, 49.0), "fused": (4.125, 1.0)}
    panels = moved_and_held(rows, dict.fromkeys(rows, "relative_offsets"))
    assert [[bar.get_width() for bar in ax.patches] for ax in panels] == [[275, 4.125], [49, 1]]
    assert [texts(ax) for ax in panels] == [["275", "4.1"], ["49", "1"]]


def test_the_slice_of_the_keys_walks_and_its_planes_of_logits_stay():
    """Frame n shows the first n planes beside keys and queries; the slice is as far from the middle as its cell."""

    def frame_and_planes(frame):
        ax = teaching.shifts_schematic(frame)
        slices = [p for p in ax.artists + ax.patches if (p.get_width(), p.get_height()) == (5, 4)]
        (where,) = [(round(p.get_x() - 4.7, 6), p.get_y()) for p in slices]
        return where, len(ax.images) - 2

    assert teaching.SHIFTS_FRAMES == 11
    found = [frame_and_planes(frame) for frame in (0, 1, 2, 4, 9, 10)]
    assert found == [((0, 0), 9), ((0, 0), 1), ((1, 0), 2), ((0, 1), 4), ((2, 2), 9), ((0, 0), 9)]
    plt.close("all")


@pytest.mark.parametrize(("kernel_size", "lanes"), [(7, 8), (3, 4), (5, 16)])
def test_the_shared_load_lies_in_the_windows_of_all_pixels(kernel_size, lanes):
    ax = shared_loads(kernel_size, lanes)
    shapes = {shape.get_label(): shape for shape in ax.patches if shape.get_label()}
    upper, frame, lower, frame_below, load = shapes.values()
    reach = kernel_size // 2
    assert load.get_width() == lanes
    for pixels, window in ((upper, frame), (lower, frame_below)):
        assert pixels.get_width() == lanes
        assert window.get_width() == window.get_height() == kernel_size
        centre = (window.get_x() + reach, window.get_y() + reach)
        assert centre == pixels.get_xy(), "the window is that of the vector's first pixel"
        across, down = load.get_x() - pixels.get_x(), load.get_y() - pixels.get_y()
        assert max(abs(across), abs(down)) <= reach, "the same cell of each pixel's window"


def test_shares_of_time_follow_one_another_to_a_hundred():
    shares = {"a": {"convolutions": 0.5, "attention": 0.3, "rest": 0.2}}
    shares["b"] = {"convolutions": 0.97, "attention": 0.0, "rest": 0.03}
    ax = time_shares(shares, {"convolutions": "convolution", "attention": "relative_offsets"}, label="share (%)")
    spans = [(bar.get_x(), bar.get_width()) for bar in ax.patches]
    assert spans == [pytest.approx(span) for span in ((0, 50), (0, 97), (50, 30), (97, 0), (80, 20), (97, 3))]
    assert texts(ax) == ["50", "97", "30", "20"], "a number where there is room for it"
    assert to_hex(ax.patches[2].get_facecolor()).upper() == MECHANISM_COLOURS["relative_offsets"]


@pytest.mark.parametrize(
    "draw",
    [
        shared_loads,
        lambda: roofline(POINTS, flops_per_second=2e11, bytes_per_second=2e10),
        lambda: moved_and_held({"a": (1, 1)}, {"a": "convolution"}),
        lambda: time_shares({"a": {"rest": 1}}, {}, label="share"),
    ],
)
def test_figures_of_flops_and_seconds_fit(draw):
    draw()
    width, height = plt.gcf().get_size_inches()
    assert width <= 6 and height <= 3


# Trained networks and a photograph


def test_photographs_are_means_over_areas():
    small, large = photograph(), photograph(512)
    assert small.shape == (3, 32, 32) and small.dtype == torch.uint8
    blocks = large.float().unflatten(2, (32, 16)).unflatten(1, (32, 16))
    assert torch.equal(small, blocks.mean(dim=(2, 4)).round().to(torch.uint8))
    sky = small[:, :8, 28:].float().mean(dim=(1, 2))
    assert sky[2] > sky[1] > sky[0], "blue, upright and in the order red, green, blue"
    with pytest.raises(ValueError, match="got 513"):
        photograph(513)
    rocket = photograph(subject="rocket").float().mean(dim=0)
    assert rocket[12:26, 15:17].mean() > 1.4 * rocket[12:26, 2:8].mean(), "light, in the middle of a night"
    cup = photograph(subject="coffee_cup").float()
    assert cup[0].mean() > 1.2 * cup[2].mean(), "wood and coffee are brown"
    with pytest.raises(ValueError, match="1 to 384 pixels, got 385"):
        photograph(385, "rocket")
    with pytest.raises(ValueError, match="hopper, rocket, coffee_cup, got 'cat'"):
        photograph(subject="cat")


def test_entering_catches_what_a_layer_receives_and_leaves_no_hook():
    first, second = torch.nn.Conv2d(3, 4, 1), torch.nn.Conv2d(4, 2, 1)
    network, x = torch.nn.Sequential(first, second), torch.randn(1, 3, 5, 6)
    assert torch.equal(entering(network, second, x), first(x))
    assert not second._forward_pre_hooks
    with pytest.raises(ValueError, match="did not call this layer"):
        entering(network, torch.nn.Conv2d(3, 4, 1), x)


def test_best_guesses_are_in_order():
    logits = torch.zeros(1, 100)
    logits[0, 35], logits[0, 98] = 3.0, 5.0
    guesses = best_guesses(logits, 2)
    assert list(guesses) == ["woman", "girl"] and 1 > guesses["woman"] > guesses["girl"] > 0


def test_windows_are_drawn_where_the_queries_are_also_at_a_corner():
    image, weights = picture(8, 10), softmax(2, 4, 5, 3, 3)
    (whole,), *rows = windows_of_queries(image, weights, {"left": (0, 0), "middle": (2, 3)})
    assert torch.equal(drawn(whole), image.permute(1, 2, 0)) and len(whole.patches) == 2
    for (i, j), (pixels, *heads) in zip(((0, 0), (2, 3)), rows, strict=True):
        assert all(torch.allclose(drawn(ax), weights[head, i, j]) for head, ax in enumerate(heads))
        assert torch.allclose(
            drawn(pixels)[2:4, 2:4], image[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].permute(1, 2, 0) / 255
        )
    assert (drawn(rows[0][0])[:2] == 229 / 255).all(), "grey outside the image"


def test_below_a_window_stands_how_many_pixels_count():
    even = torch.full((1, 3, 3, 5, 5), 1 / 25)
    _, (_, ax) = windows_of_queries(picture(6, 6), even, {"all": (1, 1)})
    assert ax.get_xlabel() == "25 px"


def test_maps_of_queries_stand_beside_each_other():
    maps = {"eye": softmax(2, 3, 4, 5), "sky": softmax(2, 3, 4, 5)}
    _, *rows = maps_of_queries(picture(8, 10), maps, {"eye": (1, 1), "sky": (0, 4)}, ("a", "b", "c"))
    for head, panels in enumerate(rows):
        expected = torch.cat([maps["eye"][head], maps["sky"][head]])
        assert all(torch.allclose(drawn(ax), weights) for ax, weights in zip(panels, expected, strict=True))


def test_two_queries_are_compared_untrained_and_trained():
    heads = {"one": {name: softmax(4, 5, 4, 5) for name in ("untrained", "trained")}}
    (row,) = teaching.maps_of_two_queries([(picture(8, 10), {"A": (3, 2), "B": (7, 9)}, heads)])
    _, untrained, first, second = row
    for ax, name, place in ((untrained, "untrained", (1, 1)), (first, "trained", (1, 1)), (second, "trained", (3, 4))):
        assert torch.allclose(drawn(ax), heads["one"][name][place])
    assert [ax.get_title() for ax in row[1:]] == ["\nA untrained", "one\nA", "\nB"]


def test_maps_of_a_head_share_a_scale_if_asked():
    maps = {"eye": softmax(2, 3, 4, 5), "sky": softmax(2, 3, 4, 5)}
    places = {"eye": (1, 1), "sky": (0, 4)}
    _, *rows = maps_of_queries(picture(8, 10), maps, places, ("a", "b", "c"), one_scale=True)
    for head, panels in enumerate(rows):
        largest = max(float(ways[head].max()) for ways in maps.values())
        assert all(ax.images[0].get_clim() == pytest.approx((0, largest)) for ax in panels)


def test_two_questions_share_one_scale_and_pixels_have_shapes():
    kinds, wanted = torch.arange(6).reshape(2, 3) % 4, torch.tensor([[[0.0, 1, 0], [1, 1, 0]]] * 2)
    (whole,), *rows = teaching.two_questions(picture(2, 3), kinds, wanted, {"a layer": wanted / 2})
    assert sum(len(line.get_xdata()) for line in whole.lines) == 6
    assert len({line.get_marker() for line in whole.lines}) == 4
    for row, panels in enumerate(rows):
        assert torch.allclose(drawn(panels[0]), wanted[row]) and torch.allclose(drawn(panels[1]), wanted[row] / 2)
        assert all(ax.images[0].get_clim() == (0, 1) for ax in panels)


def test_the_schematic_of_the_augmented_layer_fits():
    ax = teaching.augmented_convolution_schematic()
    assert tuple(ax.figure.get_size_inches()) <= (6, 3)
    assert {"content", "row", "column", "weights"} <= {text.get_text() for text in ax.texts}
    ax.figure.canvas.draw()
    frame = ax.get_window_extent()
    assert all(frame.x0 - 1 <= t.get_window_extent().x0 and t.get_window_extent().x1 <= frame.x1 + 6 for t in ax.texts)


def test_preferences_are_centred_and_share_one_scale():
    rows = {"start": torch.randn(2, 3, 3) + 5, "trained": 4 * torch.randn(2, 3, 3)}
    grid = preferences_of_heads(rows)
    assert torch.allclose(drawn(grid[0][1]), rows["start"][1] - rows["start"][1].mean())
    assert len({ax.images[0].get_clim() for panels in grid for ax in panels}) == 1


# Ablations

LOST = {"status": "diverged", "val_top1": None, "test_top5": None}


def ablation_records():
    return [
        *recorded(EXTENT["3 x 3"], {0: 70.0, 1: 71.0, 2: 73.0}),
        *recorded(EXTENT["5 x 5"], {0: None}, **LOST),
        *recorded(EXTENT["7 x 7"], {0: 74.0}),
        *recorded(EXTENT["9 x 9"], {0: 75.0}),
        *recorded(EXTENT["9 x 9"], {1: None}, **LOST),
    ]


def test_every_run_is_a_dot_and_two_make_a_mean():
    published, ours = published_and_ours(EXTENT, compare(EXTENT, ablation_records(), "full"))
    circles = [line for line in published.lines if line.get_marker() == "o"]
    points = [(line.get_xdata()[0], line.get_ydata()[0]) for line in circles]
    assert points == [(76.4, 0), (77.2, 1), (77.4, 2), (77.7, 3)], "11 x 11 has not run"
    assert all(line.get_markerfacecolor() == "white" for line in circles)
    dots = [list(line.get_xdata()) for line in ours.lines if line.get_marker() == "o"]
    assert dots == [[70.0, 71.0, 73.0], [], [74.0], [75.0]]
    (mean,) = [line for line in ours.lines if line.get_marker() == "D"]
    assert mean.get_xdata()[0] == pytest.approx(214 / 3)
    assert not [line for line in ours.lines if line.get_linestyle() == "-" and len(line.get_xdata()) == 2], (
        "with one seed of the reference there is no interval"
    )
    assert texts(ours) == ["1 diverged", "1 diverged"]


def test_a_bar_is_the_interval_of_the_difference_laid_from_the_reference():
    """So it crosses the dotted line exactly where the comparison alone is not decided at 5 %."""
    values = {"3 x 3": [70.0, 70.2, 70.4], "5 x 5": [73.8, 73.9, 74.0], "7 x 7": [74.0, 74.1, 74.3]}
    records = [r for name, runs in values.items() for r in recorded(EXTENT[name], dict(enumerate(runs)))]
    comparisons = compare(EXTENT, records, "full")
    _, ours = published_and_ours(EXTENT, comparisons)
    bars = [line.get_xdata() for line in ours.lines if line.get_linestyle() == "-" and len(line.get_xdata()) == 2]
    far, near, _ = (c.difference for c in comparisons)
    reference = np.mean(values["7 x 7"])
    assert bars == [pytest.approx([reference + d.low, reference + d.high]) for d in (far, near)]
    assert bars[0][1] < reference < bars[1][1] and far.p < 0.05 < near.p
    diamonds = [line for line in ours.lines if line.get_marker() == "D"]
    hollow = [line.get_markerfacecolor() == "white" for line in diamonds]
    assert hollow == [False, True, False], "filled: decided, and the reference"


def test_both_panels_have_one_scale_and_a_point_stays_small():
    def spans(panels):
        return [ax.get_xlim()[1] - ax.get_xlim()[0] for ax in panels]

    narrow = [r for k in ("5 x 5", "7 x 7") for r in recorded(EXTENT[k], {0: 74.0, 1: 74.1})]
    published, ours = spans(published_and_ours(EXTENT, compare(EXTENT, narrow, "full")))
    assert published == pytest.approx(ours) and ours > 4
    wide = [r for k, top1 in (("5 x 5", 60), ("7 x 7", 74)) for r in recorded(EXTENT[k], {0: top1, 1: top1 + 0.1})]
    published, ours = spans(published_and_ours(EXTENT, compare(EXTENT, wide, "full")))
    assert published == pytest.approx(ours) and ours > 14


def test_a_network_with_its_own_reference_has_its_mean_beside_it():
    records = [
        r
        for place, entry in enumerate(WIDTH.entries)
        for r in recorded(entry, {s: 70 + place + s / 9 for s in range(3)})
    ]
    (ax,) = published_and_ours(WIDTH, compare(WIDTH, records, "full"))
    short = [line for line in ax.lines if line.get_linestyle() == ":" and line.get_ydata()[0] > 0]
    assert [line.get_xdata()[0] for line in short] == pytest.approx([70 + 1 / 9, 74 + 1 / 9])


def test_the_reference_is_marked_in_both_panels():
    panels = published_and_ours(EXTENT, compare(EXTENT, ablation_records(), "full"))
    marks = [[line.get_xdata()[0] for line in ax.lines if line.get_linestyle() == ":"] for ax in panels]
    assert marks == [[77.4], [74.0]]
    weights = {label.get_text(): label.get_fontweight() for label in panels[0].get_yticklabels()}
    assert weights == {"3 x 3": "normal", "5 x 5": "normal", "7 x 7": "bold", "9 x 9": "normal"}


def test_without_published_numbers_there_is_one_panel():
    (only,) = published_and_ours(SLOTS, compare(SLOTS, [*recorded(SLOTS["8 slots"], {0: 70.0})], "full"))
    assert [label.get_text() for label in only.get_yticklabels()] == ["8 slots"]
    label = "SASA ResNet-26, 200 epochs"
    records = [r for name in ("Wide-ResNet-28-10", label) for r in recorded(LARGE[name], {0: 70.0})]
    published, _ = published_and_ours(LARGE, compare(LARGE, records, "full"))
    assert texts(published) == ["no number"]


@pytest.mark.parametrize("amount", [1, 3])
@pytest.mark.parametrize("chosen", [s for s in STUDIES if s is not TRIED], ids=lambda chosen: chosen.name)
def test_figures_of_ablations_fit_and_cut_nothing_off(chosen, amount):
    records = [
        r
        for place, entry in enumerate(chosen.entries)
        for r in recorded(entry, {seed: 70 + place / 2 + seed**2 / 9 for seed in range(amount)})
    ]
    figure = published_and_ours(chosen, compare(chosen, records, "full"))[0].figure
    width, height = figure.get_size_inches()
    assert width <= 6 and height <= 3
    figure.draw_without_rendering()
    for ax in figure.axes:
        for label in (*ax.get_yticklabels(), ax.xaxis.label, *ax.texts):
            box = label.get_window_extent()
            assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.width and box.y1 <= figure.bbox.height
    heights = [label.get_window_extent() for label in figure.axes[0].get_yticklabels()]
    assert all(above.y0 >= below.y1 for above, below in pairwise(heights)), "names do not touch"


@pytest.mark.parametrize("chosen", [s for s in STUDIES if s.metric == "test_top1"], ids=lambda chosen: chosen.name)
def test_a_study_in_words_says_the_lowest_and_the_highest(chosen):
    records = [r for place, entry in enumerate(chosen.entries) for r in recorded(entry, {0: 70 + place, 1: 70 + place})]
    words = in_words(chosen, compare(chosen, records, "full"))
    assert 5 <= len(words.split()) <= 60
    assert f"from 70.0 % ({chosen.entries[0].label}) to {69 + len(chosen.entries)}.0 %" in words
    assert ("published" in words) == any(entry.published for entry in chosen.entries)


def test_an_ablation_at_a_glance_has_both_networks_and_the_difference():
    ax = teaching.ablation_schematic([57.0, 58.0, 59.0], [53.0, 54.0, 55.0], 0.7)
    assert {"+4.0", "58.0 %", "54.0 %", "luck alone: ± 0.7", "with the part r", "without it"} <= set(texts(ax))
    assert texts(ax).count("r") == 4 and texts(ax).count("3 seeds") == 2


def test_one_run_each_is_ranked_by_it():
    left, right = teaching.one_run_or_ten(torch.tensor([[70.0, 74.0], [71.0, 70.0]]))
    assert [line.get_xdata()[0] for line in left.lines] == [71.0, 70.0]
    assert [list(line.get_xdata()) for line in right.lines] == [[71.0, 70.0], [70.5], [70.0, 74.0], [72.0]]


def test_runs_that_arrive_one_by_one_keep_the_axes():
    runs = torch.tensor([[70.0, 74.0], [71.0, 70.0]])
    (left, right), (_, all_of_them) = teaching.one_run_or_ten(runs, 1), teaching.one_run_or_ten(runs)
    assert (left.get_title(), right.get_title()) == ("one run each", "1 run each")
    assert [list(line.get_xdata()) for line in right.lines] == [[71.0], [71.0], [70.0], [70.0]]
    assert right.get_xlim() == all_of_them.get_xlim() and right.get_xlim()[1] > 74


def test_own_spreads_are_in_order_and_the_odd_one_stands_out():
    ax = teaching.own_spreads(
        {"wild": [60.0, 66.0, 63.0], "quiet": [70.0, 70.01, 70.02], "usual": [50.0, 51.0, 52.0]}, 1.0
    )
    assert [label.get_text() for label in ax.get_yticklabels()] == ["quiet", "usual", "wild"]
    points = [line for line in ax.lines if line.get_marker() in ("o", "D")]
    assert [line.get_marker() for line in points] == ["D", "o", "D"]
    assert [round(float(line.get_xdata()[0]), 2) for line in points] == [0.01, 1.0, 3.0]
    many = teaching.own_spreads({f"network {number}": [60.0, 61.0, 62.0] for number in range(30)}, 1.0)
    assert many.figure.get_figheight() / 30 > 8 / 72 * 1.4  # room for labels of 8 points


def test_then_and_now_share_a_scale():
    accuracies = {"none": ([16.0, 17.0], [53.0, 54.0]), "relative": ([16.5, 16.0], [57.0, 58.0])}
    before, after, tables = teaching.then_and_now(accuracies, ([0.99, 0.98], [0.3, 0.5, 0.6]))
    assert before.get_ylim()[1] - before.get_ylim()[0] == after.get_ylim()[1] - after.get_ylim()[0]
    assert [list(line.get_ydata()) for line in tables.lines] == [[0.99, 0.98], [0.3, 0.5, 0.6]]


def test_marks_of_twins_carry_their_letters():
    images = datasets.synthetic_cifar100(1000)
    alike, unlike = (images.subset(images.labels == label).images[:5] for label in (90, 91))
    panels = teaching.marked_twins(alike, unlike)
    letters = [[text.get_text() for text in ax.texts] for ax in panels]
    assert all(len(pair) == 2 for pair in letters)
    assert all(a == b for a, b in letters[:5]) and all(a != b for a, b in letters[5:])


def test_the_pixel_that_asks_is_framed_in_image_and_weights():
    images = datasets.synthetic_cifar100(100).images[:2]
    weights = torch.full((2, 32, 32), 1 / 1024)
    panels = teaching.asked_by_one_pixel(images, weights, [(3, 4), (20, 9)], ("one", "other"))
    assert [ax.get_title() for ax in panels] == ["one", "what it reads", "other", "what it reads"]
    assert [ax.patches[0].get_xy() for ax in panels] == [(3, 2), (3, 2), (8, 19), (8, 19)]


def test_the_best_guess_of_every_network_is_a_bar_that_is_filled_where_it_is_right():
    rocket, worm = (datasets.class_names.CIFAR100_CLASS_NAMES.index(word) for word in ("rocket", "worm"))
    sure = torch.full((2, 100), 0.2 / 99)
    sure[0, rocket], sure[1, worm] = 0.8, 0.8
    images = torch.stack([photograph(32, subject) for subject in ("rocket", "coffee_cup")])
    confidences = {"convolution": sure, "global_attention": sure}
    *_, left, right = teaching.guesses_of_networks(images, confidences, ("rocket", "cup"))
    assert texts(left) == ["rocket, 80 %"] * 2 and texts(right) == ["worm, 80 %"] * 2
    assert [label.get_text() for label in left.get_yticklabels()] == ["01 convolution", "02 global attention"]
    assert to_hex(left.patches[1].get_facecolor()) == MECHANISM_COLOURS["global_attention"].lower()
    assert to_hex(right.patches[1].get_facecolor()) == "#ffffff"


def test_accuracies_of_the_lessons_say_how_many_seeds():
    records = [
        r for place, entry in enumerate(LESSONS.entries) for r in recorded(entry, {0: 60 + place, 1: 61 + place})
    ]
    rows = [row_of(entry, "full", records) for entry in LESSONS.entries]
    ax = teaching.lesson_accuracies(rows)
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert names[0] == "01 convolution" and names[-1] == "07 external attention"
    assert texts(ax)[:2] == ["60.5 %", "2"] and texts(ax)[-4:] == ["mean", "seeds", "params", "FLOPs"]


def test_the_map_has_room_for_four_lessons_after_the_mechanisms():
    questions = {lesson.name: lesson.question for lesson in lessons.LESSONS}
    ax = teaching.series_map(questions, ("one", "two", "three", "four"))
    assert {"08", "11", "four"} <= set(texts(ax))
    with pytest.raises(ValueError, match="at most 4 later notebooks fit, got 5"):
        teaching.series_map(questions, ("a", "b", "c", "d", "e"))


@pytest.fixture
def shown(tmp_path, monkeypatch):
    """What is displayed, and the file that the records are read from: none at first."""
    file, texts = tmp_path / "records.jsonl", []
    monkeypatch.setattr("sasa_tutorial.teaching.ablations.committed_records", lambda: file)
    monkeypatch.setattr(
        "IPython.display.display",
        lambda what, **options: texts.append(getattr(what, "data", None) or options["metadata"]["image/png"]["alt"]),
    )
    return file, texts


def test_a_study_shows_table_figure_and_conclusion_of_the_records(shown):
    file, texts = shown
    recorded_study("stem")
    (text,) = texts
    assert text.startswith("Published (SASA, Table 7") and NOT_RUN in text and not plt.get_fignums()
    for place, entry in enumerate(STEM.entries):
        for run in recorded(entry, {0: 20.0, 1: 21.5, 2: 22.0}, "laptop", device="a laptop", date=str(place)):
            append_record(file, run)
    recorded_study("stem")
    assert texts[1].count("| 21.2 ± 1.0 | 3 |") == 4 and "Here (laptop, " in texts[3]
    assert texts[2].startswith("Test top-1 of the study's networks") and not plt.get_fignums()
    with pytest.raises(ValueError, match="no study is called 'steam'"):
        recorded_study("steam")


def test_all_other_studies_are_in_one_table(shown):
    """Pairs that a study in depth has shown come again only where something else was published about them."""
    file, texts = shown
    other_recorded_studies("lessons")
    assert texts == [NOT_RUN]
    entries = (*LESSONS.entries, *GROUPS.entries[:3], LOGITS["q·r"])
    for place, entry in enumerate(entries):
        for run in recorded(entry, {s: 60 + 2 * place + s / 3 for s in range(3)}, "evening", date=str(place)):
            append_record(file, run)
    other_recorded_studies("lessons")
    head, table = texts[1].split("\n\n")
    assert head == f"**evening**, {PROFILES['evening'].recipe.epochs} epochs:"
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:]]
    by_study = {row[0].partition("]")[0][1:]: [r for r in rows if r[0] == row[0]] for row in rows}
    assert [row[1] for row in by_study["groups"]] == [
        "attention in 1, 2, 3, 4",
        "attention in 2, 3, 4",
        "attention in 3, 4",
    ]
    assert "share" not in by_study and "lessons" not in by_study, "nothing new, nothing published"
    (gates,) = by_study["recalibration"]
    assert gates[1:4] == ["augmented convolution", "convolution", "+1.3"] and gates[5:] == ["3 and 3", "confirmed"]
    assert gates[4].startswith("+10.0 (+9.") and by_study["logits"][0][0] == "[logits](04_relative_offsets.ipynb)"
    assert not any("tried" in row[0] or "recipe" in row[0] for row in rows)
    with pytest.raises(ValueError, match="no study is called 'lesson'"):
        other_recorded_studies("lesson")


def test_trials_are_shown_with_their_gains(shown):
    file, texts = shown
    recorded_trials()
    assert texts == [NOT_RUN]
    for place, entry in enumerate(TRIED.entries[:2]):
        for run in recorded(entry, {0: 50.0}, "evening", val_top1=40.0 + place, date=str(place)):
            append_record(file, run)
    recorded_trials()
    assert texts[1].startswith(f"**evening**: {TRIED.question}") and "| 41.0 | +1.00 |" in texts[1]


# Checks of answers


@pytest.mark.parametrize(
    "answer",
    [
        [1.0, 2.0, 4.0],
        (1, 2, 4),
        np.array([1.0, 2.0, 4.0]),
        torch.tensor([1, 2, 4]),
        [np.float32(1), torch.tensor(2.0), 4],
        {4, 1, 2},
        [Fraction(1), Fraction(4, 2), 4],
    ],
    ids=["list", "tuple", "numpy", "torch", "mixed", "set", "fractions"],
)
@pytest.mark.parametrize(
    "expected", [[1.0, 2.0, 4.0], torch.tensor([1.0, 2.0, 4.0]), np.array([1.0, 2.0, 4.0]), [1, 2, 4]]
)
def test_an_answer_is_right_in_whatever_it_comes(answer, expected, capsys):
    assert check_answer(answer, expected, hint="") is True
    assert capsys.readouterr().out == "Right.\n"


@pytest.mark.parametrize(
    ("answer", "expected", "said"),
    [
        ([1.0, 2.5, 4.0], [1.0, 2.0, 4.0], "number 2 of 3, 2.5 is off by 0.5."),
        ((1, 3, 5), [1, 2, 4], "number 2 of 3, 3 is not it, and 1 more."),
        (torch.zeros(2, 2), torch.tensor([[0.0, 0.0], [0.0, 1.0]]), "at [1, 1], 0 is off by 1."),
        (2.5, 2.0, "2.5 is off by 0.5."),
        ([1.0, 2.0], [1.0, 2.0, 4.0], "expected shape (3,), got (2,)."),
        (1.0, [1.0, 2.0], "expected 2 values, got 1."),
        ([1.0, 2.0], 1.0, "expected one value, got 2."),
        ("two", 2.0, "'two' is not it."),
        (float("nan"), 2.0, "nan is not a number."),
        ({1: 2}, 2.0, "a dict is not a number."),
        ([[True], [False]], [[True], [True]], "at [1, 0], False is not it."),
        ([("a", "b")], [("a", "c")], "at [0, 1], 'b' is not it."),
        (np.zeros((2, 3)), torch.zeros(3, 2), "expected shape (3, 2), got (2, 3)."),
    ],
    ids=str,
)
def test_a_wrong_answer_is_told_which_number_is_off(answer, expected, said, capsys):
    assert check_answer(answer, expected, hint="look.") is False
    assert capsys.readouterr().out == f"Not yet: {said} Hint: look.\n"


def test_checks_know_infinity_and_what_is_open(capsys):
    inf = float("inf")
    assert check_answer(torch.tensor([-inf, 1.0]), torch.tensor([-inf, 1.0]), hint="")
    assert check_answer(torch.tensor([0.0, 1.0]), torch.tensor([-inf, 1.0]), hint="") is False
    capsys.readouterr()
    for answer in (None, ..., [None, 1.0], [torch.ones(2), ...]):
        assert check_answer(answer, [1.0, 1.0], hint="") is None
    assert capsys.readouterr().out.count("Open: ") == 4
    assert check_answer([], [], hint="") is True and check_answer([("a",)], [], hint="") is False


def test_tolerance_is_relative_to_the_largest_number_and_none_for_counts():
    assert check_answer([1000.0, 1.5], [1000.0, 1.0], hint="", tolerance=1e-3) is True
    assert check_answer([1000.0, 2.5], [1000.0, 1.0], hint="", tolerance=1e-3) is False
    assert check_answer([1000.0001], [1000], hint="", tolerance=1e-3) is False, "a count is exact"
    assert check_answer(torch.tensor([3]), torch.tensor([4]), hint="", tolerance=0) is False


def test_a_shown_figure_carries_its_words(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda data, **options: shown.append((data, options)))
    plt.figure()
    teaching.show("A line that rises from left to right.")
    (data, options) = shown[0]
    assert options["metadata"] == {"image/png": {"alt": "A line that rises from left to right."}}
    assert base64.b64decode(data["image/png"])[:4] == b"\x89PNG"
    assert not plt.get_fignums(), "shown once, not again by the notebook"
    with pytest.raises(ValueError, match="no figure"):
        teaching.show("Nothing.")
    with pytest.raises(ValueError, match="description"):
        teaching.show(" ")


def test_a_loop_plays_its_frames_and_ends_by_itself(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda data, **options: shown.append((data, options)))
    grounds = [(1, 1, 1), (0, 0, 1), (1, 0, 0)]  # white stays white
    teaching.show_loop(lambda frame: plt.figure(figsize=(1, 0.5), facecolor=grounds[frame]), 3, "A square.", rest=2)
    (data, options) = shown[0]
    assert options["metadata"] == {"image/png": {"alt": "A square."}}
    loop = Image.open(BytesIO(base64.b64decode(data["image/png"])))
    assert (loop.n_frames, loop.info["loop"]) == (3, 3), "nothing may move for ever"
    seen, lasts = [], []
    for frame in range(3):
        loop.seek(frame)
        seen.append(tuple(level / 255 for level in loop.convert("RGB").getpixel((5, 5))))
        lasts.append(loop.info["duration"])
    assert seen == grounds
    assert lasts[2] - lasts[1] == pytest.approx(2000, abs=2), "it rests on the last"
    assert not plt.get_fignums()
    with pytest.raises(ValueError, match="at least 2 frames"):
        teaching.show_loop(lambda frame: plt.figure(), 1, "One.")
    with pytest.raises(ValueError, match="one size"):
        teaching.show_loop(lambda frame: plt.figure(figsize=(1 + frame, 1)), 2, "Growing.")
    noise = torch.rand(12, 200, 300, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match="300,000 are the most"):
        teaching.show_loop(lambda frame: plt.figure(figsize=(6, 3)).figimage(noise[frame]), 12, "Noise.")


# Loops, of which what stands still is drawn once and lies as pixels below what moves


STANDING = {  # left, top, right and bottom of what does not move, in pixels
    teaching.convolution_schematic: (
        *((15, 38, 192, 215), (227, 88, 304, 165), (73, 10, 135, 25), (223, 10, 307, 25), (341, 10, 411, 25)),
        *((488, 11, 556, 25), (203, 118, 215, 131), (313, 122, 327, 129), (415, 116, 451, 136)),
        *((46, 228, 188, 239), (224, 174, 305, 199), (460, 218, 585, 230), (464, 239, 581, 250)),
    ),
    teaching.global_attention_schematic: (
        *((10, 65, 106, 159), (132, 65, 226, 159), (252, 64, 349, 160), (374, 65, 470, 159), (17, 18, 96, 53)),
        *((151, 15, 206, 53), (256, 15, 344, 51), (381, 15, 462, 53), (508, 16, 577, 53), (111, 106, 125, 115)),
        *((232, 106, 246, 115), (355, 105, 366, 117), (475, 106, 489, 115), (515, 172, 570, 181)),
    ),
    teaching.local_attention_schematic: (
        *((4, 59, 136, 187), (156, 32, 216, 96), (233, 32, 293, 96), (310, 32, 370, 96), (387, 32, 455, 96)),
        *((167, 10, 208, 20), (250, 10, 279, 22), (320, 10, 363, 22), (376, 10, 461, 22), (51, 40, 85, 51)),
        *((514, 40, 551, 51), (156, 103, 350, 113)),
    ),
    teaching.relative_offsets_schematic: (
        *((211, 157, 297, 272), (177, 189, 205, 280), (151, 278, 333, 289), (16, 235, 130, 258)),
        *((51, 51, 95, 64), (186, 5, 321, 18), (193, 114, 314, 125), (160, 137, 324, 150), (397, 87, 454, 100)),
        *((538, 114, 586, 126), (481, 121, 531, 144), (476, 147, 535, 154), (143, 79, 205, 123)),
        *((142, 159, 170, 200), (301, 77, 374, 135), (304, 170, 372, 218)),
    ),
    teaching.attention_stem_schematic: (
        *((15, 105, 95, 186), (170, 28, 251, 109), (300, 28, 381, 109), (9, 88, 101, 100), (144, 11, 276, 23)),
        *((316, 11, 363, 21), (280, 267, 400, 278), (419, 88, 521, 100), (554, 114, 591, 128)),
        *((93, 34, 157, 46), (101, 53, 148, 86), (152, 66, 164, 74), (255, 38, 294, 72), (385, 81, 430, 118)),
        *((385, 167, 425, 204), (380, 131, 414, 153), (515, 132, 550, 149), (99, 100, 294, 154)),
        *((99, 160, 293, 224), (120, 211, 181, 237)),
    ),
    teaching.external_attention_schematic: (
        *((30, 20, 121, 111), (30, 190, 121, 281), (220, 20, 341, 111), (220, 187, 341, 281), (502, 284, 548, 295)),
        *((153, 120, 351, 180), (360, 127, 518, 153), (360, 160, 519, 172), (53, 4, 97, 15), (117, 4, 183, 16)),
        *((240, 4, 320, 16), (368, 4, 451, 14), (502, 4, 548, 15), (53, 284, 97, 295), (161, 284, 399, 293)),
    ),
}


def in_one_piece(monkeypatch, draw, frame=0):
    """A frame whose standing parts are artists too, on the axes of those that move."""

    def stage(still, *given, size, **limits):
        ax = animation._only_axes(plt.figure(figsize=size, layout="none"), **limits)
        still(ax, *given)
        return ax

    with monkeypatch.context() as patch:
        patch.setitem(draw.__globals__, "stage", stage)
        return draw(frame)


def coloured(cells) -> int:
    """How many cells of a collection are not white."""
    return int((cells.get_facecolor()[:, :3] != 1).any(axis=1).sum())


def pixels_of(ax) -> np.ndarray:
    ax.figure.canvas.draw()
    drawn = np.asarray(ax.figure.canvas.buffer_rgba())[..., :3].astype(int)
    plt.close(ax.figure)
    return drawn


@pytest.mark.parametrize("draw", STANDING, ids=lambda draw: draw.__name__)
def test_what_stands_still_in_a_loop_is_where_it_would_be_if_it_were_drawn_every_time(draw, monkeypatch):
    for frame in (0, 1, 6, 12):
        drawn = pixels_of(draw(frame))
        assert np.abs(drawn - pixels_of(in_one_piece(monkeypatch, draw, frame))).max() <= 1
        for left, top, right, bottom in STANDING[draw]:
            ink = (drawn[top:bottom, left:right] < 250).any(axis=-1)
            edges = ink[:3].any(), ink[-3:].any(), ink[:, :3].any(), ink[:, -3:].any()
            assert all(edges), f"something misses between ({left}, {top}) and ({right}, {bottom}) of frame {frame}"


def test_the_window_of_the_convolution_walks_and_leaves_its_sums_behind():
    """Frame n shows the first n sums; the first and the last show them all. Each sum is that of its nine products."""

    def numbers(frame, left, right):
        texts = teaching.convolution_schematic(frame).texts
        cells = [text for text in texts if left < text.get_position()[0] < right and 1 < text.get_position()[1] < 6]
        plt.close("all")
        return [int(text.get_text().replace("−", "-")) for text in cells if text.get_text().lstrip("−").isdigit()]

    shown = [numbers(frame, 17.6, 22.6) for frame in (0, 1, 2, 25, 26)]
    assert [len(sums) for sums in shown] == [25, 1, 2, 25, 25]
    image = F.pad(torch.ones(1, 1, 3, 3), (1, 1, 1, 1))
    kernel = torch.tensor([[-1.0, 0, 1]] * 3)[None, None]
    assert shown[0] == F.conv2d(image, kernel, padding=1).flatten().int().tolist()
    for frame in (1, 8, 20):
        assert sum(numbers(frame, 12.8, 15.8)) == shown[0][frame - 1]
    assert teaching.CONVOLUTION_FRAMES == 27


def test_the_network_of_the_loop_costs_what_the_ledger_counts():
    """In frame n, the first n - 1 blocks attend."""
    for frame, groups in ((1, ()), (4, (1,)), (8, (1, 2)), (14, (1, 2, 3)), (17, (1, 2, 3, 4)), (0, (1, 2, 3, 4))):
        with torch.device("meta"):
            counted = ledger.count(sasa_resnet(50, attention_groups=groups), 224)
        said = " ".join(text.get_text() for text in teaching.network_schematic(frame).texts)
        plt.close("all")
        params, flops = f"{counted.params / 1e6:.1f}", f"{counted.explicit_flops / 1e9:.1f}"
        assert f"{params}{' of 25.6' if groups else ''} M" in said and f"{flops}{' of 8.2' if groups else ''} G" in said
    assert teaching.NETWORK_FRAMES == 18


def test_the_places_to_stride_are_as_tall_as_their_images_and_the_printed_count_is_bold():
    counted = {"attend, then pool": 6.97, "pool, then attend": 6.12, "pool after the block": 9.74}
    ax = teaching.places_to_stride(counted, 7.0)
    bold = [text.get_text() for text in ax.texts if text.get_weight() == "bold"]
    assert bold == ["attend, then pool", "6.97 GFLOPs"]
    # Four steps a row; three of them are boxes, the pool is a polygon that halves both sides.
    heights = [patch.get_height() for patch in ax.patches if isinstance(patch, Rectangle)]
    assert heights == [5.6, 5.6, 2.8, 5.6, 2.8, 2.8, 5.6, 5.6, 5.6]
    plt.close("all")


def test_kernels_lie_with_their_numbers_on_what_they_make_of_a_photograph():
    photo = teaching.photograph(16, "coffee_cup")
    axes = teaching.kernels_on_a_photograph(
        photo, {"rows": torch.eye(3), "all": -torch.ones(3, 3)}, [torch.eye(16)] * 2
    )
    assert [ax.get_title() for ax in axes] == ["photograph", "rows", "all"]
    assert [text.get_text() for text in axes[2].child_axes[0].texts] == ["−1"] * 9
    plt.close("all")


def test_the_query_of_global_attention_walks_and_its_output_grows(monkeypatch):
    """Frame n shows the first n output pixels; the first and the last show them all, and the marks change colours."""

    def outputs(frame):
        ax = teaching.global_attention_schematic(frame)
        cells = [cell for cell in ax.artists + ax.patches if cell.get_fill() and cell.get_x() >= 4 * 5.1]
        return [cell.get_facecolor()[:3] for cell in cells]

    assert [len(outputs(frame)) for frame in (0, 1, 2, 16, 17)] == [16, 1, 2, 16, 16]
    assert teaching.GLOBAL_ATTENTION_FRAMES == 18
    whole = outputs(0)
    orange, blue = (np.array(to_rgb(colour)) for colour in ("#E69F00", "#0072B2"))
    for place, other in ((4, blue), (11, orange)):
        assert np.abs(whole[place] - other).max() < 0.2
    logits = torch.zeros(16)
    logits[4], logits[11] = -4, 4
    words = [text.get_text() for text in in_one_piece(monkeypatch, teaching.global_attention_schematic).texts]
    assert [word for word in words if word.startswith(".")] == [f"{w:.2f}"[1:] for w in logits.softmax(dim=0).tolist()]
    plt.close("all")


@pytest.mark.parametrize("draw", [teaching.relative_offsets_schematic, teaching.network_schematic])
def test_schematics_fit_and_their_words_do_not_touch(draw, monkeypatch):
    figure = in_one_piece(monkeypatch, draw).figure
    assert tuple(figure.get_size_inches()) <= (6, 3)
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts if text.get_text()]
    assert all(box.x0 >= 0 and box.x1 <= figure.bbox.width and box.y0 >= 0 for box in boxes)
    assert not any(one.overlaps(other) for place, one in enumerate(boxes) for other in boxes[:place])


def test_the_schematic_of_offsets_computes_what_it_shows(monkeypatch):
    words = [text.get_text() for text in in_one_piece(monkeypatch, teaching.relative_offsets_schematic).texts]
    logits = torch.tensor([[-3.0, -1, 1], [6, 0, 10], [-3, -1, 1]])
    weights = logits.flatten().softmax(dim=0)
    assert [word for word in words if word.startswith(".")] == [f"{weight:.2f}"[1:] for weight in weights.tolist()]


def test_red_walks_with_the_same_offsets_and_comes_back(monkeypatch):
    """Pixel by pixel, inside the picture, never onto a blue one; only what is there changes."""
    own = teaching.relative_offsets_schematic.__globals__
    walk = own["_WALK"]
    steps = [abs(i - k) + abs(j - m) for (i, j), (k, m) in pairwise(walk)]
    assert walk[0] == walk[-1] and set(steps) == {1} and not set(walk) & set(own["_BLUE_PIXELS"])
    seen = []
    for frame in range(teaching.OFFSETS_FRAMES):
        ax = in_one_piece(monkeypatch, teaching.relative_offsets_schematic, frame)
        ax.figure.draw_without_rendering()
        boxes = [text.get_window_extent() for text in ax.texts if text.get_text()]
        assert all(box.x0 >= 0 and box.x1 <= ax.figure.bbox.width for box in boxes)
        assert not any(one.overlaps(other) for place, one in enumerate(boxes) for other in boxes[:place])
        numbers = [text for text in ax.texts if re.fullmatch(r"[+−]?\d", text.get_text())]
        offsets, content = numbers[6:15], numbers[15:24]  # what stands still comes first: rows, columns, their sums
        seen.append(tuple(text.get_text() for text in content))
        assert [text.get_text() for text in offsets] == ["−3", "−1", "+1", "−2", "0", "+2", "−3", "−1", "+1"]
        plt.close(ax.figure)
    assert len(set(seen)) > 6 and seen[0] == ("0", "0", "0", "+8", "0", "+8", "0", "0", "0")


def test_the_skew_trick_writes_and_reads_line_by_line():
    """Frame n of the loop: the first n lines of four are in the strip; from frame 5 on it is read, five lines."""
    key = torch.arange(4)[:, None] + torch.arange(-3, 4)
    names = torch.where((key >= 0) & (key < 4), 4 * torch.arange(4)[:, None] + key, -2)
    padded = torch.nn.functional.pad(names, (0, 1), value=-1)
    strip = torch.nn.functional.pad(padded.flatten(), (0, 3), value=-1)
    rows = strip.view(5, 7)

    def keys(frame):
        ax = teaching.skew_steps(names, padded, strip, rows, rows[:4, 3:], frame=frame)
        drawn = [text.get_position() for text in ax.texts if text.get_text() in "0123" and text.get_weight() == "bold"]
        plt.close(ax.figure)
        return sum(9 < y < 11 for _, y in drawn), sum(y > 13 and x < 10 for x, y in drawn)

    assert [keys(frame) for frame in (0, 1, 4, 5, 8, 9)] == [(16, 16), (4, 0), (16, 0), (16, 4), (16, 16), (16, 16)]
    assert keys(teaching.SKEW_FRAMES - 1) == (16, 16)


def test_a_task_is_learned_where_it_can_be_and_not_where_it_cannot():
    def sign(count, seed):
        inputs = torch.randn(count, 2, generator=torch.Generator().manual_seed(seed))
        return inputs, (inputs[:, 0] > 0).long()

    def coin(count, seed):
        return sign(count, seed)[0], torch.randint(2, (count,), generator=torch.Generator().manual_seed(seed + 1))

    torch.manual_seed(0)
    learned = teaching.learn(torch.nn.Linear(2, 2), sign, steps=100, rate=0.1)
    assert not learned.training and not any(p.requires_grad for p in learned.parameters())
    assert teaching.share_right(learned, sign) > 0.97
    assert 0.4 < teaching.share_right(teaching.learn(torch.nn.Linear(2, 2), coin, steps=100), coin) < 0.6
    with pytest.raises(ValueError, match="steps"):
        teaching.learn(torch.nn.Linear(2, 2), sign, steps=0)


def test_what_was_learned_is_kept_for_the_same_network_and_task_alone(monkeypatch, tmp_path):
    def task(count, seed, shift=0.0):
        inputs = torch.randn(count, 2, generator=torch.Generator().manual_seed(seed))
        return inputs, (inputs[:, 0] > shift).long()

    def network(gain=1.0, bias=True):
        torch.manual_seed(0)
        scaled = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
        scaled[0].bias.requires_grad_(bias)
        scaled.forward = lambda x: gain * scaled[1](scaled[0](x))
        return scaled

    def state(learned):
        return [value.clone() for value in learned.state_dict().values()]

    kept = tmp_path / "kept"
    monkeypatch.setenv("SASA_LEARNED", str(kept))
    first = state(teaching.learn(network(), task, steps=4))
    monkeypatch.setattr(paying_off, "_train", lambda *_: pytest.fail("trained again"))
    again = teaching.learn(network(), task, steps=4)
    assert all(map(torch.equal, state(again), first)) and not again.training
    assert not any(p.requires_grad for p in again.parameters())
    monkeypatch.undo()
    monkeypatch.setenv("SASA_LEARNED", str(kept))
    others = {
        "another function": (network(gain=2.0), task, {}),
        "fewer parameters learn": (network(bias=False), task, {}),
        "other labels": (network(), lambda count, seed: task(count, seed, 0.5), {}),
        "other images later": (network(), lambda count, seed: task(count, 3 * seed), {}),
        "more steps": (network(), task, {"steps": 5}),
        "smaller batches": (network(), task, {"batch": 32}),
        "another rate": (network(), task, {"rate": 0.02}),
    }
    for number, (what, (other, draw, options)) in enumerate(others.items(), start=2):
        learned = teaching.learn(other, draw, **{"steps": 4, **options})
        assert len(list(kept.glob("*.pt"))) == number, what
        assert not all(map(torch.equal, state(learned), first)), what
    seen, watched = [], network()
    watched[0].register_forward_hook(lambda *_: seen.append(1))
    assert all(map(torch.equal, state(teaching.learn(watched, task, steps=4)), first)) and len(seen) == 4
    monkeypatch.delenv("SASA_LEARNED")
    assert all(map(torch.equal, state(teaching.learn(network(), task, steps=4)), first))
    assert len(list(kept.glob("*.pt"))) == number


def test_the_stem_is_drawn_with_its_parts_inside_the_picture(monkeypatch):
    ax = in_one_piece(monkeypatch, teaching.attention_stem_schematic)
    width, height = ax.figure.get_size_inches()
    words = texts(ax)
    assert width <= 6 and height <= 3 and {"4 × 4 raw pixels", "16 weighted sums", "max", "output"} <= set(words)
    for text in ax.texts:
        box = text.get_window_extent()
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= ax.figure.bbox.width and box.y1 <= ax.figure.bbox.height


def test_the_sums_of_the_stem_grow_query_by_query_and_the_largest_is_the_output_at_both_ends():
    last = teaching.ATTENTION_STEM_FRAMES - 1

    def sums_and_output(frame):
        ax = teaching.attention_stem_schematic(frame)
        sums = ax.collections[1]  # after the weights
        (output,) = (box for box in ax.patches if isinstance(box, Rectangle) and box.get_fill())
        return coloured(sums), int(output.get_facecolor()[:3] != (1, 1, 1))

    assert last == 17
    assert [sums_and_output(frame) for frame in (0, 1, 2, last - 1, last)] == [
        (16, 1),
        (1, 0),
        (2, 0),
        (16, 0),
        (16, 1),
    ]
    plt.close("all")


def test_the_middle_of_a_window_is_the_pixel_shown_alone():
    image = picture(12, 14)
    _, alone, around = teaching.same_colour_windows(image, {"here": (5, 6), "there": (4, 8)}, reach=2)
    for one, many, (i, j) in zip(alone, around, ((5, 6), (4, 8)), strict=True):
        assert drawn(many).shape == (5, 5, 3) and torch.equal(drawn(many)[2, 2], image[:, i, j])
        assert torch.equal(drawn(one)[0, 0], image[:, i, j])


def test_a_block_and_its_mirror_image_have_one_mean_until_places_count():
    block = torch.tensor([-0.4, -0.4, 0.4, 0.4]).expand(4, 4)
    signs = {"all": torch.ones(4, 4), "by place": torch.tensor([-1.0, -1.0, 1.0, 1.0]).expand(4, 4)}
    grid = teaching.mirrored_blocks({"block": block, "mirror": -block}, signs)
    assert [[texts(row[place])[0] for place in (2, 4)] for row in grid] == [["0.0", "0.4"], ["0.0", "-0.4"]]


def test_arrows_point_to_the_lighter_half():
    _, ax = teaching.edge_mosaic(picture(8, 8), [["left", "right"], ["upper", "lower"]])
    ends = [patch._posA_posB for patch in ax.patches if hasattr(patch, "_posA_posB")]
    steps = [(round(head[0] - tail[0]), round(head[1] - tail[1])) for tail, head in ends]
    assert steps == [(-2, 0), (2, 0), (0, -2), (0, 2)]


def test_edges_stand_beside_the_image_in_two_rows():
    answers = {"one": torch.randn(2, 3, 4), "other": torch.randn(2, 3, 4)}
    _, upper, lower = teaching.edges_in_image(picture(12, 16), answers)
    for place, maps in enumerate(answers.values()):
        assert torch.equal(drawn(upper[place]), maps[0]) and torch.equal(drawn(lower[place]), maps[1])


def test_a_pixel_fades_as_the_share_of_a_matrix_falls():
    shares, image = torch.zeros(2, 2, 2), picture(4, 6)
    shares[0, 0], shares[1, 1] = 1, 1  # upper rows of the blocks, lower rows
    ((first, second),) = teaching.parts_of_matrices(image, {"network": shares})
    colours = image.permute(1, 2, 0) / 255
    assert torch.allclose(drawn(first)[::2].float(), colours[::2], atol=1e-6) and (drawn(first)[1::2] == 1).all()
    assert torch.allclose(drawn(second)[1::2].float(), colours[1::2], atol=1e-6) and (drawn(second)[::2] == 1).all()


def test_shares_of_a_stem_are_drawn_on_a_scale_to_one_and_those_over_an_image_to_the_largest():
    shares, over_image = softmax(4, 2, 2, over=1), {"block": torch.rand(8, 9), "image": torch.rand(8, 9) / 2}
    drawings = [(teaching.mixture_shares(shares)[1], shares[1], 1.0)]
    largest = over_image["block"].max().item()
    axes = teaching.shares_over_image(over_image)
    drawings += [(ax, share, largest) for ax, share in zip(axes, over_image.values(), strict=True)]
    for ax, wanted, limit in drawings:
        assert torch.allclose(drawn(ax), wanted, atol=0.0051)
        assert ax.images[0].get_clim() == (0, pytest.approx(limit))


def test_heads_that_read_themselves_or_the_opposite_pixel_show_it():
    image = picture(4, 6)
    itself = torch.eye(4).expand(2, 3, 4, 4)
    weights = torch.stack((itself, itself.flip(-1)))
    ((shown, first, second, difference),) = teaching.read_by_heads(image, {"network": weights})
    assert torch.equal(drawn(shown), drawn(first)) and torch.equal(drawn(first), image.permute(1, 2, 0))
    assert torch.equal(drawn(second)[0, 0], image[:, 1, 1]) and torch.equal(drawn(second)[1, 4], image[:, 0, 5])
    assert drawn(difference).abs().max() < 1e-4, "four pixels of a block, in whichever order"
    darkest = F.one_hot(
        image.float().mean(dim=0).reshape(2, 2, 3, 2).permute(0, 2, 1, 3).reshape(2, 3, 4).argmin(-1), 4
    )
    weights[0] = darkest[:, :, None].float()
    ((*_, difference),) = teaching.read_by_heads(image, {"network": weights})
    assert (drawn(difference) > 0).all()


def test_weights_in_blocks_become_windows_that_end_with_the_block():
    weights = torch.rand(HEADS, 2, 3, 4, 4)
    windows = teaching.windows_of_blocks(weights)
    assert windows.shape == (HEADS, 4, 6, 3, 3)
    assert torch.allclose(windows.sum(dim=(3, 4))[:, 1, 2], weights[:, 0, 1, 2].sum(dim=-1))
    # The lower left pixel of the block in row 0 and column 1: its right neighbour, and the one above.
    assert torch.equal(windows[:, 1, 2, 1, 2], weights[:, 0, 1, 2, 3])
    assert torch.equal(windows[:, 1, 2, 0, 1], weights[:, 0, 1, 2, 0])
    assert (windows[:, 1, 2, 2] == 0).all() and (windows[:, 1, 2, :, 0] == 0).all()
    with pytest.raises(ValueError, match="got 3 pixels"):
        teaching.windows_of_blocks(torch.rand(1, 1, 1, 3, 3))


def test_the_schematic_of_local_attention_fits_and_its_weights_share_one(monkeypatch):
    ax = in_one_piece(monkeypatch, teaching.local_attention_schematic)
    assert tuple(ax.figure.get_size_inches()) <= (6, 3)
    words = [text.get_text() for text in ax.texts]
    assert {"window", "logits", "weights", "weight × value", "output"} <= set(words)
    assert any("9 pixels" in word for word in words) and any("4 pixels" in word for word in words)
    weights = [float(word) for word in words if word.startswith(".")]
    assert len(weights) == 4 + 9  # the corner first
    assert sum(weights[:4]) == pytest.approx(1, abs=0.03) and sum(weights[4:]) == pytest.approx(1, abs=0.05)
    plt.close("all")


def test_the_window_of_local_attention_walks_and_leaves_its_outputs_behind():
    """A cell of the output is white until the window has been there; the first and the last picture are complete."""

    def empty(frame):
        output = teaching.local_attention_schematic(frame).collections[0]
        plt.close("all")
        return 36 - coloured(output)

    last = teaching.LOCAL_ATTENTION_FRAMES - 1
    assert last < 30
    left = [empty(frame) for frame in range(last + 1)]
    assert left[:3] == [0, 34, 33] and left[last] == 0
    assert left[1:last] == sorted(left[1:last], reverse=True)
    notes = {text.get_text() for text in teaching.local_attention_schematic(2).texts}
    assert "at an edge: 6 pixels share a weight of 1" in notes
    plt.close("all")


def test_beside_keeps_what_came_in_and_what_a_layer_made_of_it():
    x = torch.randn(2, 3, 4, 5)
    layer = torch.nn.Conv2d(3, 7, 3, padding=1)
    y = teaching.Beside(layer)(x)
    assert torch.equal(y[:, :3], x) and torch.equal(y[:, 3:], layer(x))


def test_the_schematic_of_external_attention_is_whole_at_both_ends_and_answers_pixel_by_pixel_between(monkeypatch):
    last = teaching.EXTERNAL_ATTENTION_FRAMES - 1

    def drawn_in(frame):
        ax = teaching.external_attention_schematic(frame)
        framed = [patch for patch in ax.patches if isinstance(patch, Rectangle) and not patch.get_fill()]
        return len(framed), sum(coloured(output) for output in ax.collections)

    assert last == 19
    assert [drawn_in(frame) for frame in (0, 1, 9, 10, last - 1, last)] == [
        (6, 18),  # a query, its row of weights and its output, in both images
        (3, 1),
        (3, 9),
        (3, 10),
        (3, 18),
        (6, 18),
    ]
    ax = in_one_piece(monkeypatch, teaching.external_attention_schematic)
    assert tuple(ax.figure.get_size_inches()) == (6, 3)
    assert any("the same for every image" in text.get_text() for text in ax.texts)
    plt.close("all")


def test_hues_carry_the_mark_of_their_team_and_images_the_light_of_their_row():
    images = {name: torch.rand(3, 3, 4, 4) for name in ("grey", "blue")}
    (wheel,), *rows = teaching.hues_and_images(torch.rand(6, 3), [0, 1] * 3, images, ["a", "b", "c"])
    assert [line.get_marker() for line in wheel.lines] == ["o", "^"] * 3 and len(wheel.patches) == 6
    for panels, shown in zip(rows, images.values(), strict=True):
        for ax, image in zip(panels, shown, strict=True):
            assert torch.allclose(drawn(ax), image.permute(1, 2, 0))


def test_slots_of_hues_share_one_scale_and_stand_beside_their_team():
    tables = {"one": softmax(4, 5, over=1), "other": softmax(4, 5, over=1)}
    axes = teaching.slots_of_hues(tables, torch.rand(4, 3), [0, 1, 1, 0])
    for ax, table in zip(axes, tables.values(), strict=True):
        assert torch.allclose(drawn(ax), table) and ax.images[0].get_clim() == (0, 1)
        assert [line.get_marker() for line in ax.lines] == ["o", "^", "^", "o"]


def test_pictures_and_maps_name_their_rows_and_maps_of_a_row_share_a_scale():
    maps = torch.rand(3, 5, 5)
    rows = teaching.pictures_and_maps([torch.rand(3, 3, 5, 5), maps], ["image", "slot"])
    assert [row[0].get_ylabel() for row in rows] == ["image", "slot"]
    assert len({ax.images[0].get_clim() for ax in rows[1]}) == 1
    with pytest.raises(ValueError, match="expected one name for each of 2 rows, got 1"):
        teaching.pictures_and_maps([maps, maps], ["slot"])


def test_a_lesson_shows_the_runs_of_the_largest_profile(tmp_path, monkeypatch):
    file = tmp_path / "records.jsonl"
    monkeypatch.setattr("sasa_tutorial.teaching.recorded.committed_records", lambda: file)
    assert teaching.recorded_results("convolution").data.startswith("Nothing has run yet")
    for profile, top1 in (("laptop", 26.9), ("evening", 59.8)):
        for run in recorded(LESSONS["convolution"], {0: top1}, profile):
            append_record(file, run)
    text = teaching.recorded_results("convolution").data
    assert "59.8" in text and "26.9" not in text and "laptop" not in text
    for mechanism, profile, top1 in (("local attention", "evening", 53.6), ("convolution", "gpu", 66.0)):
        for run in recorded(LESSONS[mechanism], {0: top1}, profile):
            append_record(file, run)
    assert "66.0" not in teaching.recorded_results("convolution").data, "one lesson alone in the larger profile"
