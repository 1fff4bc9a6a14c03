"""The benchmark measures what it says; how fast anything is, no test asks."""

import json
import shutil
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from itertools import groupby, pairwise
from operator import itemgetter

import nbformat
import pytest
import torch
from click.testing import CliRunner

from sasa_tutorial import kernels, paths
from sasa_tutorial.bench import (
    BenchRecordError,
    Setting,
    bench_documents,
    default_setting,
    save_document,
    show,
)
from sasa_tutorial.bench.document import SECTIONS, new_document, parts, sections_for
from sasa_tutorial.bench.flex import FlexLocalSelfAttention2d
from sasa_tutorial.bench.floor import measure_floor
from sasa_tutorial.bench.growth import FACTORS, exponent, measure_growth, settings_over
from sasa_tutorial.bench.layers import layer_passes, measure_layers
from sasa_tutorial.bench.machine import Size, measure_machine
from sasa_tutorial.bench.memory import peak_growth
from sasa_tutorial.bench.network import NETWORKS, NetworkSetting, measure_network, step_of
from sasa_tutorial.bench.section import Part
from sasa_tutorial.bench.subjects import subjects
from sasa_tutorial.bench.timing import Times, interleaved
from sasa_tutorial.cli import cli
from sasa_tutorial.errors import TutorialError
from sasa_tutorial.layers import LocalSelfAttention2d
from tests.conftest import ROOT

SMALL = Setting(batch=2, channels=16, size=8, kernel_size=3, heads=4)
TINY = replace(SMALL, batch=1, channels=8, size=4, heads=2)
NETWORK = NetworkSetting(depth=14, width=0.125, batch=2, size=8)


@pytest.fixture(autouse=True)
def short_measurements(monkeypatch):
    monkeypatch.setattr("sasa_tutorial.bench.timing.LEAST_MS", 0.1)


@pytest.fixture
def results(monkeypatch, tmp_path):
    """A folder of records that is not the project's."""
    monkeypatch.setattr(paths, "results_root", lambda: tmp_path)
    return tmp_path


@contextmanager
def everything_tiny():
    """Sizes that take no time; memory, which needs processes of its own, is measured in one test alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sasa_tutorial.bench.timing.LEAST_MS", 0.1)
        for module in ("layers", "network"):
            patch.setattr(f"sasa_tutorial.bench.{module}.peak_growth", lambda *_: 10**7)
        patch.setattr("sasa_tutorial.bench.network.default_networks", lambda device: (NETWORK,))
        small = partial(measure_machine, size=Size(side=4, images=1, channels=2), least_bytes=2**12)
        patch.setattr("sasa_tutorial.bench.machine.measure_machine", small)
        patch.setattr("sasa_tutorial.bench.growth.settings_over", lambda factor, s: {1: s, 2: replace(s, batch=2)})
        yield patch


@pytest.fixture
def tiny():
    with everything_tiny() as patch:
        yield patch


@pytest.fixture(scope="module")
def document():
    """Every section."""
    with everything_tiny():
        found, steps = new_document(TINY, rounds=2), []
        for part in parts(TINY, ("machine", "layers", "network", "growth"), rounds=2):
            before = len(steps)
            text = part.run(found, lambda: steps.append(1))
            assert len(steps) - before == part.steps, part.title
            assert max(map(len, text.splitlines())) <= 100, text
        found["floor"] = asdict(measure_floor(TINY, rounds=2, least_bytes=2**12))
    return found


# What is timed


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_all_subjects_do_the_same_job_and_the_attentions_agree(dtype):
    setting = replace(SMALL, dtype=dtype)
    x, found = setting.input(), {}
    for name, subject in subjects(setting).items():
        with subject.ready(setting) as layer:
            found[name] = layer(x)
    assert {(y.shape, y.dtype) for y in found.values()} == {(x.shape, getattr(torch, dtype))}
    attentions = [y for name, y in found.items() if name.startswith("attention")]
    assert len(attentions) == len(kernels.available_backends())
    close = 1e-5 if dtype == "float32" else 2e-2
    assert all(torch.allclose(y, attentions[0], atol=close) for y in attentions)


def test_a_backend_that_refuses_the_setting_is_left_out(monkeypatch):
    compute = kernels.local_attention

    def refusing(*tensors, backend, **options):
        if backend == "streaming":
            raise ValueError("not here")
        return compute(*tensors, backend=backend, **options)

    monkeypatch.setattr(kernels, "local_attention", refusing)
    left = {"attention, unfold", "attention, native"} & {f"attention, {b}" for b in kernels.available_backends()}
    assert {name for name in subjects(SMALL) if "attention" in name} == left | {"attention, unfold"}


def test_both_passes_reach_every_parameter_and_keep_nothing():
    for name, subject in subjects(SMALL).items():
        x, used, backends = SMALL.input(), [], []
        with subject.ready(SMALL) as layer:
            layer.register_forward_hook(lambda layer, _, y, used=used: used.append(y.requires_grad))
            layer.register_forward_hook(lambda *_, found=backends: found.append(kernels.dispatch.DEFAULT))
            for parameter in layer.parameters():
                parameter.register_hook(lambda _, used=used: used.append("gradient"))
        forward, both = replace(subject, build=lambda _, layer=layer: layer).passes(SMALL, x)
        forward()
        assert used == [False], name
        both()
        assert used[1] is True and used.count("gradient") == len(list(layer.parameters())), name
        assert backends == [subject.backend] * 2, name
        assert x.grad is None and all(p.grad is None for p in layer.parameters()), name


def test_rounds_are_interleaved_and_the_first_is_not_counted(monkeypatch):
    called, clock = [], iter(range(10**6))
    monkeypatch.setattr("sasa_tutorial.bench.timing.time.perf_counter", lambda: 1e-3 * next(clock))
    times = interleaved({name: lambda name=name: called.append(name) for name in "abc"}, "cpu", rounds=4)
    assert [name for name, _ in groupby(called)] == list("abc") * 5
    assert set(times) == set("abc")


@pytest.mark.parametrize("cost", [3e-3, 12e-3])
def test_a_short_action_is_called_until_a_measurement_is_long_enough(monkeypatch, cost):
    clock, measured, spans = [0.0], [], []
    monkeypatch.setattr("sasa_tutorial.bench.timing.LEAST_MS", 20.0)

    def now():
        measured.append(clock[0])
        return clock[0]

    def action():
        clock[0] += cost

    monkeypatch.setattr("sasa_tutorial.bench.timing.time.perf_counter", now)
    times = interleaved({"a": action}, "cpu", rounds=3)
    spans = [end - start for start, end in pairwise(measured[-6:])][::2]
    assert all(span >= 20e-3 for span in spans), spans
    assert times["a"] == Times(*[pytest.approx(1e3 * cost)] * 3), "milliseconds of one call"


def test_the_median_is_between_the_quartiles(monkeypatch):
    clock, steps = [0.0], iter([9, 1, 2, 3, 4, 5])
    monkeypatch.setattr("sasa_tutorial.bench.timing.LEAST_MS", 0.0)
    monkeypatch.setattr("sasa_tutorial.bench.timing.time.perf_counter", lambda: clock[0])

    def action():
        clock[0] += 1e-3 * next(steps, 6)

    # One call to compile, one to find how many calls it takes, then four that count: 2, 3, 4, 5 ms.
    assert interleaved({"a": action}, "cpu", rounds=4)["a"] == Times(*map(pytest.approx, (3.5, 2.75, 4.25)))


# FlexAttention

UNCOMPILED = pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")


@pytest.mark.parametrize(("h", "w", "kernel_size", "heads"), [(6, 9, 3, 2), (5, 4, 7, 4), (12, 12, 5, 1)])
@UNCOMPILED
def test_flex_attention_computes_the_layer(h, w, kernel_size, heads):
    ours, flex = (
        kind(12, 12, kernel_size, heads).requires_grad_(False)
        for kind in (LocalSelfAttention2d, FlexLocalSelfAttention2d)
    )
    flex.load_state_dict(ours.state_dict())
    x = torch.randn(2, 12, h, w)
    assert torch.allclose(flex(x), ours(x), atol=1e-5)


@UNCOMPILED
def test_flex_attention_has_the_gradients_of_the_layer(monkeypatch):
    # On a CPU PyTorch refuses to differentiate it, though the plain form it is made of there can be.
    monkeypatch.setattr("torch.nn.attention.flex_attention._validate_device", lambda *_: None, raising=False)
    ours, flex = (kind(12, 12, 3, 2) for kind in (LocalSelfAttention2d, FlexLocalSelfAttention2d))
    flex.load_state_dict(ours.state_dict())
    x, upstream = torch.randn(2, 12, 5, 6), torch.randn(2, 12, 5, 6)
    for layer in (ours, flex):
        layer(x).backward(upstream)
    for (name, expected), found in zip(ours.named_parameters(), flex.parameters(), strict=True):
        assert torch.allclose(found.grad, expected.grad, atol=1e-4), name


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_flex_attention_agrees_on_a_gpu():
    ours, flex = (kind(64, 64, 7, 8).cuda() for kind in (LocalSelfAttention2d, FlexLocalSelfAttention2d))
    flex.load_state_dict(ours.state_dict())
    x, upstream = torch.randn(2, 64, 32, 32, device="cuda"), torch.randn(2, 64, 32, 32, device="cuda")
    outs = [layer(x) for layer in (ours, flex)]
    assert torch.allclose(*outs, atol=1e-2)  # TF32 may round products
    expected, found = (
        torch.autograd.grad(out, list(layer.parameters()), upstream)
        for out, layer in zip(outs, (ours, flex), strict=True)
    )
    for (name, _), a, b in zip(ours.named_parameters(), expected, found, strict=True):
        assert (a - b).norm() < 2e-2 * a.norm(), name


# Sections


def test_the_windows_of_the_unfold_form_are_seen_by_the_measure_of_memory():
    setting = Setting(batch=8, channels=32, size=32, kernel_size=7, heads=4)
    unfold = peak_growth(layer_passes, "attention, unfold", setting)
    windows = 4 * 8 * 32 * 32**2 * 49  # bytes of the gathered keys; there are the values, too
    assert unfold is None or unfold > 1.5 * windows
    streaming = peak_growth(layer_passes, "attention, streaming", setting)
    assert streaming is None or streaming < unfold / 4


def test_every_subject_has_a_row_with_its_memory(monkeypatch):
    asked = []
    monkeypatch.setattr("sasa_tutorial.bench.layers.peak_growth", lambda *given: asked.append(given) or 1)
    found = measure_layers(TINY, rounds=2)
    assert [result.name for result in found] == list(subjects(TINY))
    assert asked == [(layer_passes, name, TINY) for name in subjects(TINY)]
    assert all(times.low <= times.median <= times.high for r in found for times in (r.forward, r.both))


def test_a_training_step_changes_every_parameter_of_the_network(monkeypatch):
    built = []
    from sasa_tutorial.bench import network

    def builder(name):
        def build(**size):
            built.append(models[name](**size))
            return built[-1]

        return build

    models = network.cifar_models()
    monkeypatch.setattr(network, "cifar_models", lambda: {name: builder(name) for name in models})
    for name in NETWORKS:
        step = step_of(name, NETWORK)
        before = [p.detach().clone() for p in built[-1].parameters()]
        step()
        assert all(not torch.equal(p, old) for p, old in zip(built[-1].parameters(), before, strict=True)), name


def test_images_a_second_follow_from_the_time_of_a_step(monkeypatch):
    monkeypatch.setattr("sasa_tutorial.bench.network.peak_growth", lambda *_: None)
    ms = {"convolution": 10.0, "local_attention": 20.0, "relative_offsets": 40.0}
    monkeypatch.setattr(
        "sasa_tutorial.bench.network.interleaved",
        lambda steps, *_, **__: {name: Times(ms[name], 0, 0) for name in steps},
    )
    found = {result.name: result for result in measure_network(NETWORK, rounds=1)}
    assert {name: result.images_per_second for name, result in found.items()} == {
        "convolution": 200, "local_attention": 100, "relative_offsets": 50,
    }  # fmt: skip
    assert [result.of_convolution for result in found.values()] == [1, 0.5, 0.25]


@pytest.mark.parametrize("power", [-1.0, 0.0, 0.5, 2.0])
def test_the_exponent_of_a_power_law_is_its_power(power):
    sizes = (3, 5, 7, 9, 11)
    assert exponent(sizes, [0.37 * size**power for size in sizes]) == pytest.approx(power, abs=1e-12)
    assert exponent((3,), (1.0,)) is None


def test_the_exponent_is_the_slope_of_least_squares():
    times = torch.rand(4, dtype=torch.float64) + 0.5
    sizes = torch.tensor([8.0, 16, 32, 64], dtype=torch.float64)
    design = torch.stack((sizes.log(), torch.ones(4)), dim=1)
    slope = torch.linalg.lstsq(design, times.log()[:, None]).solution[0].item()
    assert exponent(sizes.tolist(), times.tolist()) == pytest.approx(slope)


def test_one_factor_changes_at_a_time():
    default = Setting()
    for factor in FACTORS:
        for value, setting in settings_over(factor, default).items():
            assert getattr(setting, factor) == value
            others = {factor, "batch"} if factor == "size" else {factor}
            assert all(getattr(setting, f) == getattr(default, f) for f in asdict(default) if f not in others)
    assert list(settings_over("batch", default)) == [8, 16, 32, 64]
    assert [(s, x.batch) for s, x in settings_over("size", default).items()] == [
        (16, 128), (32, 32), (64, 8), (128, 2), (256, 1),
    ]  # fmt: skip
    assert list(settings_over("heads", replace(default, channels=40))) == [1, 2, 4, 8], "16 do not divide 40"


def test_growth_over_size_is_the_time_of_a_pixel(monkeypatch):
    def by_pixel(actions, *_, **__):  # twice as long for each pixel of the larger image, with half as many of them
        return {(name, value): Times(value * settings[value].pixels / 1e6, 0, 0) for name, value in actions}

    monkeypatch.setattr("sasa_tutorial.bench.growth.interleaved", by_pixel)
    settings = {4: replace(TINY, batch=8, size=4), 8: replace(TINY, batch=1, size=8)}
    for curve in measure_growth("size", settings, rounds=1):
        assert [point.ns_per_pixel for point in curve.points] == [pytest.approx(4), pytest.approx(8)]
        assert (curve.exponent, curve.spread) == (pytest.approx(1), pytest.approx(2))
    curve = measure_growth("batch", settings, rounds=1)[0]
    assert curve.exponent == pytest.approx(0) and curve.spread is None  # 4 · 128 pixels take as long as 8 · 64


def test_the_floor_is_a_copy_of_as_many_bytes(monkeypatch):
    monkeypatch.setattr(
        "sasa_tutorial.bench.floor.interleaved",
        lambda actions, *_, **__: {"copy": Times(2.0, 2, 2), "attention": Times(5.0, 5, 5)},
    )
    floor = measure_floor(TINY, rounds=1, least_bytes=10**6)
    assert floor.moved_bytes >= 10**6 and floor.moved_bytes - 10**6 < 4 * 4 * 8 * 4**2, "just enough images"
    assert floor.moved_bytes == 4 * 4 * floor.setting.batch * 8 * 4**2
    assert floor.copy_bytes_per_second == pytest.approx(floor.moved_bytes / 2e-3)
    assert floor.of_floor == 2.5


def test_the_rates_of_the_machine_follow_from_its_times(monkeypatch):
    found, times = {}, {"matmul": Times(2.0, 2, 2), "copy": Times(4.0, 4, 4)}

    def measured(actions, device, **_):
        found.update(actions)
        return times

    monkeypatch.setattr("sasa_tutorial.bench.machine.interleaved", measured)
    setting, size = replace(TINY, dtype="bfloat16"), Size(side=8, images=1, channels=2)
    by_product, by_convolution = 2 * 8**3 / 2e-3, 2 * 32**2 * 7**2 * 2**2 / 0.5e-3
    for ms, expected in ((0.5, by_convolution), (5000.0, by_product)):  # the faster of the two
        times["convolution"] = Times(ms, ms, ms)
        machine = measure_machine(setting, rounds=1, size=size, least_bytes=10**6)
        assert machine.flops_per_second == pytest.approx(expected)
    assert machine.copied_bytes == 10**6
    assert machine.copy_bytes_per_second == pytest.approx(10**6 / 4e-3)
    product, answer, target = (found[name]() for name in ("matmul", "convolution", "copy"))
    assert product.dtype == answer.dtype == target.dtype == torch.bfloat16
    assert answer.shape == (1, 2, 32, 32)
    assert torch.equal(product, torch.mm(*found["matmul"].args)), "a product is computed"
    assert 2 * target.nbytes == machine.copied_bytes and target.any(), "as many numbers are written as are counted"


def test_a_gpu_has_a_floor_and_a_cpu_has_none():
    assert sections_for(torch.device("cuda")) == tuple(SECTIONS)
    assert "floor" not in sections_for(torch.device("cpu"))
    with pytest.raises(ValueError, match="on cpu there are machine, layers, network, growth, got 'floor'"):
        list(parts(TINY, ("floor",), rounds=1))


def test_too_little_memory_on_a_gpu_is_an_error_with_a_way_out():
    def measure(done):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(TutorialError, match=r"growth over batch: take fewer images \(--batch\)"):
        Part("growth", "growth over batch", 1, measure, str).run({}, lambda: None)


def test_what_is_given_replaces_the_defaults_of_the_device():
    cpu = torch.device("cpu")
    assert default_setting(cpu, batch=None, dtype=None) == Setting()
    assert default_setting(cpu, batch=3, heads=2) == replace(Setting(), batch=3, heads=2)
    with pytest.raises(ValueError, match="dtype must be float32, bfloat16, float16, got 'int8'"):
        default_setting(cpu, dtype="int8")
    with pytest.raises(ValueError, match="channels must be a multiple of heads, got 64 channels and 5 heads"):
        default_setting(cpu, heads=5)
    with pytest.raises(ValueError, match="got 4"):
        default_setting(cpu, kernel_size=4)


# Documents


def test_a_document_says_what_it_was_measured_on(document):
    assert {"device", "processor", "threads", "torch", "python", "date", "setting", *SECTIONS} <= set(document)
    assert document["processor"] in document["device"] and document["setting"] == asdict(TINY)
    assert [row["name"] for row in document["layers"]] == list(subjects(TINY))
    assert [row["name"] for row in document["network"]] == list(NETWORKS)
    assert list(dict.fromkeys(row["factor"] for row in document["growth"])) == list(FACTORS)
    assert "forward / floor" in show("floor", document["floor"])
    assert "GFLOP/s" in show("machine", document["machine"])


def test_a_saved_document_is_read_back_and_replaces_only_its_own_device(document, results):
    save_document(document)
    other = {**document, "device": "NVIDIA H200"}
    file = save_document(other)
    assert file.name == "bench-nvidia-h200.json" and file.parent == results
    save_document({**other, "rounds": 99})
    found = {entry["device"]: entry for entry in bench_documents()}
    assert found == {document["device"]: document, "NVIDIA H200": {**other, "rounds": 99}}
    assert {path.suffix for path in results.iterdir()} == {".json"}


def damaged(document):
    missing = {name: value for name, value in document.items() if name != "growth"}
    row = {**document, "layers": [{"name": "convolution"}]}
    yield "cut", json.dumps(document)[:300], "is not a benchmark record"
    yield "list", "[]", "expected an object, found list"
    yield "field", json.dumps(missing), "fields: missing or unknown: growth"
    yield "row", json.dumps(row), "layers: missing or unknown: both, forward, peak_bytes, setting"
    yield "section", json.dumps({**document, "network": 3}), "is not a benchmark record"
    yield (
        "machine",
        json.dumps({**document, "machine": {"side": 1}}),
        "machine: missing or unknown: convolution, copied",
    )


@pytest.mark.parametrize("which", range(6))
def test_a_damaged_record_is_named_with_a_way_out(document, results, which):
    name, text, message = list(damaged(document))[which]
    (results / f"bench-{name}.json").write_text(text)
    with pytest.raises(BenchRecordError, match=message) as caught:
        bench_documents()
    assert f"bench-{name}.json" in str(caught.value) and "sasa-tutorial bench --save" in str(caught.value)


# Sections that a committed document lacks, as the device was there for minutes only. Any other document is whole.
UNMEASURED = {"NVIDIA H200": {"network", "growth"}}


def test_the_committed_benchmarks_can_be_read():
    for document in bench_documents():
        empty = {section for section in ("machine", "layers", "network", "growth") if not document[section]}
        assert empty == UNMEASURED.get(document["device"], set()), document["device"]


def test_the_notebook_on_time_shows_the_committed_record():
    notebook = nbformat.read(ROOT / "notebooks" / "09_from_flops_to_seconds.ipynb", as_version=4)
    printed = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []))
    record = next(document for document in bench_documents() if document["device"] == "AMD EPYC, 2 threads")
    for section in ("layers", "network"):
        assert show(section, record[section]) in printed


def test_a_record_is_read_and_shown_as_ever(results):
    """A committed record, shortened, with a floor added: records are never edited, so the format stays."""
    golden = ROOT / "tests" / "golden"
    shutil.copy(golden / "bench.json", results / "bench-golden.json")
    (document,) = bench_documents()
    growth = [list(curves) for _, curves in groupby(document["growth"], itemgetter("factor"))]
    sections = [(name, document[name]) for name in SECTIONS if name != "growth"] + [("growth", part) for part in growth]
    shown = "\n\n".join(show(name, stored) for name, stored in sections)
    assert shown + "\n" == (golden / "bench.txt").read_text(encoding="utf-8")


# The command

SHAPE = ("--rounds", "1", "--batch", "1", "--channels", "8", "--size", "4", "--kernel-size", "3", "--heads", "2")


def bench(*options: str):
    return CliRunner().invoke(cli, ("bench", *SHAPE, "--device", "cpu", *options))


def test_the_command_prints_json_for_machines(tiny):
    result = bench("--dtype", "bfloat16", "--only", "layers", "--only", "growth", "--json")
    document = json.loads(result.stdout)
    assert {entry["name"] for entry in document["layers"]} == set(subjects(TINY))
    assert document["setting"] == asdict(replace(TINY, dtype="bfloat16"))
    assert document["growth"] and document["network"] == [] and document["floor"] is None


def test_the_command_saves_what_it_shows(tiny, results):
    result = bench("--save")
    (document,) = bench_documents()
    assert "saved in " in result.stdout and document["device"] in result.stdout.splitlines()[0]
    for section in ("machine", "layers", "network"):
        assert show(section, document[section]) in result.stdout


def test_ctrl_c_loses_nothing_that_was_measured(tiny, results):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    tiny.setattr("sasa_tutorial.bench.growth.measure_growth", interrupted)
    result = bench("--save")
    assert result.exit_code and "A training step of ResNet-14" in result.stdout
    assert bench_documents() == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--save", "--only", "layers"), "leave --only out"),
        (("--only", "floor", "--device", "cpu"), "on cpu there are machine, layers, network, growth, got 'floor'"),
    ],
)
def test_what_does_not_go_together_is_refused(said, options, message):
    result = said("bench", *options)
    assert result.returncode in (1, 2) and message in result.stderr and "Traceback" not in result.stderr
