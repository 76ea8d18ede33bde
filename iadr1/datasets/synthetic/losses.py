"""Defects of completeness: a chunk broken out, a component absent or off its place."""

import numpy as np

from iadr1.datasets.synthetic.draw import Grid, Planes, cover, length, limit, unit, window
from iadr1.datasets.synthetic.product import Painter, Pose
from iadr1.datasets.synthetic.workpiece import Maker, Sketch, Workpiece


def _broken(work: Workpiece) -> Sketch | None:
    """Sketch a chunk broken out of the outline of a single object."""
    rows, columns = np.nonzero(work.product.region)
    x, y = float(columns.mean()), float(rows.mean())
    heading = work.between(0.0, 2.0 * np.pi)
    cos, sin = float(np.cos(heading)), float(np.sin(heading))
    reach = np.arange(0.0, 0.5 * work.size)
    ray_x = np.clip(np.rint(x + reach * cos), 0, work.size - 1).astype(np.int64)
    ray_y = np.clip(np.rint(y + reach * sin), 0, work.size - 1).astype(np.int64)
    steps = np.flatnonzero(work.product.region[ray_y, ray_x])
    if not steps.size:  # the middle lies beside an angular object, and the ray goes away from it
        return None
    # The last step that is still on the object: beyond it lies the background.
    edge = float(steps[-1])
    radius = work.between(15.0, 25.0) * work.scale * work.manner.size
    out = edge + work.between(-0.1, 0.25) * radius
    local = window(work.size, x + out * cos, y + out * sin, 1.5 * radius)
    theta = np.arctan2(local.v, local.u)
    jag = sum(
        (work.between(0.04, 0.1) * np.sin(n * theta + work.between(0.0, 6.3)) for n in (3, 7, 11)),
        start=np.ones_like(theta),
    )
    away = length(local.u, local.v) - radius * jag
    alpha = cover(away)
    body = local.of(work.product.region).astype(np.float64)
    bare = local.of(work.product.bare)
    face = unit(1.0 - np.abs(away - 2.0 * work.scale) / (2.5 * work.scale)) * body

    def apply(view: Planes, strength: float) -> Planes:
        # The fresh fracture face is darker than the worn surface around it.
        broken = view * (1.0 - 0.35 * face)
        return broken + alpha * (bare - broken)

    if bool((~local.of(work.free) & (body > 0.0) & (alpha > 0.0)).any()):
        return None
    return Sketch(local.ys, local.xs, alpha * body, apply, work.product.part_colour, False, even=False)


def _others(work: Workpiece, pose: Pose, painter: Painter) -> tuple[Planes, Grid]:
    """Draw the base with every component but one; also where those others are."""
    planes = work.product.bare.copy()
    taken: Grid = np.zeros(planes.shape[1:])
    for other in work.poses:
        if other.number != pose.number:
            local, opaque = painter(planes, other)
            view = local.of(taken)
            np.maximum(view, opaque, out=view)
    return limit(planes), taken


def _component(work: Workpiece) -> tuple[Pose, Painter]:
    """Choose a component that is still in its place."""
    painter = work.product.paint
    if painter is None or not work.poses:
        raise RuntimeError("the product has no component left")
    return work.poses[int(work.rng.integers(len(work.poses)))], painter


def _missing(work: Workpiece, shrink: float) -> Sketch | None:
    """Sketch a part that is not there: a chunk of an object or a whole component."""
    if work.product.paint is None:
        return _broken(work)
    pose, painter = _component(work)
    without, _ = _others(work, pose, painter)
    local, opaque = painter(work.product.bare.copy(), pose)
    if bool((~local.of(work.free) & (opaque > 0.0)).any()):
        return None
    view = local.of(without)
    # What is left in view belongs to the neighbours; only this component's surroundings change.
    colour = work.product.part_colour
    return Sketch(local.ys, local.xs, opaque, lambda _, __: view, colour, False, pose, False)


def _displaced(work: Workpiece, shrink: float) -> Sketch | None:
    """Sketch a component that sits clearly beside or across its place."""
    pose, painter = _component(work)
    without, taken = _others(work, pose, painter)
    home, was = painter(without.copy(), pose)
    half = 0.5 * float(np.sqrt(was.sum()))
    for _ in range(24):
        heading, far = work.between(0.0, 2.0 * np.pi), work.between(0.5, 0.85) * half
        turn = work.between(0.3, 0.8) * (1.0 if work.rng.random() < 0.5 else -1.0)
        x = pose.x + far * float(np.cos(heading))
        y = pose.y + far * float(np.sin(heading))
        planes = without.copy()
        now, opaque = painter(planes, Pose(x, y, pose.angle + turn, pose.number))
        alpha: Grid = np.zeros(taken.shape)
        home.of(alpha)[...] = was
        view = now.of(alpha)
        np.maximum(view, opaque, out=view)
        rows, columns = np.flatnonzero(alpha.any(1)), np.flatnonzero(alpha.any(0))
        inside = min(rows[0], columns[0]) > 1 and max(rows[-1], columns[-1]) < work.size - 2
        clash = float((now.of(taken) * opaque).sum()) > 0.02 * float(opaque.sum())
        blocked = bool((~work.free & (alpha > 0.0)).any())
        if inside and not clash and not blocked:
            break
    else:
        return None
    ys = slice(min(home.ys.start, now.ys.start), max(home.ys.stop, now.ys.stop))
    xs = slice(min(home.xs.start, now.xs.start), max(home.xs.stop, now.xs.stop))
    moved = limit(planes[:, ys, xs])
    colour = work.product.part_colour
    return Sketch(ys, xs, alpha[ys, xs], lambda _, __: moved, colour, False, pose, False)


LOSSES: dict[str, Maker] = {
    "missing part": _missing,
    "misplacement": _displaced,
}
