"""Every derivative that PyTorch can be asked for, of every layer and backend: right, whatever computes the layer."""

import pytest
import torch
from torch import func
from torch.autograd import forward_ad, functional, gradcheck, gradgradcheck

from sasa_tutorial import kernels
from sasa_tutorial.kernels.native import projected
from sasa_tutorial.models import SelfAttention, TokenSelfAttention
from tests.every_layer import LAYERS, WITHOUT_PARAMETERS

D = torch.float64
BACKENDS = kernels.available_backends("cpu")
ALL = {**LAYERS, **WITHOUT_PARAMETERS}
needs_native = pytest.mark.skipif("native" not in BACKENDS, reason=kernels.why_unavailable("native"))


def made(name):
    return ALL[name]().to(D).eval()  # a batch norm that learns its statistics is no function of its input


def differences(function, x, direction, step=1e-6):
    return (function(x + step * direction) - function(x - step * direction)) / (2 * step)


def slope(layer):
    """A function of x with the gradients of something that is no constant."""
    return lambda x: layer(x).square().sum()


@pytest.mark.parametrize("name", ALL)
def test_first_and_second_derivatives_forwards_and_backwards(name):
    layer, x = made(name), torch.randn(1, 4, 2, 2, dtype=D, requires_grad=True)
    names, own = zip(*layer.named_parameters(), strict=True) if list(layer.parameters()) else ((), ())

    def call(x, *parameters):
        return func.functional_call(layer, dict(zip(names, parameters, strict=True)), x)

    assert gradcheck(call, (x, *own), check_forward_ad=True, fast_mode=True)
    assert gradgradcheck(call, (x, *own), fast_mode=True)


@pytest.mark.parametrize("name", ALL)
def test_the_transforms_of_torch_func(name):
    layer, x, t = made(name), torch.randn(3, 4, 4, 2, dtype=D), torch.randn(3, 4, 4, 2, dtype=D)
    close = {"rtol": 1e-9, "atol": 1e-9}
    y, tangent = func.jvp(layer, (x,), (t,))
    assert torch.allclose(y, layer(x), **close)
    assert torch.allclose(tangent, differences(layer, x, t), rtol=1e-5, atol=1e-6) and tangent.abs().sum() > 0
    with forward_ad.dual_level():
        dual = forward_ad.unpack_dual(layer(forward_ad.make_dual(x, t)))
        assert torch.allclose(dual.tangent, tangent, **close)
    (usual,) = torch.autograd.grad(slope(layer)(leaf := x.clone().requires_grad_()), leaf)
    assert torch.allclose(func.grad(slope(layer))(x), usual, **close)
    assert torch.allclose(func.vjp(slope(layer), x)[1](torch.ones((), dtype=D))[0], usual, **close)
    one = x[:1]
    jacobian = func.jacrev(layer)(one)
    assert torch.allclose(func.jacfwd(layer)(one), jacobian, **close)
    assert torch.allclose(torch.einsum("...bchw,bchw->...", jacobian, t[:1]), func.jvp(layer, (one,), (t[:1],))[1])
    each = func.vmap(lambda image: layer(image[None])[0])(x)
    assert torch.allclose(each, layer(x), **close)


@pytest.mark.parametrize("name", LAYERS)
def test_gradients_of_each_image_by_itself(name):
    layer, x = made(name), torch.randn(3, 4, 2, 4, dtype=D)
    parameters = dict(layer.named_parameters())

    def loss(parameters, image):
        return func.functional_call(layer, parameters, image[None]).square().sum()

    detached = {name: p.detach() for name, p in parameters.items()}
    each = func.vmap(func.grad(loss), in_dims=(None, 0))(detached, x)
    for number, image in enumerate(x):
        expected = torch.autograd.grad(slope(layer)(image[None]), list(parameters.values()), allow_unused=True)
        for (name, _), wanted in zip(parameters.items(), expected, strict=True):
            assert torch.allclose(each[name][number], torch.zeros(()).double() if wanted is None else wanted), name


@pytest.mark.parametrize("name", ALL)
def test_a_gradient_penalty_and_a_hessian_vector_product(name):
    layer, t = made(name), torch.randn(2, 4, 2, 4, dtype=D)
    x = torch.randn(2, 4, 2, 4, dtype=D, requires_grad=True)

    def gradient(x):
        return torch.autograd.grad(slope(layer)(x), x, create_graph=True)[0]

    (product,) = torch.autograd.grad((gradient(x) * t).sum(), x)
    at = x.detach()
    around = [gradient((at + step * t).requires_grad_()).detach() for step in (1e-6, -1e-6)]
    assert torch.allclose(product, (around[0] - around[1]) / 2e-6, rtol=1e-4, atol=1e-5)
    assert torch.allclose(functional.hvp(slope(layer), at, t)[1], product)
    assert torch.allclose(func.jvp(func.grad(slope(layer)), (at,), (t,))[1], product)
    if (parameters := list(layer.parameters())) and "stem" not in name:
        gradient(x).square().sum().backward()  # the penalty trains the layer
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in parameters)


def inputs(d=3):
    q, k, v = (torch.randn(1, 2, d, 2, 3, dtype=D).requires_grad_() for _ in range(3))
    row, col = (torch.randn(rows, 5, dtype=D).requires_grad_() for rows in (d // 2, d - d // 2))
    return q, k, v, row, col


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("without", [(), (1,), (3, 4)], ids=["all", "no keys", "no tables"])
def test_every_backend_has_every_derivative(backend, without):
    given = inputs()
    places = [place for place in range(5) if place not in without]

    def attend(*tensors):
        every = dict(zip(places, tensors, strict=True))
        return kernels.local_attention(*(every.get(i) for i in range(5)), kernel_size=5, backend=backend)

    arguments = [given[place] for place in places]
    assert gradcheck(attend, arguments, check_forward_ad=True, check_batched_grad=True)
    assert gradgradcheck(attend, arguments, fast_mode=True)


@needs_native
def test_the_step_with_projections_has_second_and_third_derivatives():
    x = torch.randn(2, 3, 2, 3, dtype=D, requires_grad=True)
    q, k, v = (torch.randn(4, 3, dtype=D, requires_grad=True) for _ in range(3))
    row, col = (torch.randn(1, 3, dtype=D, requires_grad=True) for _ in range(2))

    def attend(x, *others):
        return projected.attend(x, *others, heads=2, kernel_size=3)

    assert gradgradcheck(attend, (x, q, k, v, row, col), fast_mode=True)

    def gradient(x, q):
        return torch.autograd.grad(attend(x, q, k, v, row, col).square().sum(), x, create_graph=True)[0]

    assert gradgradcheck(gradient, (x, q), fast_mode=True)


@needs_native
def test_the_raw_operator_with_any_reach_has_its_own_second_derivative():
    q, k, v, *_ = inputs()
    row, col = torch.randn(1, 3, dtype=D, requires_grad=True), torch.randn(2, 1, dtype=D, requires_grad=True)
    run = torch.ops.sasa_tutorial.native_local_attention
    assert gradgradcheck(lambda *a: run(*a, [1, 0])[0], (q, k, v, row, col))


def test_narrow_numbers_and_autocast_have_second_derivatives():
    layer, x = LAYERS["local"](), torch.randn(2, 4, 4, 4, requires_grad=True)

    def product():
        (gradient,) = torch.autograd.grad(slope(layer)(x).float(), x, create_graph=True)
        return torch.autograd.grad(gradient.square().sum(), x)[0]

    expected = product()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (product() - expected).abs().max() < 0.1 * expected.abs().max()
    layer, x = layer.bfloat16(), x.detach().bfloat16().requires_grad_()
    assert (product().float() - expected).abs().max() < 0.15 * expected.abs().max()


def test_tokens_too():
    x = torch.randn(2, 3, 4, dtype=D, requires_grad=True)
    for layer in (SelfAttention(4, 2), TokenSelfAttention(4, 4)):
        assert gradgradcheck(layer.to(D), x) and gradcheck(layer, x, check_forward_ad=True)


@needs_native
@pytest.mark.parametrize("name", ["local", "global"])
def test_usual_training_still_takes_the_kernels(name):
    layer, x = LAYERS[name](), torch.randn(2, 4, 4, 4, requires_grad=True)
    with torch.profiler.profile() as profile:
        layer(x).sum().backward()
    ran = {event.key for event in profile.key_averages()}
    kernel = "sasa_tutorial::native_projected_local_attention" if name == "local" else "aten::_scaled_dot_product_flash"
    assert any(key.startswith(kernel) and "backward" not in key for key in ran)
    assert any(key.startswith(kernel) and "backward" in key for key in ran)


@pytest.mark.parametrize("name", ["local", "global"])
def test_compiled_transforms_are_those_of_the_layer(name):
    layer, x, t = LAYERS[name](), torch.randn(2, 4, 4, 4), torch.randn(2, 4, 4, 4)
    for function in (func.grad(slope(layer)), lambda x: func.jvp(layer, (x,), (t,))[1]):
        compiled = torch.compile(function, backend="aot_eager", fullgraph=True)
        assert torch.allclose(compiled(x), function(x), atol=1e-5)
