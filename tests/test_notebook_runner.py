"""The series run as its readers run it: tiny notebooks in real kernels, with every way a notebook can end."""

import base64
import importlib.util
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import redirect_stdout
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest
from PIL import Image

from sasa_tutorial import paths
from sasa_tutorial.errors import TutorialError
from sasa_tutorial.notebook_runner import find_notebooks, run_series, select, write_index
from sasa_tutorial.notebook_runner.outcomes import Executions
from sasa_tutorial.notebook_runner.pages import render

OPENED: list[str] = []  # by this process, not for writing


def listen(event: str, details: tuple) -> None:
    if event == "open" and "w" not in (details[1] or ""):
        OPENED.append(str(details[0]))


sys.addaudithook(listen)


needs_kernel = pytest.mark.skipif(importlib.util.find_spec("papermill") is None, reason="papermill is not installed")

PARAMETERS = ('profile: str = "auto"\nseed: int = 0', "parameters")
# Writes the ids of the kernel and of a process it starts, so that a test can look for them afterwards.
LEAVE_PIDS = """import os, subprocess, pathlib
child = subprocess.Popen(["sleep", "600"])
pathlib.Path("pids.tmp").write_text(f"{os.getpid()} {child.pid}")
os.replace("pids.tmp", "pids")"""


def write_notebook(folder: Path, name: str, heading: str, *code: str | tuple[str, str]) -> Path:
    """A notebook with one Markdown cell and code cells, each a source or a (source, tag)."""
    cells = [{"cell_type": "markdown", "id": "heading", "metadata": {}, "source": heading}]
    for index, cell in enumerate(code):
        source, tags = (cell, []) if isinstance(cell, str) else (cell[0], [cell[1]])
        content = {"cell_type": "code", "id": f"cell-{index}", "metadata": {"tags": tags}, "source": source}
        cells.append(content | {"execution_count": None, "outputs": []})
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.ipynb"
    path.write_text(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    return path


def show_png(color: str, width: int) -> str:
    buffer = io.BytesIO()
    Image.new("RGB", (width, width // 2), color).save(buffer, format="PNG")
    code = base64.b64encode(buffer.getvalue()).decode()
    return f"import base64, IPython.display as d\nd.display(d.Image(base64.b64decode({code!r})))"


def outputs(path: Path) -> str:
    """All text a notebook's code cells printed or raised."""
    found = [output for cell in json.loads(path.read_text())["cells"] for output in cell.get("outputs", ())]
    return "".join("".join(output.get("text", "")) + output.get("ename", "") for output in found)


def alive(pid: int) -> bool:
    """Whether a process runs; one that is dead and merely not yet collected by its parent does not."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout.strip()
    return state != "" and not state.startswith("Z")


def gone(pids: list[int]) -> bool:
    deadline = time.monotonic() + 5
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return not any(map(alive, pids))


@pytest.fixture(scope="module", autouse=True)
def package(tmp_path_factory):
    """A library of one file with its records, in place of the real one, which others may be editing."""
    root = tmp_path_factory.mktemp("package")
    (root / "layers.py").write_text("window = 7\n")
    (root / "recorded").mkdir()
    (root / "recorded" / "cifar100.jsonl").write_text("{}\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "PACKAGE", root)
        yield root


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    """Six notebooks with six ends, executed once: (folder, out, results by name, what was printed)."""
    if importlib.util.find_spec("papermill") is None:
        pytest.skip("papermill is not installed")
    folder, out = tmp_path_factory.mktemp("series") / "notebooks", tmp_path_factory.mktemp("out")
    where = "import os, pathlib\nprint(os.environ['SASA_PROFILE'], pathlib.Path.cwd().name)"
    link = (
        "# 01 · Good\n\n> **Question.** Is *all*\n> well?\n>\n> More.\n\n[next](06_last.ipynb#a) [folder](..) `w[i](x)`"
    )
    thumbnail = (show_png("red", 600), "thumbnail")
    write_notebook(folder, "01_good", link, PARAMETERS, "print(profile, seed)", where, thumbnail, show_png("blue", 50))
    write_notebook(folder, "02_raises", "# 02 · Raises", PARAMETERS, "1", "# why\n1 / 0", "print('never')")
    write_notebook(folder, "03_dies", "# 03 · Dies", LEAVE_PIDS, "os._exit(7)")
    write_notebook(folder, "04_hangs_at_1", "# 04 · Hangs", "import time; time.sleep(600)")
    write_notebook(folder, "05_leaves", "# 05 · Leaves", "import sys; sys.exit()", "print('never')")
    write_notebook(
        folder, "06_last", '# 06 · <b>Last</b> & "least"\n\n> Is <script>alert(1)</script> text?', "print(6)"
    )
    with redirect_stdout(io.StringIO()) as printed:
        hung = run_series(profile="smoke", seed=3, folder=folder, out=out, only=["04"], timeout=1)
        others = ["01", "02", "03", "05", "06"]  # these have all the time they need, on any machine
        results = run_series(profile="smoke", seed=3, folder=folder, out=out, only=others, side_by_side=2)
    results = sorted(hung + results, key=lambda result: result.name)
    return folder, out, {result.name: result for result in results}, printed.getvalue()


# Finding notebooks


def test_a_notebook_says_its_number_title_and_question(series):
    good, *_, last = find_notebooks(series[0])
    assert (good.number, good.title, good.topic, good.question) == ("01", "01 · Good", "Good", "Is all well?")
    assert last.topic == '<b>Last</b> & "least"'


@pytest.mark.parametrize(
    ("only", "numbers"),
    [([], "123456"), (["6", "03"], "36"), (["notebooks/01_good.ipynb"], "1"), (["Le", "02"], "25"), (["1"], "1")],
)
def test_select(series, only, numbers):
    assert "".join(notebook.number[1] for notebook in select(find_notebooks(series[0]), only)) == numbers


def test_errors_say_what_there_is(series, tmp_path):
    with pytest.raises(ValueError, match=r"no notebook '07'; there are 01_good, 02_raises"):
        select(find_notebooks(series[0]), ["01", "07"])
    with pytest.raises(TutorialError, match="clone the project"):
        find_notebooks()  # the package stands in no checkout here
    with pytest.raises(TutorialError, match="no notebook named like"):
        find_notebooks(tmp_path)
    (tmp_path / "01_conflict.ipynb").write_text("<<<<<<< HEAD\n")
    with pytest.raises(ValueError, match=r"01_conflict\.ipynb is not a readable notebook"):
        find_notebooks(tmp_path)
    with pytest.raises(ValueError, match="timeout must be positive, got 0"):
        run_series(profile="smoke", timeout=0)


# Executing


def test_parameters_arrive_and_cells_run_in_the_notebooks_folder(series):
    assert outputs(series[2]["01_good"].output) == "smoke 3\nsmoke notebooks\n"


def test_a_failure_names_its_cell_and_stops_nothing_else(series):
    _, out, results, printed = series
    assert [result.status for result in results.values()] == ["ok", "failed", "failed", "failed", "failed", "ok"]
    raised = results["02_raises"].failure
    assert (raised.cell, raised.line, str(raised)) == (4, "# why", "ZeroDivisionError: division by zero")
    assert results["02_raises"].output == out / "02_raises.failed.ipynb"
    assert outputs(results["02_raises"].output) == "ZeroDivisionError"
    assert not (out / "02_raises.ipynb").exists()
    assert re.search(r"^01_good +ok +\d+\.\d s$", printed, flags=re.MULTILINE)
    assert re.search(r"^02_raises +FAILED +\d+\.\d s$", printed, flags=re.MULTILINE)
    assert "02_raises failed in cell 4:  # why\n    ZeroDivisionError: division by zero\n" in printed
    assert f"jupyter lab {results['02_raises'].output}" in printed


def test_a_dead_kernel_a_hanging_cell_and_an_early_exit_are_failures(series):
    folder, _, results, _ = series
    dead, hung, left = (results[name].failure for name in ("03_dies", "04_hangs_at_1", "05_leaves"))
    assert (dead.cell, str(dead)) == (3, "DeadKernelError: the kernel died: exit code 7")
    assert (hung.cell, str(hung)) == (2, "CellTimeoutError: the cell was stopped after 1 s")
    assert (left.cell, left.error) == (2, "SystemExit")
    assert outputs(results["03_dies"].output) == "DeadKernelError"  # the page shows it where it happened
    assert gone([int(pid) for pid in (folder / "pids").read_text().split()])


def test_nothing_is_left_half_written(series):
    assert not [path for path in series[1].iterdir() if path.name.startswith(".")]


# Skipping


def test_what_succeeded_and_is_unchanged_is_skipped(series):
    folder, out, _, _ = series
    before = (out / "01_good.ipynb").stat().st_mtime_ns
    with redirect_stdout(io.StringIO()) as printed:
        results = run_series(profile="smoke", seed=3, folder=folder, out=out, only=["1", "6"])
    assert [result.status for result in results] == ["skipped", "skipped"]
    assert "01_good   skipped (unchanged)\n" in printed.getvalue()
    assert (out / "01_good.ipynb").stat().st_mtime_ns == before


def test_the_fingerprint_sees_what_outputs_depend_on_and_nothing_else(tmp_path, package):
    def now(code="1", tag="", outputs=(), **parameters):
        path = write_notebook(tmp_path, "01_x", "# x", (code, tag))
        path.write_text(path.read_text().replace('"outputs": []', f'"outputs": {json.dumps(outputs)}'))
        settings = {"profile": "smoke", "seed": 0} | parameters
        return Executions(tmp_path).fingerprint(find_notebooks(tmp_path)[0], **settings)

    def with_file(name, text):
        path = package / name
        path.parent.mkdir(exist_ok=True)
        old = path.read_text() if path.exists() else None
        path.write_text(text)
        try:
            return now()
        finally:
            path.unlink() if old is None else path.write_text(old)

    same = now()
    changed = [now(code="2"), now(tag="parameters"), now(seed=1), now(profile="gpu")]
    changed += [with_file("layers.py", "window = 5\n"), with_file("recorded/cifar100.jsonl", '{"seed": 1}\n')]
    changed += [with_file("new.py", ""), with_file("models/new.py", ""), with_file("kernels/new.h", "")]
    changed += [
        with_file("recorded/bench-cpu.json", "{}"),
        with_file("teaching/new.html", ""),
        with_file("ledger/new.toml", ""),
    ]
    assert len({same, *changed}) == 1 + len(changed)
    assert same == now(outputs=[{"output_type": "stream"}]) == with_file("notebook_runner/pages.py", "x = 1\n") == now()


@needs_kernel
def test_a_change_is_executed_and_an_older_success_survives_a_failure(tmp_path, package):
    def run(**more):
        (result,) = run_series(profile="smoke", folder=folder, out=out, **more)
        return result.status, outputs(done)

    folder, out, done = tmp_path / "notebooks", tmp_path / "out", tmp_path / "out" / "01_x.ipynb"
    write_notebook(folder, "01_x", "# x", "print(open('file').read())")  # the file is no part of the fingerprint
    (folder / "file").write_text("old")
    assert run() == ("ok", "old\n")
    assert run() == ("skipped", "old\n")
    (folder / "file").unlink()
    assert run(fresh=True) == ("failed", "old\n")
    assert outputs(out / "01_x.failed.ipynb") == "FileNotFoundError"
    (folder / "file").write_text("again")
    assert run() == ("ok", "again\n")  # a failure is never taken for done
    assert not (out / "01_x.failed.ipynb").exists()
    write_notebook(folder, "01_x", "# x", "print('new')")
    assert run() == ("ok", "new\n")
    assert "1 done" in (out / "index.html").read_text()
    (package / "layers.py").write_text("window = 3\n")
    assert "1 out of date" in write_index(out, folder=folder).read_text()


@needs_kernel
def test_ctrl_c_keeps_what_is_done_and_leaves_no_process(tmp_path, package):
    folder, out = tmp_path / "notebooks", tmp_path / "out"
    write_notebook(folder, "01_quick", "# 01", "print(1)")
    first, second = (LEAVE_PIDS.replace('"pids', f'"{name}-pids') for name in ("first", "second"))
    write_notebook(folder, "02_slow", "# 02", first, "import time; time.sleep(600)")
    write_notebook(folder, "03_slow", "# 03", second, "import time; time.sleep(600)")  # begins when 01 has ended
    pids = [folder / "first-pids", folder / "second-pids"]
    script = f"""if True:
        import signal, sys
        from pathlib import Path
        from sasa_tutorial import paths
        from sasa_tutorial.notebook_runner import run_series
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a process in the background ignores Ctrl-C
        paths.PACKAGE = Path({str(package)!r})
        try:
            run_series(profile="smoke", folder=Path({str(folder)!r}), out=Path({str(out)!r}), side_by_side=2)
        except KeyboardInterrupt:
            sys.exit(130)"""
    run = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not all(file.exists() for file in pids) and run.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    run.send_signal(signal.SIGINT)
    try:
        printed, errors = run.communicate(timeout=30)
    finally:
        run.kill()
    assert run.returncode == 130, errors
    assert gone([int(pid) for file in pids for pid in file.read_text().split()])
    assert "01_quick   ok" in printed
    assert errors.strip() == "Interrupted. Finished notebooks are kept; the same command goes on from here."
    assert sorted(path.name for path in out.iterdir()) == [
        "01_quick.html",
        "01_quick.ipynb",
        "index.html",
        "mathjax",
        "series.json",
    ]
    (again,) = run_series(profile="smoke", folder=folder, out=out, only=["01"])
    assert again.status == "skipped"


@needs_kernel
def test_two_run_side_by_side_but_not_two_that_train_the_same_network(tmp_path):
    folder = tmp_path / "notebooks"
    # Each notes when it begins and ends; the first and the third end once both have begun, however long that takes.
    note = "from time import sleep, time; import pathlib\nbegan = time()\npathlib.Path('{0}.begun').touch()\n{1}\n"
    note += "while not pathlib.Path('{2}.begun').exists(): sleep(0.05)\n"
    note += "pathlib.Path('{0}').write_text(f'{{began}} {{time()}}', encoding='utf-8')"
    train = 'train = print; train("convolution")'
    for name, does, other in (("01_a", train, "03_c"), ("02_b", train, "02_b"), ("03_c", "2", "01_a")):
        write_notebook(folder, name, f"# {name}", note.format(name, does, other))
    with redirect_stdout(io.StringIO()) as printed:
        results = run_series(profile="smoke", folder=folder, out=tmp_path / "out", side_by_side=2, timeout=100)
    (a, a_end), (b, _), (c, c_end) = (
        map(float, (folder / name).read_text().split()) for name in ("01_a", "02_b", "03_c")
    )
    assert a < c_end and c < a_end, "the first and the third overlap"
    assert b > a_end, "a run is trained by one process at a time"
    assert [result.name for result in results] == ["01_a", "02_b", "03_c"], "results in the order of the series"
    assert printed.getvalue().rindex("02_b ") > printed.getvalue().index("03_c "), "lines in the order of ending"


@needs_kernel
@pytest.mark.parametrize(("side_by_side", "threads"), [(2, "2"), (1, "None")])
def test_threads_share_the_cores_and_do_not_spin(tmp_path, monkeypatch, side_by_side, threads):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.setattr("sasa_tutorial.notebook_runner.series._cores", lambda: 4)
    names = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "SASA_PROFILE", "SASA_PROGRESS")
    write_notebook(tmp_path, "01_x", "# x", f"import os\nprint(*map(os.environ.get, {names}))")
    for given in ({}, {"OMP_NUM_THREADS": "3"}):
        for name, value in given.items():
            monkeypatch.setenv(name, value)
        (result,) = run_series(
            profile="gpu", folder=tmp_path, out=tmp_path / "out", side_by_side=side_by_side, fresh=True
        )
        expected = given.get("OMP_NUM_THREADS", threads)
        assert outputs(result.output) == f"{expected} PASSIVE gpu off\n"


def test_one_at_a_time_on_a_gpu_or_a_single_core(monkeypatch):
    from sasa_tutorial.notebook_runner import series

    for gpu, cores, expected in ((False, 2, 2), (False, 16, 2), (False, 1, 1), (True, 16, 1)):
        monkeypatch.setattr("torch.cuda.is_available", lambda gpu=gpu: gpu)
        monkeypatch.setattr(series, "_cores", lambda cores=cores: cores)
        assert series._suitable() == expected


def test_a_run_reads_every_source_once(tmp_path, package, monkeypatch):
    from sasa_tutorial.notebook_runner import execution

    def execute(self):  # what papermill would leave
        self.output.write_text(json.dumps({"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))

    monkeypatch.setattr(execution.NotebookExecution, "run", execute)
    monkeypatch.setattr("sasa_tutorial.notebook_runner.series._render", lambda notebook, file: render_nothing(file))
    folder, out = tmp_path / "notebooks", tmp_path / "out"
    notebooks = [write_notebook(folder, f"0{n}_x", f"# {n}", str(n)) for n in range(5)]
    sources = [*notebooks, package / "layers.py", package / "recorded" / "cifar100.jsonl"]
    for status in ("ok", "skipped"):
        OPENED.clear()
        results = run_series(profile="smoke", folder=folder, out=out, side_by_side=2)
        assert {result.status for result in results} == {status}
        assert [OPENED.count(str(path.resolve())) for path in sources] == [1] * len(sources)
        assert OPENED.count(str(out / "series.json")) == 1
    assert len(json.loads((out / "series.json").read_text())) == 5


def render_nothing(executed: Path) -> None:
    executed.with_suffix(".html").write_text("")


# Pages


class Page(HTMLParser):
    """What a browser makes of a page: its tags, links, images and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags, self.links, self.images, self.text = set(), [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.tags.add(tag)
        self.links += [values["href"]] if tag == "a" else []
        self.images += [values] if tag == "img" else []

    def handle_data(self, data):
        self.text += data


def test_the_index_shows_the_whole_series_and_its_links_resolve(series):
    _, out, _, _ = series
    page = Page((out / "index.html").read_text())
    names = [f"{name}.html" for name in ("01_good", "02_raises.failed", "03_dies.failed", "06_last")]
    assert [link for link in dict.fromkeys(page.links) if link in names] == names
    assert all((out / link).is_file() for link in page.links)
    assert "6 notebooks: 2 done, 4 failed" in " ".join(page.text.split())
    assert "Is all well?" in page.text and "ZeroDivisionError: division by zero" in page.text
    assert {"header", "main", "footer", "h1", "h2", "ol"} <= page.tags
    assert not page.tags & {"script", "iframe", "b"}


def test_the_index_escapes_what_notebooks_say(series):
    page = Page((series[1] / "index.html").read_text())
    assert '<b>Last</b> & "least"' in page.text
    assert "Is <script>alert(1)</script> text?" in page.text


def test_the_tagged_figure_is_shown(series):
    (image,) = Page((series[1] / "index.html").read_text()).images
    assert image["alt"] == "A figure of the notebook “Good”"
    png = Image.open(io.BytesIO(base64.b64decode(image["src"].removeprefix("data:image/png;base64,"))))
    assert png.width == 600
    assert png.convert("RGB").getpixel((5, 5)) == (255, 0, 0)  # the tagged one, not the last


def test_the_index_lists_what_was_never_run(series, tmp_path):
    page = Page(write_index(tmp_path, folder=series[0]).read_text())
    assert "6 notebooks: 6 not run yet" in " ".join(page.text.split())
    assert page.text.count("sasa-tutorial run --only 0") == 6
    assert page.links == []


def test_links_of_a_page_lead_to_pages_and_files(series):
    folder, out, _, _ = series
    page = Page(render(find_notebooks(folder)[0], out / "01_good.ipynb").read_text())
    links = [link for link in page.links if not link.startswith("#")]
    assert links == ["index.html", "06_last.html#a", Path(os.path.relpath(folder.parent, out)).as_posix()]
    assert "w[i](x)" in page.text
    assert "require.min.js" not in (out / "01_good.html").read_text()


def test_a_page_shows_what_a_cell_printed_in_pieces_without_gaps(series, tmp_path):
    folder, out, _, _ = series
    notebook = nbformat.read(out / "01_good.ipynb", as_version=4)
    cell = next(cell for cell in notebook.cells if cell.cell_type == "code")
    cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=f"piece {n}\n") for n in range(3)]
    nbformat.write(notebook, tmp_path / "01_good.ipynb")
    page = render(find_notebooks(folder)[0], tmp_path / "01_good.ipynb").read_text()
    assert "<pre>piece 0\npiece 1\npiece 2\n</pre>" in page
