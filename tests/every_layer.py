"""All layers, tiny, in one place: what every one of them has to do is tested over this list."""

from sasa_tutorial import layers, models

LAYERS = {
    "global": lambda **o: layers.GlobalSelfAttention2d(4, 4, heads=2, **o),
    "local": lambda **o: layers.LocalSelfAttention2d(4, 4, 3, heads=2, **o),
    "local, content only": lambda **o: layers.LocalSelfAttention2d(4, 4, 3, heads=2, relative=False, **o),
    "local, q·r only": lambda **o: layers.LocalSelfAttention2d(4, 4, 3, heads=2, content=False, **o),
    "local, grouped": lambda **o: layers.LocalSelfAttention2d(4, 4, 3, heads=2, grouped=True, scaled=True, **o),
    "stem, mixture": lambda **o: layers.AttentionStem2d(4, 4, block=2, heads=2, mixtures=2, **o),
    "stem, plain": lambda **o: layers.AttentionStem2d(4, 4, block=2, heads=2, values="plain", **o),
    "stem, convolution": lambda **o: layers.AttentionStem2d(4, 4, block=2, heads=2, values="convolution", **o),
    "augmented": lambda **o: layers.AttentionAugmentedConv2d(
        4, 4, key_channels=4, value_channels=2, heads=2, max_size=(4, 4), **o
    ),
    "external": lambda **o: layers.ExternalAttention2d(4, 4, slots=3, heads=2, **o),
    "external, slots": lambda **o: layers.ExternalAttention2d(4, 4, slots=3, heads=2, normalization="slots", **o),
}

WITHOUT_PARAMETERS = {
    "absolute positions": lambda: layers.AbsolutePositions2d(4),
    "coordinates": layers.CoordinateChannels2d,
}

NETWORKS = {name: lambda build=build: build(depth=14, width=0.125) for name, build in models.cifar_models().items()}


def reset(module):
    """Everything drawn again, as users do it."""
    return module.apply(lambda m: hasattr(m, "reset_parameters") and m.reset_parameters())
