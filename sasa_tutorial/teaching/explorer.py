"""A picture to walk through: move the query over an image and see where every head looks.

The notebook stays a file that anybody can open: the explorer is one piece of HTML with its own data and a page of
JavaScript, needs no widget, no kernel and no network, and is deterministic.
"""

import base64
import hashlib
import io
import json

import matplotlib.pyplot as plt
import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from matplotlib.colors import to_hex
from torch import Tensor

from sasa_tutorial.teaching.style import ACCENT, POSITIVE_MAP

_MAX_BYTES = 60_000
_LEVELS = 64
# One printable character a weight; digits in the order of base64 for URLs: nothing in it means anything in HTML.
_DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def explorer(
    image: UInt8[Tensor, "3 H W"],
    weights: Float[Tensor, "heads h w n m"],
    *,
    name: str,
) -> "HTML":  # noqa: F821
    """The image, to be walked over with the mouse, a finger or the arrow keys; beside it the weights of that query.

    Each weight is stored as one of 64 levels between 0 and the largest weight of its query over all heads; all heads
    of one query share that scale.

    Args:
        image: red, green, blue.
        weights: not negative. Either (heads, h, w, h, w), from every query to every pixel of a map, which may be
            coarser than the image; or (heads, h, w, kh, kw), to the window around each query, whose cells outside the
            image are left out. Where both could be meant, the first is.
        name: what is shown, a few words.

    Raises:
        ValueError: wrong shapes, weights that are negative or not finite, or more than 60,000 bytes.
    """
    from IPython.display import HTML  # comes with Jupyter; the rest of the library does without

    return HTML(_page(image, weights, name))


def _page(image: Tensor, weights: Tensor, name: str) -> str:
    _check(image, weights)
    heads, height, width, rows, cols = weights.shape
    # From heads first, as layers give them, to queries first: one query's weights lie side by side.
    values = rearrange(weights.detach().double().cpu(), "heads h w n m -> (h w) (heads n m)")
    ends = [float(f"{end:.4g}") for end in values.amax(dim=1).tolist()]
    scale = torch.tensor(ends, dtype=torch.float64).clamp(min=1e-300)
    levels = (rearrange(values, "queries cells -> cells queries") / scale * (_LEVELS - 1)).round().clamp(0, _LEVELS - 1)
    digits = np.frombuffer(_DIGITS.encode(), dtype=np.uint8)[rearrange(levels, "c q -> q c").to(torch.uint8).numpy()]
    colours = plt.get_cmap(POSITIVE_MAP)(np.linspace(0, 1, _LEVELS))
    data = {
        "name": name,
        "shape": [heads, height, width, rows, cols],
        "local": (rows, cols) != (height, width),
        "digits": _DIGITS,
        "largest": ends,
        "weights": digits.tobytes().decode(),
        "colours": "".join(to_hex(colour)[1:] for colour in colours),
        "accent": ACCENT,
        "size": [image.shape[1], image.shape[2]],
        "image": "data:image/png;base64," + _png(image),
    }
    # "<" must not end the script that holds the data.
    text = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    identity = "explorer-" + hashlib.sha256(text.encode()).hexdigest()[:12]
    page = _HTML.replace("IDENTITY", identity).replace("DATA", text)
    if len(page.encode()) > _MAX_BYTES:
        raise ValueError(
            f"the explorer would have {len(page.encode()):,} bytes, more than {_MAX_BYTES:,}: {weights.numel():,} "
            "weights are too many; show fewer heads, or a coarser map (about 42,000 weights fit)"
        )
    return page


def _check(image: Tensor, weights: Tensor) -> None:
    if image.ndim != 3 or image.shape[0] != 3 or image.dtype != torch.uint8:
        raise ValueError(f"expected a uint8 image (3, H, W), got {image.dtype} of shape {tuple(image.shape)}")
    if weights.ndim != 5:
        raise ValueError(
            "expected weights (heads, h, w, h, w) of a map or (heads, h, w, kh, kw) of windows, "
            f"got {weights.ndim}-D of shape {tuple(weights.shape)}"
        )
    _, height, width, rows, cols = weights.shape
    if (rows, cols) != (height, width) and (rows % 2 == 0 or cols % 2 == 0):
        raise ValueError(
            f"{rows} x {cols} weights are neither the map of {height} x {width} nor a window, whose sides are odd"
        )
    if not torch.isfinite(weights).all() or (weights < 0).any():
        raise ValueError(f"weights are finite and not negative; the smallest is {weights.min().item():.3g}")


def _png(image: Tensor) -> str:
    file = io.BytesIO()
    plt.imsave(file, rearrange(image.cpu(), "c h w -> h w c").numpy(), format="png", metadata={"Software": None})
    return base64.b64encode(file.getvalue()).decode()


_HTML = """\
<div id="IDENTITY"><p>The explorer needs JavaScript, and a notebook that is trusted or has been run. The figure above
shows the same for one query.</p></div>
<script>
(() => {
const data = DATA;
const [heads, h, w, n, m] = data.shape;
const level = {};
[...data.digits].forEach((digit, index) => { level[digit] = index; });
const colour = (index) => "#" + data.colours.slice(6 * index, 6 * index + 6);
const quiet = "#8A8A8A";

function start(root) {
  let i = h >> 1, j = w >> 1, head = 0;
  root.dataset.ready = "yes";
  root.textContent = "";
  const add = (parent, tag, style, text) => {
    const element = document.createElement(tag);
    element.style.cssText = style || "";
    if (text) element.textContent = text;
    parent.append(element);
    return element;
  };
  add(root, "style").textContent = `
    #${root.id} { font-size: 13px; line-height: 1.4; color: inherit; background: transparent; padding: 4px; }
    #${root.id} canvas { display: block; border: 1px solid ${quiet}; margin: 6px 0 0; }
    #${root.id} button { font: inherit; color: inherit; background: transparent; border: 0; padding: 0; margin: 0;
      text-align: left; cursor: pointer; }
    #${root.id} [tabindex]:focus-visible, #${root.id} button:focus-visible { outline: 3px solid #0072B2;
      outline-offset: 2px; }
    #${root.id} button[aria-pressed=true] canvas { outline: 2px solid ${data.accent}; outline-offset: 1px; }`;
  const panels = add(root, "div", "display: flex; flex-wrap: wrap; gap: 16px; align-items: flex-start");
  const panel = (title) => {
    const box = add(panels, "div");
    return [box, add(box, "div", "", title)];
  };
  const canvas = (parent, side) => {
    const [high, wide] = data.size, scale = side / Math.max(high, wide);
    const element = add(parent, "canvas", `width: ${wide * scale}px; height: ${high * scale}px`);
    element.width = 2 * Math.round(wide * scale);
    element.height = 2 * Math.round(high * scale);
    return element;
  };
  const [left] = panel(data.name);
  const picture = canvas(left, 256);
  picture.tabIndex = 0;
  picture.style.cursor = "crosshair";
  picture.style.touchAction = "none";
  picture.setAttribute("role", "application");
  picture.setAttribute("aria-label", `${data.name}: arrow keys move the query` +
    (heads > 1 ? ", number keys choose the head" : ""));
  const [middle, title] = panel(" ");
  const large = canvas(middle, 256);
  large.setAttribute("role", "img");
  const bar = add(middle, "div", "display: flex; gap: 6px; align-items: center; margin-top: 4px");
  add(bar, "span", "", "0");
  const ramp = Array.from({length: 9}, (_, step) => colour(Math.round(step * 63 / 8))).join(",");
  add(bar, "span", `flex: 1; height: 10px; border: 1px solid ${quiet}; background: linear-gradient(to right,${ramp})`);
  const end = add(bar, "span");
  const small = [];
  if (heads > 1) {
    const [right] = panel("all heads");
    const columns = heads > 4 ? 4 : heads > 2 ? 2 : 1;
    const grid = add(right, "div", `display: grid; grid-template-columns: repeat(${columns}, auto); gap: 4px 10px`);
    for (let index = 0; index < heads; index++) {
      const button = add(grid, "button");
      button.type = "button";
      const map = canvas(button, heads > 4 ? 56 : 104);
      add(button, "div", "margin-top: 4px", `head ${index + 1}`);
      button.addEventListener("click", () => { head = index; draw(); });
      small.push([button, map]);
    }
  }
  const words = add(root, "div", "margin-top: 4px");
  words.setAttribute("aria-live", "polite");

  // Weight levels of one head, each with its place in the map.
  const cells = (which) => {
    const begin = ((i * w + j) * heads + which) * n * m, found = [];
    for (let a = 0; a < n; a++) for (let b = 0; b < m; b++) {
      const row = data.local ? i + a - (n >> 1) : a, col = data.local ? j + b - (m >> 1) : b;
      if (row >= 0 && row < h && col >= 0 && col < w) found.push([row, col, level[data.weights[begin + a * m + b]]]);
    }
    return found;
  };
  const mark = (element) => {
    const pen = element.getContext("2d"), high = element.height / h, wide = element.width / w;
    const thick = Math.max(2, Math.min(5, wide / 5));
    for (const [style, width] of [["#FFFFFF", 2 * thick], [data.accent, thick]]) {
      pen.strokeStyle = style;
      pen.lineWidth = width;
      pen.strokeRect(j * wide - thick, i * high - thick, wide + 2 * thick, high + 2 * thick);  // around the cell
    }
  };
  const map = (element, which) => {
    const pen = element.getContext("2d"), high = element.height / h, wide = element.width / w;
    pen.clearRect(0, 0, element.width, element.height);
    for (const [row, col, value] of cells(which)) {
      const top = Math.round(row * high), left = Math.round(col * wide);
      pen.fillStyle = colour(value);
      pen.fillRect(left, top, Math.round((col + 1) * wide) - left, Math.round((row + 1) * high) - top);
    }
    mark(element);
  };
  const source = new Image();
  const draw = () => {
    const pen = picture.getContext("2d"), largest = data.largest[i * w + j], number = largest.toPrecision(2);
    pen.imageSmoothingEnabled = false;
    pen.clearRect(0, 0, picture.width, picture.height);
    if (source.complete) pen.drawImage(source, 0, 0, picture.width, picture.height);
    mark(picture);
    map(large, head);
    small.forEach(([button, element], index) => {
      button.setAttribute("aria-pressed", index === head);
      map(element, index);
    });
    title.textContent = heads > 1 ? `weights of head ${head + 1}` : "weights";
    large.setAttribute("aria-label", title.textContent);
    end.textContent = number;
    let place = "";
    for (let which = 0; which < heads && !place; which++) {
      const top = cells(which).find(([, , value]) => value === 63);
      if (top) place = ` (head ${which + 1}, row ${top[0]}, column ${top[1]})`;
    }
    words.textContent = `Query: row ${i}, column ${j}. Largest weight: ${number}${place}.`;
  };
  const point = (event) => {
    const box = picture.getBoundingClientRect();
    const place = (share, count) => Math.max(0, Math.min(count - 1, Math.floor(share * count)));
    i = place((event.clientY - box.top) / box.height, h);
    j = place((event.clientX - box.left) / box.width, w);
    draw();
  };
  picture.addEventListener("pointermove", point);
  picture.addEventListener("pointerdown", (event) => { picture.focus(); point(event); });
  root.addEventListener("keydown", (event) => {
    const step = {ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1]}[event.key];
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (step) {
      i = Math.max(0, Math.min(h - 1, i + step[0]));
      j = Math.max(0, Math.min(w - 1, j + step[1]));
    } else if (event.key >= "1" && event.key <= String(Math.min(heads, 9))) {
      head = Number(event.key) - 1;
    } else return;
    event.preventDefault();
    event.stopPropagation();  // JupyterLab has commands of its own on these keys
    draw();
  });
  source.onload = draw;
  source.src = data.image;
  draw();
}
document.querySelectorAll("#IDENTITY:not([data-ready])").forEach(start);
})();
</script>
"""
