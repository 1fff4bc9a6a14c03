"""What every layer and network does as `nn.Conv2d` does: drawn again, on any device, in any type, traced, exported."""

import copy
import hashlib
import io

import pytest
import torch
from torch import nn
from torch.nn.utils import skip_init
from torchvision.models.feature_extraction import create_feature_extractor

from sasa_tutorial import kernels, layers, models
from sasa_tutorial.models import EANetBlock, eamlp
from tests.every_layer import LAYERS, NETWORKS, WITHOUT_PARAMETERS, reset

EVERYTHING = {**LAYERS, **NETWORKS}
OTHERS = {
    "EANet's block": lambda: EANetBlock(8),
    "EAMLP": lambda: eamlp(7, num_classes=3, image_size=16),
    "zero residual, query gain": lambda: models.cifar_resnet(
        models.spatial.local_attention(), depth=14, width=0.125, zero_residual=True, query_gain=3.0
    ),
}
# Of the state after torch.manual_seed(7), from before the layers could draw again: records depend on these bits.
BITS = {
    "convolution": "9c0030c5d76871d9",
    "global_attention": "5398000d753550a6",
    "local_attention": "9cee64b59f7257ea",
    "relative_offsets": "0d5129fa34253d61",
    "attention_stem": "b05c6baf8a4c4fa0",  # since its embeddings begin as small as all tables; its records are younger
    "augmented_convolution": "93279cc6a403c552",
    "external_attention": "69f7385932d4a920",
}


def images(name, number=2):
    return torch.randn(number, 3, 32, 32) if name in NETWORKS else torch.randn(number, 4, 4, 4)


@pytest.mark.parametrize("name", BITS)
def test_a_seed_gives_the_weights_that_it_always_gave(name):
    torch.manual_seed(7)
    bits = hashlib.sha256()
    for key, tensor in models.cifar_models()[name](depth=14, width=0.25).state_dict().items():
        bits.update(key.encode() + tensor.numpy().tobytes())
    assert bits.hexdigest()[:16] == BITS[name]


def spread(build, number):
    """Of every tensor in the state, over some of them: mean, deviation, largest."""
    states = [build().state_dict() for _ in range(number)]
    every = {key: torch.stack([state[key].double() for state in states]) for key in states[0]}
    return {key: (x.mean(), x.std(correction=0), x.abs().max(), x.numel()) for key, x in every.items()}


@pytest.mark.parametrize("name", [*EVERYTHING, *OTHERS])
def test_everything_is_drawn_again_as_at_construction(name):
    build = {**EVERYTHING, **OTHERS}[name]
    number = 40 if name in LAYERS else 3
    trained = build()

    def again():
        with torch.no_grad():
            for tensor in trained.state_dict().values():
                tensor.fill_(7)
        return copy.deepcopy(reset(trained))

    found, expected = spread(again, number), spread(build, number)
    for key, (mean, deviation, most, numel) in expected.items():
        noise = deviation * numel**-0.5
        assert abs(found[key][0] - mean) <= 8 * noise, key
        assert abs(found[key][1] - deviation) <= 8 * noise, key
        assert found[key][2] <= 2.5 * most + 1e-9, key


@pytest.mark.parametrize("name", EVERYTHING)
def test_empty_memory_is_filled(name):
    with torch.device("meta"):
        module = EVERYTHING[name]()
    assert all(tensor.is_meta for tensor in module.state_dict().values())
    module = reset(module.to_empty(device="cpu"))
    y = module.eval()(images(name))
    assert y.isfinite().all() and y.abs().sum() > 0


@pytest.mark.parametrize("name", LAYERS)
def test_device_and_dtype_at_construction(name):
    assert {p.dtype for p in LAYERS[name](dtype=torch.float64).parameters()} == {torch.float64}
    assert {p.device.type for p in LAYERS[name](device="meta").parameters()} == {"meta"}
    layer = LAYERS[name](device="cpu", dtype=torch.float64)
    assert layer(images(name).double()).dtype == torch.float64
    assert set(layer.state_dict()) == set(LAYERS[name]().state_dict())


def test_skip_init_gives_a_layer_without_drawing():
    before = torch.get_rng_state()
    for kind, *arguments in (
        (layers.GlobalSelfAttention2d, 4, 4, 2),
        (layers.LocalSelfAttention2d, 4, 4, 3, 2),
        (layers.RelativeOffsets2d, 4, 3),
        (layers.AttentionStem2d, 4, 4, 2, 2),
        (layers.ExternalAttention2d, 4, 4, 3, 2),
    ):
        assert not any(p.is_meta for p in skip_init(kind, *arguments).parameters())
    augmented = skip_init(layers.AttentionAugmentedConv2d, 4, 4, key_channels=4, value_channels=2, heads=2)
    assert not any(p.is_meta for p in augmented.parameters())
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", EVERYTHING)
def test_narrow_weights_infer_and_learn(name, dtype):
    module, x = EVERYTHING[name]().eval(), images(name)
    expected = module(x)
    module, x = module.to(dtype), x.to(dtype)
    y = module(x)
    assert y.dtype == dtype
    assert (y.float() - expected).abs().max() <= 0.1 * expected.abs().max()
    module.train()
    optimizer = torch.optim.SGD(module.parameters(), lr=1e-3)
    module(x).float().square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())
    optimizer.step()
    assert module(x).isfinite().all()


@pytest.mark.parametrize("name", [*EVERYTHING, *WITHOUT_PARAMETERS])
def test_a_batch_of_nothing(name):
    module = {**EVERYTHING, **WITHOUT_PARAMETERS}[name]()
    shape = module.eval()(images(name)).shape
    for mode in (True, False):
        x = images(name, 0).requires_grad_()
        y = module.train(mode)(x)
        assert y.shape == (0, *shape[1:])
        y.sum().backward()
        assert x.grad.shape == x.shape


@pytest.mark.parametrize("name", [*LAYERS, *WITHOUT_PARAMETERS])
def test_a_layer_is_one_node_of_a_traced_graph(name):
    layer = {**LAYERS, **WITHOUT_PARAMETERS}[name]()
    network = nn.Sequential(layer, nn.ReLU()).eval()
    traced, x = torch.fx.symbolic_trace(network), images(name)
    assert [node.target for node in traced.graph.nodes if node.op == "call_module"] == ["0", "1"]
    assert torch.equal(traced(x), network(x))
    extractor = create_feature_extractor(network, {"0": "y"})
    assert torch.equal(extractor(x)["y"], layer(x))


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_are_traced_and_give_their_features(name):
    network, x = NETWORKS[name]().eval(), images(name)
    assert torch.equal(torch.fx.symbolic_trace(network)(x), network(x))
    found = create_feature_extractor(network, {"groups.2": "features", "groups.3.0.spatial": "last"})(x)
    assert torch.equal(found["features"], network.groups[:3](network.stem(x)))
    assert found["last"].shape[1] == network.groups[3][0].reduce.out_channels


@pytest.mark.parametrize("name", [*LAYERS, *WITHOUT_PARAMETERS, *NETWORKS])
def test_exported_programs_hold_nothing_of_ours(name):
    module, x = {**EVERYTHING, **WITHOUT_PARAMETERS}[name]().eval(), images(name)
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(module, (x,), dynamic_shapes=({0: batch},))
    assert not any("sasa_tutorial" in str(node.target) for node in program.graph.nodes)
    for other in (x, images(name, 5)):
        assert torch.allclose(program.module()(other), module(other), atol=1e-4)


def test_who_names_a_backend_exports_its_operator():
    layer, x = LAYERS["local"]().eval(), images("local")
    with kernels.using("streaming"):
        program = torch.export.export(layer, (x,))
    assert any("streaming_local_attention" in str(node.target) for node in program.graph.nodes)


@pytest.mark.parametrize("name", ["local", "global", "external", "augmented", "stem, mixture"])
def test_onnx(name):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    module, x = LAYERS[name]().eval(), images(name)
    program = torch.onnx.export(module, (x,), dynamo=True)
    domains = {node.domain for node in program.model.graph}
    assert domains <= {"", "ai.onnx"}, domains


@pytest.mark.parametrize("name", ["local", "stem, mixture", "augmented", "external", "global"])
def test_torchscript_traces_hold_nothing_of_ours(name):
    layer, x = LAYERS[name]().eval(), images(name)
    traced = torch.jit.trace(layer, x)
    assert "sasa_tutorial::" not in str(traced.inlined_graph)
    torch.jit.save(traced, file := io.BytesIO())
    file.seek(0)
    assert torch.allclose(torch.jit.load(file)(x), layer(x), atol=1e-5)


@pytest.mark.parametrize("name", ["relative_offsets", "attention_stem", "external_attention"])
def test_fully_sharded_in_one_process_it_learns_the_same(name, tmp_path):
    if not torch.distributed.is_available() or not torch.distributed.is_gloo_available():
        pytest.skip("no gloo")
    from torch.distributed.fsdp import fully_shard

    network = NETWORKS[name]()
    other, x = copy.deepcopy(network), images(name)
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    try:
        for block in (block for group in other.groups for block in group):
            fully_shard(block.spatial)
        mesh = torch.distributed.init_device_mesh("cpu", (1,))
        fully_shard(other, mesh=mesh)
        results = []
        for module in (network, other):
            y = module(x)
            y.square().sum().backward()
            gradients = {key: p.grad for key, p in module.named_parameters()}
            results.append((y, gradients))
        assert torch.allclose(results[0][0], results[1][0], atol=1e-4)
        for key, expected in results[0][1].items():
            found = results[1][1][key].full_tensor()
            assert (found - expected).norm() <= 1e-3 * expected.norm() + 1e-5, key
    finally:
        torch.distributed.destroy_process_group()


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_prints_its_heads(name):
    assert "heads=2" in repr(LAYERS[name]())
