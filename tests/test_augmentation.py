"""Crop, mirror and normalise, against one image at a time."""

import pytest
import torch
import torch.nn.functional as F

from sasa_tutorial.datasets import (
    CIFAR100_MEAN,
    CIFAR100_STD,
    LabelledImages,
    TrainingImages,
    normalise,
    stratified_subset,
    synthetic_cifar100,
)

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def images():
    return synthetic_cifar100(200)


@pytest.mark.parametrize("mode", ["reflect", "zeros"])
def test_every_image_gets_its_own_crop_and_mirror(images, mode):
    training = TrainingImages(images, CPU, padding=4, padding_mode=mode, seed=1)
    plan = training.plan(0)
    pixels, labels = training.batch(plan, 40, 90)
    for position in range(50):
        index = plan.order[40 + position]
        one = images.images[index][None].float()
        padded = F.pad(one, (4,) * 4, mode="reflect" if mode == "reflect" else "constant")[0]
        top, left = plan.top[40 + position], plan.left[40 + position]
        crop = padded[:, top : top + 32, left : left + 32]
        if plan.mirrored[40 + position]:
            crop = torch.flip(crop, dims=(2,))
        for channel in range(3):
            expected = (crop[channel] / 255 - CIFAR100_MEAN[channel]) / CIFAR100_STD[channel]
            assert torch.allclose(pixels[position, channel], expected, atol=1e-5)
        assert labels[position] == images.labels[index]
    assert len(set(zip(plan.top[40:90].tolist(), plan.left[40:90].tolist(), strict=True))) > 20
    assert 10 < plan.mirrored[40:90].sum() < 40


def test_an_epoch_shows_every_image_once_with_all_offsets(images):
    plan = TrainingImages(images, CPU).plan(5)
    assert plan.order.sort().values.tolist() == list(range(200))
    assert set(plan.top.tolist()) == set(plan.left.tolist()) == set(range(9))


def test_a_plan_depends_on_seed_and_epoch_alone(images):
    def orders(seed, epoch):
        torch.rand(17)  # whatever else is drawn
        return TrainingImages(images, CPU, seed=seed).plan(epoch).order.tolist()

    assert orders(0, 3) == orders(0, 3)
    assert len({tuple(orders(seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9


def test_without_padding_and_mirror_an_image_stays_as_it_is(images):
    training = TrainingImages(images, CPU, padding=0, flip="none")
    plan = training.plan(0)
    assert torch.equal(training.batch(plan, 0, 30)[0], normalise(images.images[plan.order[:30]]))


def test_alternating_shows_every_image_from_both_sides_in_two_epochs(images):
    training = TrainingImages(images, CPU, flip="alternating", seed=3)
    sides = []
    for epoch in range(4):
        plan = training.plan(epoch)
        sides.append(plan.mirrored[plan.order.argsort()])  # by image
    assert torch.equal(sides[0], ~sides[1]) and torch.equal(sides[0], sides[2]) and torch.equal(sides[1], sides[3])
    assert 60 < sides[0].sum() < 140
    assert not torch.equal(sides[0], TrainingImages(images, CPU, flip="alternating", seed=4).mirrored_first)


def test_evaluation_sees_every_image_once_in_order(images):
    batches = list(images.batches(CPU, 64))
    assert [len(labels) for _, labels in batches] == [64, 64, 64, 8]
    assert torch.equal(torch.cat([labels for _, labels in batches]), images.labels)
    assert torch.equal(torch.cat([pixels for pixels, _ in batches]), normalise(images.images))


def test_a_subset_is_fixed_and_holds_every_class_equally_often():
    images = synthetic_cifar100(1000)
    subset = stratified_subset(images, 300)
    assert torch.bincount(subset.labels).tolist() == [3] * 100
    assert torch.equal(subset.images, stratified_subset(images, 300).images)
    assert stratified_subset(images, None) is images
    for size in (0, 150, 1100):
        with pytest.raises(ValueError, match=f"got size {size}"):
            stratified_subset(images, size)


def test_normalised_images_have_the_statistics_they_are_named_after():
    grey = torch.tensor(CIFAR100_MEAN)[None, :, None, None].expand(1, 3, 32, 32) * 255
    images = LabelledImages(images=grey.round().to(torch.uint8), labels=torch.zeros(1).long(), class_names=("grey",))
    assert normalise(images.images).abs().max() < 0.01
