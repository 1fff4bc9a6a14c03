"""Numbers that a notebook gives without a cell of its own ("when we tried"), measured again.

    python scripts/asides.py          # all of them: some fifteen minutes on one core
    python scripts/asides.py 07 11    # those of two notebooks

A lesson shows what its argument rests on. What it mentions on the side (more seeds, a longer training, another rate)
has its code here: each of these functions runs the notebook's own cells up to the one named, then measures.
"""

import contextlib
import io
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace

import matplotlib
import nbformat
import torch
import torch.nn.functional as F
from torch import nn

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"


@dataclass(frozen=True)
class Aside:
    """A claim, and how to measure it."""

    notebook: str  # its number
    cell: str  # where it is said
    says: str  # in these words
    after: str  # the last cell whose code it needs
    measure: Callable[[SimpleNamespace], Iterator[str]]  # what it finds, a line at a time


ASIDES: list[Aside] = []


def aside(notebook: str, cell: str, says: str, after: str) -> Callable:
    """Puts a function into the list."""

    def enlist(measure: Callable) -> Callable:
        ASIDES.append(Aside(notebook, cell, says, after, measure))
        return measure

    return enlist


@aside("02", "payoff-note", "with seed 4 it got 76 %", after="payoff-layers")
def mean_of_all_with_seed_4(nb: SimpleNamespace) -> Iterator[str]:
    yield percent(twins_right(nb, nb.mean_of_all, seed=4))


@aside("02", "payoff-note", "without it the same seeds got 74, 93 and 81 %", after="payoff-layers")
def attention_without_gain(nb: SimpleNamespace) -> Iterator[str]:
    yield percent(*(twins_right(nb, partial(nb.attention, gain=1.0), seed) for seed in range(3)))


def twins_right(nb: SimpleNamespace, spatial: Callable, seed: int) -> float:
    network = nb.teaching.learn(nb.small_network(spatial, seed), nb.teaching.draw_twins, steps=300, rate=0.02)
    return nb.teaching.share_right(network, nb.teaching.draw_twins)


@aside("03", "payoff-learned", "We measured 83, 81 and 84 % for the convolution", after="payoff-layers")
def mosaics_for_longer(nb: SimpleNamespace) -> Iterator[str]:
    for name, seeds in (
        ("5 x 5 convolution", 3),
        ("window average", 3),
        ("local attention", 1),
        ("global attention", 1),
    ):
        yield f"{name}: {percent(*(mosaic_right(nb, name, seed, 1200) for seed in range(seeds)))}"


@aside("03", "payoff-learned", "of nine seeds, eight reached 85 %", after="payoff-layers")
def mosaics_from_nine_starts(nb: SimpleNamespace) -> Iterator[str]:
    yield percent(*(mosaic_right(nb, "local attention", seed, 120) for seed in range(9)))


def mosaic_right(nb: SimpleNamespace, name: str, seed: int, steps: int) -> float:
    torch.manual_seed(seed)
    network = nb.network_with(nb.middle_layers[name]())
    nb.teaching.learn(network, nb.mosaic, steps=steps, batch=16, rate=0.02)
    return nb.teaching.share_right(network, nb.mosaic, count=200)


@aside("04", "exercise-3-solution", "they get 97, 99 and 84 %", after="exercise-3-answer")
def order_around_the_pair(nb: SimpleNamespace) -> Iterator[str]:
    images, labels = nb.wide(2)(1000, 1_000_003)
    coloured = (images == nb.RED.max()).any(dim=1).any(dim=1)  # a column with red or blue
    left = coloured.int().argmax(dim=1)  # the first of two
    around = left[:, None] + torch.arange(-2, 5)  # seven columns, the pair in the middle
    for attention, relu, _, flatten, linear in nb.learned["relative offsets"]:
        mixed = relu(attention(images))
        seen = mixed.gather(3, around[:, None, None].expand(-1, *mixed.shape[1:3], -1)).mean(dim=(2, 3))
        yield percent((linear(flatten(seen)).argmax(dim=1) == labels).float().mean().item())


@aside("04", "exercise-3-solution", "in images 7 wide, as in training, the same networks", after="exercise-3-answer")
def order_in_images_as_narrow_as_in_training(nb: SimpleNamespace) -> Iterator[str]:
    for apart in range(1, 7):
        draw = partial(nb.red_or_blue_first, apart=apart)
        shares = (nb.teaching.share_right(network, draw) for network in nb.learned["relative offsets"])
        yield f"{apart} apart: {percent(*shares)}"


@aside("04", "exercise-3-solution", "of 98 % of the images", after="exercise-3-answer")
def first_answer_at_distance_3(nb: SimpleNamespace) -> Iterator[str]:
    images, _ = nb.wide(3)(1000, 1_000_003)
    yield percent(*((one(images).argmax(dim=1) == 0).double().mean().item() for one in nb.learned["relative offsets"]))


@aside("04", "exercise-3-solution", "still gives 63, 73, 89 and 63, 76, 92 %", after="exercise-3-answer")
def narrow_images_inside_wide_ones(nb: SimpleNamespace) -> Iterator[str]:
    for apart in (5, 6):
        images, labels = nb.red_or_blue_first(1000, 1_000_003, apart=apart)
        wide = 0.3 * torch.randn(*images.shape[:3], 15, generator=torch.Generator().manual_seed(1_000_010))
        wide[..., 4:11] = images
        for columns in (slice(4, 11), slice(0, 15)):
            shares = []
            for attention, relu, _, _, linear in nb.learned["relative offsets"]:
                mean = relu(attention(wide))[..., columns].mean(dim=(2, 3))
                shares.append((linear(mean).argmax(dim=1) == labels).double().mean().item())
            yield f"{apart} apart, {columns.stop - columns.start} columns: {percent(*shares)}"


@aside("05", "payoff-read", "four plain heads got 100, 73 and 100 %", after="payoff-networks-built")
def stem_with_a_channel_of_ones(nb: SimpleNamespace) -> Iterator[str]:
    def right(seed: int) -> float:
        torch.manual_seed(seed)
        stem = nb.layers.AttentionStem2d(4, 8, block=4, heads=4, values="plain")
        return nb.teaching.share_right(
            nb.learn_halves(nn.Sequential(WithOnes(), stem, nn.Conv2d(8, 4, 1))), nb.mosaics, count=300
        )

    yield percent(*map(right, range(3)))


@aside(
    "05",
    "payoff-photograph-measured-read",
    "lift their right answers to about 85 to 97 %",
    after="payoff-networks-built",
)
def four_plain_heads_for_longer(nb: SimpleNamespace) -> Iterator[str]:
    for seed in range(3):
        torch.manual_seed(seed)
        network = nb.teaching.learn(nb.with_stem("plain", 4), nb.mosaics, steps=1500, batch=8, rate=0.03)
        yield percent(nb.teaching.share_right(network, nb.mosaics, count=300))


@aside(
    "06",
    "pay-off-look",
    "one seed got all the way when we tried, and the other two reached 75 %",
    after="pay-off-learn",
)
def attention_with_positions_at_twice_the_rate(nb: SimpleNamespace) -> Iterator[str]:
    for seed in range(3):
        torch.manual_seed(seed)
        layer = nb.candidates["attention,\npositions"]()
        network = nn.Sequential(layer, nn.Conv2d(8, 4, 1), nn.Unflatten(1, (2, 2)))
        nb.teaching.learn(network, nb.draw, steps=300, batch=16, rate=0.1)
        edge, mean = (network(nb.pictures).argmax(dim=1) == nb.right_answers).float().mean(dim=(0, 2, 3)).tolist()
        yield f"edge {percent(edge)}, mean {percent(mean)}"


@aside("06", "pay-off-look", "five seeds got 99, 80, 76, 97 and 75 %", after="pay-off-learn")
def attention_with_tables_that_learn_fast(nb: SimpleNamespace) -> Iterator[str]:
    for seed in range(5):
        torch.manual_seed(seed)
        layer = nb.candidates["attention,\npositions"]()
        network = nn.Sequential(layer, nn.Conv2d(8, 4, 1), nn.Unflatten(1, (2, 2)))
        tables = list(layer.offsets.parameters())
        others = [p for p in network.parameters() if all(p is not table for table in tables)]
        optimiser = torch.optim.Adam([{"params": others}, {"params": tables}])
        for step in range(300):  # as `learn` does, but for the rate of the tables
            rate = 0.05 * min(1.0, 2 * (1 - step / 300))
            for group, times in zip(optimiser.param_groups, (1, 8), strict=True):
                group["lr"] = times * rate
            images, answers = nb.draw(16, step)
            optimiser.zero_grad()
            F.cross_entropy(network(images), answers).backward()
            optimiser.step()
        edge = (network.eval()(nb.pictures).argmax(dim=1) == nb.right_answers)[:, 0].float().mean().item()
        yield f"edge {percent(edge)}"


@aside("05", "blur-read", "74 to 80 % come out right when we tried", after="blur-table")
def convolution_and_maximum(nb: SimpleNamespace) -> Iterator[str]:
    def right(trial: int) -> float:
        torch.manual_seed(nb.seed + trial)
        windows = [nn.ZeroPad2d((1, 2, 1, 2)), nn.Conv2d(3, 8, 4, bias=False), nn.MaxPool2d(4)]
        return nb.teaching.share_right(
            nb.learn_halves(nn.Sequential(*windows, nn.Conv2d(8, 4, 1))), nb.mosaics, count=300
        )

    yield percent(*map(right, range(3)))


@aside("07", "limits-count-text", "16 slots got 94, 100 and 100 %", after="toy-pictures")
def twins_by_slots(nb: SimpleNamespace) -> Iterator[str]:
    other, draw = names_after("02", "payoff-layers"), nb.teaching.draw_twins
    for normalization in ("double", "slots"):
        shares = []
        for seed in range(3):
            options = {"slots": 16, "heads": 1, "normalization": normalization}
            network = other.small_network(
                lambda c_in, c_out, _, o=options: nb.layers.ExternalAttention2d(c_in, c_out, **o), seed
            )
            nb.teaching.learn(network, draw, steps=300, rate=0.02)
            shares.append(nb.teaching.share_right(network, draw))
        yield f"{normalization}: {percent(*shares)}"


@aside("07", "payoff-look", "self-attention got 90 to 97 % and one softmax 97 to 98 %", after="payoff-learn")
def without_the_mean_colour(nb: SimpleNamespace) -> Iterator[str]:
    def centred(images: int, number: int) -> tuple[torch.Tensor, torch.Tensor]:
        x, labels = nb.changing(images, number)
        return x - x.mean(dim=(2, 3), keepdim=True), labels

    for name in ("self-attention", "softmax over slots"):
        yield f"{name}: {percent(*(teams_right(nb, nb.makers[name], centred, seed) for seed in range(3)))}"


@aside("07", "payoff-look", "self-attention got 62 to 65 %", after="payoff-learn")
def self_attention_with_patience(nb: SimpleNamespace) -> Iterator[str]:
    make = nb.makers["self-attention"]
    yield percent(*(teams_right(nb, make, nb.changing, seed, steps=1500) for seed in range(3)))


def teams_right(
    nb: SimpleNamespace, make: Callable, draw: Callable, seed: int, *, steps: int = 150, before: Callable = nn.Identity
) -> float:
    """Of a layer, with something before it."""
    torch.manual_seed(seed)
    network = nn.Sequential(before(), nb.with_classifier(make()))
    return nb.teaching.share_right(nb.teaching.learn(network, draw, steps=steps, rate=0.02), draw)


@aside("07", "payoff-slots-look", "the weakest keys were 3.9 and 4.0, close to the next", after="payoff-learn")
def weakest_keys(nb: SimpleNamespace) -> Iterator[str]:
    for seed in range(3):
        torch.manual_seed(seed)
        network = nb.with_classifier(nb.makers["double normalisation"]())
        attention = nb.teaching.learn(network, nb.changing, steps=150, rate=0.02)[0]
        pull = (attention.memory_k @ attention.to_q.weight.flatten(1)).norm(dim=1).sort().values
        yield f"{pull[0]:.1f}, the next {pull[1]:.1f}"


@aside("07", "exercise-3-solution", "Two were a gamble in our trials: 83, 50 and 50 %", after="payoff-learn")
def two_slots_and_three(nb: SimpleNamespace) -> Iterator[str]:
    for slots in (2, 3):
        make = partial(nb.layers.ExternalAttention2d, 3, 16, slots=slots)
        yield f"{slots} slots: {percent(*(teams_right(nb, make, nb.changing, seed) for seed in range(3)))}"


@aside("07", "exercise-3-solution", "77, 59 and 51 % after 500 steps", after="payoff-learn")
def self_attention_with_a_hidden_layer(nb: SimpleNamespace) -> Iterator[str]:
    def hidden() -> nn.Module:
        return nn.Sequential(nn.Conv2d(3, 16, 1), nn.ReLU())

    make = partial(nb.layers.GlobalSelfAttention2d, 16, 16, heads=1)
    for steps in (500, 1500):
        yield percent(*(teams_right(nb, make, nb.changing, seed, steps=steps, before=hidden) for seed in range(3)))
    without = nb.makers["self-attention"]
    yield f"without: {percent(*(teams_right(nb, without, nb.changing, seed, steps=500) for seed in range(3)))}"


@aside("08", "plane-read", "Without the exceptions 21 come out, fewer than with halves", after="plane")
def rule_without_exceptions(nb: SimpleNamespace) -> Iterator[str]:
    per_norm, per_logit = nb.per_norm[:, None], nb.per_logit
    for exceptions in ({"of networks without keys"}, {"of the stem"}, {"of networks without keys", "of the stem"}):
        agreeing = 0
        for cost, row in nb.witnesses.items():
            added = cost.added_flops
            if "of networks without keys" in exceptions and not row.options.get("content", True):
                added = cost.explicit_flops  # a product for every cell
            if "of the stem" in exceptions and row.options.get("stem") == "attention":
                added -= row.size**2 * 64 * 4**2  # 64 channels, windows of 4 x 4: r is added to the key there, too
            flops = added + per_norm * cost.norm_outputs + per_logit * cost.logits
            agreeing = agreeing + ((flops / 1e9 - float(row.flops)).abs() <= 0.05).int()
        yield f"without the exception {' and '.join(sorted(exceptions))}: {agreeing.max()} of {len(nb.witnesses)}"


@aside(
    "09",
    "slower-read",
    "1.3 to 1.8 times as long at 32 channels, and two to three times at 16",
    after="race",
)
def narrow_layers_with_heads_of_eight_channels(nb: SimpleNamespace) -> Iterator[str]:
    def both_passes(layer: nn.Module, x: torch.Tensor) -> float:
        return nb.milliseconds(lambda: layer(x).sum().backward())

    torch.set_num_threads(1)
    for channels, heads in ((32, 8), (32, 4), (16, 2)):
        attention = nb.layers.LocalSelfAttention2d(channels, channels, 7, heads=heads)
        convolution = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        x = torch.randn(32, channels, 32, 32, requires_grad=True)
        ratios = sorted(both_passes(attention, x) / both_passes(convolution, x) for _ in range(7))
        yield f"{channels} channels, {heads} heads: {ratios[3]:.1f} times a 3x3 convolution"


@aside("10", "seed-worth-read", "about one time in ten, a true 0.78 one in eighty", after="seed-worth")
def correlations_that_three_seeds_show(nb: SimpleNamespace) -> Iterator[str]:
    dice, tries, networks = torch.Generator().manual_seed(0), 4000, nb.known.networks
    for rho in (0.3, 0.78):
        shared = torch.randn(tries, 1, 3, generator=dice)
        own = torch.randn(tries, networks, 3, generator=dice)
        runs = rho**0.5 * shared + (1 - rho) ** 0.5 * own
        runs = runs - runs.mean(dim=2, keepdim=True)
        norms = runs.norm(dim=2)  # as in comparison.py: products over all pairs by products of norms
        products = (runs.sum(dim=1).square().sum(dim=1) - norms.square().sum(dim=1)) / 2
        found = products / ((norms.sum(dim=1).square() - norms.square().sum(dim=1)) / 2)
        yield f"true {rho}: {(found <= nb.known.correlation).double().mean():.3f} of {tries} tries"


@aside("10", "exercise-3-solution", "after 4.3 seeds on average", after="exercise-3-answer")
def what_an_honest_peek_costs(nb: SimpleNamespace) -> Iterator[str]:
    dice, n = torch.Generator().manual_seed(0), torch.arange(1, 11)
    luck = torch.randn(200_000, 10, generator=dice, dtype=torch.float64).cumsum(dim=1) / n.sqrt()
    limit = luck[:, 2:].abs().amax(dim=1).quantile(1 - nb.comparison.LEVEL).item()
    for delta in (2.0, 1.0, 0.0):  # in units of σ; a pair of seeds scatters by √2 σ
        z = luck + delta / 2**0.5 * n.sqrt()
        beyond = z[:, 2:].abs() > limit
        looks = torch.where(beyond.any(dim=1), beyond.double().argmax(dim=1) + 3, 10)
        fixed = (z.abs() > 1.96).double().mean(dim=0)
        found, seeds = beyond.any(dim=1).double().mean(), looks.double().mean()
        yield f"limit {limit:.2f}, {delta:g} σ: found {found:.3f} after {seeds:.1f} seeds"
        yield "found by so many fixed seeds: " + ", ".join(f"{k}: {share:.3f}" for k, share in enumerate(fixed, 1))


@aside("11", "cost-read", "With red anywhere it got 73, 96 and 99 % when we tried", after="cost-network")
def zero_padding_at_the_border(nb: SimpleNamespace) -> Iterator[str]:
    def anywhere(count: int, number: int) -> tuple[torch.Tensor, torch.Tensor]:
        """As `neighbours`, with red wherever its neighbour on that side lies inside the image."""
        dice = torch.Generator().manual_seed(number)
        images, side = 0.3 * torch.rand(count, 3, 4, 4, generator=dice), torch.randint(4, (count,), generator=dice)
        steps, n = nb.SIDES[side], torch.arange(count)
        lowest, beyond = (-steps).clamp(min=0), 4 - steps.clamp(min=0)
        red = lowest + (torch.rand(count, 2, generator=dice) * (beyond - lowest)).long()
        for (row, col), colour in ((red.T, (1.0, 0.0, 0.0)), ((red + steps).T, (0.0, 0.0, 1.0))):
            images[n, :, row, col] = torch.tensor(colour)
        return images, side

    padded = nb.teaching.bug_named("zero-padded keys keep their share of the softmax").build
    for name, layer in (("right", nb.layers.LocalSelfAttention2d), ("zero-padded", padded)):
        for steps in (60, 240):
            found = (
                nb.teaching.learn(nb.network_with(layer, seed), anywhere, steps=steps, batch=24, rate=0.02)
                for seed in range(3)
            )
            shares = [nb.teaching.share_right(network, anywhere) for network in found]
            yield f"{name}, {steps} steps: {percent(*shares)}"


@aside("11", "cost-wide-read", "After 800 steps (we tried)", after="cost-wide")
def windows_in_the_wrong_order_for_longer(nb: SimpleNamespace) -> Iterator[str]:
    layer = nb.teaching.bug_named("unfolded windows reshaped in the wrong order").build
    for seed in range(3):
        network = nb.teaching.learn(nb.network_with(layer, seed), nb.wide, steps=800, batch=24, rate=0.02)
        hits = (network(nb.unseen).argmax(dim=1) == nb.sides).double()
        sideways, upright = (hits[found].mean().item() for found in (nb.sides < 2, nb.sides > 1))
        yield f"left, right {percent(sideways)}; above, below {percent(upright)}"


@aside("11", "cost-shortcut-read", "after 800 steps (we tried) still find 86 and 92 %", after="cost-shortcut")
def blue_alone_in_wide_images(nb: SimpleNamespace) -> Iterator[str]:
    layer = nb.teaching.bug_named("unfolded windows reshaped in the wrong order").build
    upright = nb.sides > 1
    for seed in range(2):
        network = nb.teaching.learn(nb.network_with(layer, seed), nb.wide, steps=800, batch=24, rate=0.02)
        hits = network(nb.without_red(nb.unseen[upright])).argmax(dim=1) == nb.sides[upright]
        yield percent(hits.double().mean().item())


class WithOnes(nn.Module):
    """Appends a channel of ones."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.pad(x, (0, 0, 0, 0, 0, 1), value=1.0)


def percent(*shares: float) -> str:
    return ", ".join(f"{100 * share:.0f}" for share in shares) + " %"


@cache
def names_after(notebook: str, last: str) -> SimpleNamespace:
    """What the cells of a notebook define, up to one; nothing is trained on images, shown or printed."""
    names: dict = {"__name__": "notebook"}
    for cell in read(notebook).cells:
        if cell.cell_type == "code" and cell.id not in ("colab-setup", "train-run"):
            with contextlib.redirect_stdout(io.StringIO()):
                exec(compile(cell.source, f"{notebook}, {cell.id}", "exec"), names)
        if cell.id == last:
            return SimpleNamespace(**names)
    raise ValueError(f"notebook {notebook} has no cell {last!r}")


def read(notebook: str) -> nbformat.NotebookNode:
    (path,) = NOTEBOOKS.glob(f"{notebook}_*.ipynb")
    return nbformat.read(path, as_version=4)


def main(wanted: list[str]) -> None:
    known = sorted({one.notebook for one in ASIDES})
    if strange := sorted(set(wanted) - set(known)):
        raise SystemExit(f"no asides in {', '.join(strange)}; there are some in {', '.join(known)}")
    matplotlib.use("agg")
    torch.set_num_threads(1)  # as the notebooks' outputs were made
    for one in ASIDES:
        if not wanted or one.notebook in wanted:
            print(f'{one.notebook}, {one.cell}: "{one.says}"', flush=True)
            for line in one.measure(names_after(one.notebook, one.after)):
                print(f"    {line}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
