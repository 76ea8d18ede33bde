"""A worse camera for training sets: colour cast, contrast, uneven light, vignetting, blur, more noise."""

import numpy as np

from iadr1.datasets.synthetic.draw import Planes, limit, smooth3


def unsteady(planes: Planes, rng: np.random.Generator) -> Planes:
    """Take the light and lens of a training photo from wide ranges; the usual camera comes after.

    Args:
        planes: The picture, (3, size, size) in grey levels.
        rng: Where the camera comes from.

    Returns:
        A new picture in 0..255; one in four is the one given, for the usual camera alone.
    """
    if rng.random() < 0.25:
        return planes
    size = planes.shape[-1]
    cast = rng.uniform(0.92, 1.08, 3)[:, None, None]
    contrast, middle = float(rng.uniform(0.82, 1.12)), float(planes.mean())
    picture = (middle + contrast * (planes - middle)) * cast + float(rng.uniform(-14.0, 14.0))
    ramp = np.linspace(-1.0, 1.0, size)
    light = np.ones((size, size))
    if rng.random() < 0.35:
        slope_x, slope_y = rng.uniform(-0.18, 0.18, 2).tolist()
        light += slope_x * ramp[None, :] + slope_y * ramp[:, None]
    if rng.random() < 0.3:
        light -= float(rng.uniform(0.05, 0.2)) * (ramp[None, :] ** 2 + ramp[:, None] ** 2)
    picture *= light
    if rng.random() < 0.25:
        for _ in range(int(rng.integers(1, 4))):
            picture = smooth3(picture, 0.22)
    if rng.random() < 0.25:
        coloured = 3 if rng.random() < 0.5 else 1
        picture = picture + float(rng.uniform(2.0, 5.0)) * rng.standard_normal((coloured, size, size))
    return limit(picture)
