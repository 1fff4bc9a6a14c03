"""Pages of the library: one for each public layer, function and network, from its docstring and that of its file."""

import importlib
import inspect
from collections.abc import Iterator

ROOMS = {
    "layers": "The mechanisms of the series. Every layer maps `(b, in_channels, h, w)` to `(b, out_channels, h, w)`.",
    "kernels": "Local attention as one function, and how it is computed on each device.",
    "models": "Networks assembled from the layers, at the papers' sizes or any other.",
    "training": "Profiles, one training loop, and the records that it leaves.",
}


def pages() -> Iterator[tuple[str, str]]:
    """(name of the page, its Markdown): an index for each room, and a page for each of its public names."""
    for room, words in ROOMS.items():
        module = importlib.import_module(f"sasa_tutorial.{room}")
        names = sorted(module.__all__) if room != "layers" else module.__all__  # layers: in the order of the lessons
        objects = {name: getattr(module, name) for name in names}
        listed = [f"- [`{name}`]({room}.{name}.md): {_first_words(thing)}" for name, thing in objects.items()]
        hidden = ["```{toctree}", ":hidden:", "", *(f"{room}.{name}" for name in objects), "```"]
        lines = [f"# {room}", "", words, "", "```python", f"from sasa_tutorial import {room}", "```", ""]
        yield room, "\n".join([*lines, *listed, "", *hidden, ""])
        for name, thing in objects.items():
            yield f"{room}.{name}", _page(room, name, thing)


def _page(room: str, name: str, thing: object) -> str:
    directive = ["```{eval-rst}"]
    if callable(thing):
        # What a file says at its top (the equation, mostly) belongs to its one mechanism.
        directive += [f".. automodule:: {thing.__module__}", "   :no-index:", ""]
    if inspect.isclass(thing):
        methods = [key for key, value in vars(thing).items() if _shown(key, value)]
        directive += [f".. autoclass:: sasa_tutorial.{room}.{name}", f"   :members: {', '.join(methods)}"]
        directive = directive if methods else directive[:-1]
    elif callable(thing):
        directive += [f".. autofunction:: sasa_tutorial.{room}.{name}"]
    else:
        directive += [f".. py:data:: sasa_tutorial.{room}.{name}", "", f"   A mapping with the keys {_listed(thing)}."]
    return "\n".join([f"# {name}", "", *directive, "```", "", f"Back to [{room}]({room}.md).", ""])


def _listed(mapping: object) -> str:
    return ", ".join(f"``{key}``" for key in mapping)


def _shown(key: str, value: object) -> bool:
    return (
        not key.startswith("_") and (inspect.isfunction(value) or isinstance(value, property)) and bool(value.__doc__)
    )


def _first_words(thing: object) -> str:
    text = inspect.getdoc(thing) if callable(thing) else f"a mapping: {', '.join(thing)}"
    return " ".join((text or "").partition("\n\n")[0].split()).replace("*", "\\*")
