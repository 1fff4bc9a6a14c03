"""The synthetic twin: is it what it says, and can only the right network see what it should?"""

import pytest
import torch
import torch.nn.functional as F
from einops import einsum

from sasa_tutorial.datasets import load_cifar100, normalise, synthetic_cifar100
from sasa_tutorial.datasets.class_names import CIFAR100_CLASS_NAMES
from sasa_tutorial.datasets.synthetic import MARK, MARK_COLOURS, TEXTURES, describe, evidence
from tests.conftest import real_data


@pytest.fixture(scope="module")
def train():
    return synthetic_cifar100(4000, split="train")


@pytest.fixture(scope="module")
def validation():
    return synthetic_cifar100(1000, split="validation")


def test_it_has_cifar100s_shape_and_names(train):
    assert train.images.shape == (4000, 3, 32, 32) and train.images.dtype == torch.uint8
    assert torch.bincount(train.labels).tolist() == [40] * 100
    assert train.class_names == CIFAR100_CLASS_NAMES and len(set(CIFAR100_CLASS_NAMES)) == 100


@pytest.mark.skipif(not real_data(), reason="CIFAR-100 is not in data/: sasa-tutorial data download")
def test_the_names_are_the_official_ones():
    assert load_cifar100(split="test").class_names == CIFAR100_CLASS_NAMES


def test_a_seed_decides_every_pixel_and_splits_share_no_image(train, validation):
    again = synthetic_cifar100(4000, split="train")
    assert torch.equal(again.images, train.images) and torch.equal(again.labels, train.labels)
    assert not torch.equal(synthetic_cifar100(4000, split="train", seed=1).images, train.images)
    seen = {image.numpy().tobytes() for image in train.images}
    assert len(seen) == 4000
    assert not any(image.numpy().tobytes() in seen for image in validation.images)


def test_a_linear_classifier_on_pixels_stays_below_40_percent(train, validation):
    x, held_out = (torch.cat((normalise(s.images).flatten(1), torch.ones(len(s), 1)), 1) for s in (train, validation))
    gram, targets = x.T @ x, x.T @ F.one_hot(train.labels, 100).float()
    accuracies = []
    for penalty in (1e2, 1e3, 1e4, 1e5):  # least squares in closed form, with the best of several penalties
        weights = torch.linalg.solve(gram + penalty * torch.eye(x.shape[1]), targets)
        accuracies.append(((held_out @ weights).argmax(1) == validation.labels).float().mean().item())
    assert 0.05 < max(accuracies) < 0.4


def marks(images: torch.Tensor) -> list[list[tuple[int, int, int]]]:
    """Of each image: row, column and colour of every place where a 5x5 patch has the mean of a mark colour."""
    patches = F.avg_pool2d(images.float() / 255, MARK, stride=1)  # n 3 28 28
    colours = torch.tensor(MARK_COLOURS)
    # Marks are up to 15 % darker than their colour: compare the direction, then the length.
    ratio = einsum(patches, colours, "n c h w, m c -> n m h w") / colours.square().sum(dim=1)[:, None, None]
    distance = (patches[:, None] - ratio[:, :, None] * colours[:, :, None, None]).norm(dim=2)
    hits = (ratio > 0.8) & (ratio < 1.05) & (distance < 0.06)
    return [[(row, col, colour) for colour, row, col in image.nonzero().tolist()] for image in hits]


def test_twins_differ_in_whether_the_marks_share_a_colour(train):
    related = train.subset((train.labels >= TEXTURES).nonzero()[:300, 0])
    recognised = agreeing = 0
    for found, label in zip(marks(related.images), related.labels.tolist(), strict=True):
        if max((abs(a[0] - b[0]) + abs(a[1] - b[1]) for a in found for b in found), default=0) < 12:
            continue  # on this background only one of the two marks was recognised
        recognised += 1
        agreeing += (len({colour for *_, colour in found}) == 1) == evidence(label).same
    assert recognised > 150
    assert agreeing > 0.98 * recognised


def test_no_weighted_sum_over_patches_can_tell_twins_apart(train):
    """Each colour is equally likely in both twins, so the mean colour of a mark says nothing."""
    related = train.labels >= TEXTURES
    same = torch.tensor([bool(evidence(label).same) for label in range(100)])[train.labels]
    colours = train.images.float().mean(dim=(2, 3)) / 255
    difference = colours[related & same].mean(0) - colours[related & ~same].mean(0)
    spread = colours[related].std(0) / (related.sum() / 2).sqrt()
    assert (difference.abs() < 4 * spread).all()


def test_no_crop_cuts_a_mark():
    images = synthetic_cifar100(2000, seed=3)
    related = images.subset((images.labels >= TEXTURES).nonzero()[:, 0])
    for found in marks(related.images):
        for row, col, _ in found:
            assert 3 <= row <= 32 - MARK - 3 and 3 <= col <= 32 - MARK - 3  # recognised one pixel off at most


def test_every_label_has_a_description_of_its_own():
    assert len({describe(label) for label in range(100)}) == 100
    with pytest.raises(ValueError, match="0 to 99, got 100"):
        evidence(100)


def test_bad_sizes_and_splits_are_named():
    with pytest.raises(ValueError, match="multiple of the 100 classes, got 150"):
        synthetic_cifar100(150)
    with pytest.raises(ValueError, match="train, validation, test, got 'val'"):
        synthetic_cifar100(100, split="val")
