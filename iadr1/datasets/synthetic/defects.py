"""Damage to the material: scratch, stain, hole, dent, crack."""

import numpy as np

from iadr1.datasets.synthetic.draw import Grid, Planes, Rgb, cover, length, stroke, unit, window
from iadr1.datasets.synthetic.workpiece import Maker, Sketch, Workpiece

_STAINS: tuple[tuple[str, Rgb], ...] = (
    ("brown", (92.0, 56.0, 26.0)),
    ("dark", (28.0, 26.0, 30.0)),
    ("red", (176.0, 30.0, 34.0)),
    ("blue", (30.0, 58.0, 170.0)),
    ("green", (34.0, 128.0, 52.0)),
    ("yellow", (226.0, 190.0, 30.0)),
    ("white", (236.0, 236.0, 230.0)),
)


def _line(work: Workpiece, points: list[tuple[float, float]], widths: list[float]) -> Sketch | None:
    """Turn a polyline with room around it into a sketch that has no paint yet."""
    if not all(work.has_room(x, y) for x, y in points):
        return None
    alpha = stroke(work.size, points, widths)
    xs, ys = zip(*points, strict=True)
    low_x, low_y = max(int(min(xs)) - 4, 0), max(int(min(ys)) - 4, 0)
    columns, rows = slice(low_x, int(max(xs)) + 6), slice(low_y, int(max(ys)) + 6)
    return Sketch(rows, columns, alpha[rows, columns], lambda view, _: view, "")


def _shifted(alpha: Grid) -> Grid:
    """Move a coverage by one pixel down and right: the far lip of a groove."""
    moved = np.zeros_like(alpha)
    moved[1:, 1:] = alpha[:-1, :-1]
    lip: Grid = np.maximum(moved - alpha, 0.0)
    return lip


def _scratch(work: Workpiece, shrink: float) -> Sketch | None:
    """Sketch a thin, nearly straight groove that catches the light."""
    length = max(work.between(40.0, 125.0) * shrink, 36.0) * work.scale * work.manner.size
    turn, bend = work.between(0.0, np.pi), work.between(-0.12, 0.12) * work.manner.bend
    x, y = work.spot(length * 0.3)
    along = np.linspace(-0.5, 0.5, 9)
    side = bend * (along * along - 0.08) * length
    cos, sin = float(np.cos(turn)), float(np.sin(turn))
    points = [
        (x + a * length * cos - s * sin, y + a * length * sin + s * cos)
        for a, s in zip(along.tolist(), side.tolist(), strict=True)
    ]
    broad = max(work.between(2.2, 3.6) * work.scale, 2.0) * work.manner.width
    widths = [max(broad * (1.0 - 0.5 * abs(2.0 * a) ** 3), 1.2) for a in along.tolist()]
    level, amount = work.between(0.0, 1.0), work.between(52.0, 90.0)
    made = _line(work, points, widths)
    if made is None:
        return None
    local = work.planes[:, made.ys, made.xs]
    under = float(local.mean())
    dark = under > 185.0 or (under > 140.0 and level < 0.2)
    sign, lip = (-1.0 if dark else 1.0), _shifted(made.alpha)
    alpha = made.alpha

    def apply(view: Planes, strength: float) -> Planes:
        # A groove is smooth inside: the texture below is half lost.
        smooth = view + 0.5 * alpha * (under - view)
        return smooth + sign * strength * amount * (alpha - 0.35 * lip)

    return Sketch(made.ys, made.xs, alpha, apply, "dark" if dark else "bright")


def _walk(
    work: Workpiece, start: tuple[float, float], heading: float, step: float, count: int
) -> list[tuple[float, float]]:
    """Walk a jagged path: turns alternate, so that the path zigzags but gets on."""
    points = [start]
    sign = 1.0
    for _ in range(count):
        angle = heading + sign * work.between(0.15, 0.95)
        sign = -sign
        stride = step * work.between(0.7, 1.3)
        x, y = points[-1]
        points.append((x + stride * float(np.cos(angle)), y + stride * float(np.sin(angle))))
    return points


def _crack(work: Workpiece, shrink: float) -> Sketch | None:
    """Sketch a dark, jagged, branching break."""
    length = max(work.between(45.0, 120.0) * shrink, 38.0) * work.scale * work.manner.size
    count = max(5, round(length / (9.0 * work.scale)))
    heading = work.between(0.0, 2.0 * np.pi)
    reach = 0.4 * length
    x, y = work.spot(reach)
    start = x - reach * float(np.cos(heading)), y - reach * float(np.sin(heading))
    trunk = _walk(work, start, heading, length / count, count)
    broad = max(work.between(2.8, 4.0) * work.scale, 2.2) * work.manner.width
    widths = np.linspace(broad, max(0.6 * broad, 1.6), len(trunk)).tolist()
    forks = []
    for _ in range(int(work.rng.integers(1, 3))):
        at = int(work.rng.integers(1, len(trunk) - 1))
        aside = heading + (0.9 if work.rng.random() < 0.5 else -0.9)
        forks.append(_walk(work, trunk[at], aside, length / count, max(2, count // 3)))
    depth = work.between(0.74, 0.92)
    if not all(work.has_room(px, py) for fork in forks for px, py in fork):
        return None
    if _line(work, trunk, widths) is None:
        return None
    alpha = stroke(work.size, trunk, widths)
    for fork in forks:
        thin = np.linspace(0.75 * broad, 1.6, len(fork)).tolist()
        np.maximum(alpha, stroke(work.size, fork, thin), out=alpha)
    rows, columns = np.flatnonzero(alpha.any(1)), np.flatnonzero(alpha.any(0))
    ys = slice(max(int(rows[0]) - 2, 0), int(rows[-1]) + 3)
    xs = slice(max(int(columns[0]) - 2, 0), int(columns[-1]) + 3)
    alpha = alpha[ys, xs]
    lip = _shifted(alpha)

    def apply(view: Planes, strength: float) -> Planes:
        opaque = min(depth * strength, 1.0) * alpha
        return view + opaque * (12.0 - view) + 16.0 * (strength - 0.5) * lip

    return Sketch(ys, xs, alpha, apply, "dark")


def _stain(work: Workpiece, shrink: float) -> Sketch | None:
    """Sketch a soft-edged, see-through blob of a colour unlike the material."""
    radius = max(work.between(11.0, 30.0) * shrink, 10.0) * work.scale * work.manner.size
    x, y = work.spot(1.4 * radius)
    if not work.has_room(x, y):
        return None
    local = window(work.size, x, y, 1.6 * radius * work.manner.squash, work.between(0.0, np.pi))
    theta = np.arctan2(local.v, local.u)
    waves = sum(
        (work.between(0.03, 0.16) * np.sin(n * theta + work.between(0.0, 6.3)) for n in (2, 3, 5)),
        start=np.ones_like(theta),
    )
    squash = work.between(1.0, 1.25) * work.manner.squash
    away = length(local.u / squash, local.v * squash) - radius * waves
    soft = work.between(2.5, 5.0) * work.scale
    shape = unit(0.5 - away / (2.0 * soft))
    shape = shape * shape * (3.0 - 2.0 * shape)
    mean = local.of(work.planes).mean(axis=(1, 2))
    far = [s for s in _STAINS if float(np.abs(mean - np.asarray(s[1])).mean()) > 50.0]
    word, rgb = far[int(work.rng.integers(len(far)))]
    opaque = work.between(0.5, 0.72)
    # Liquids dry to a darker edge.
    ring = 1.0 + 0.25 * np.exp(-((away / soft + 1.2) ** 2))
    paint = np.asarray(rgb)[:, None, None]

    def apply(view: Planes, strength: float) -> Planes:
        return view + np.minimum(opaque * strength * shape * ring, 0.94) * (paint - view)

    return Sketch(local.ys, local.xs, shape, apply, word)


def _hole(work: Workpiece, shrink: float) -> Sketch | None:
    """Sketch a nearly black opening with a bright rim on the side away from the light."""
    radius = max(work.between(6.5, 15.0) * shrink, 6.2) * work.scale * work.manner.size
    x, y = work.spot(1.4 * radius)
    if not work.has_room(x, y):
        return None
    angle = work.between(0.0, np.pi)
    reach = 1.35 * radius * work.manner.squash * (1.0 + work.manner.ragged) + 5.0
    local = window(work.size, x, y, reach, angle)
    squash = work.between(1.0, 1.25) * work.manner.squash
    away = length(local.u / squash, local.v * squash) - radius
    if work.manner.ragged:
        theta = np.arctan2(local.v, local.u)
        for waves in (3, 5, 8):
            away += radius * work.between(0.0, work.manner.ragged) * np.sin(waves * theta + work.between(0.0, 6.3))
    inside = cover(away)
    rim = unit(1.0 - np.abs(away - 1.6 * work.scale) / (1.9 * work.scale))
    black = work.between(5.0, 16.0)

    def apply(view: Planes, strength: float) -> Planes:
        lit = view + rim * (1.0 - inside) * (0.35 + 0.35 * strength) * (238.0 - view)
        return lit + inside * (black - lit)

    return Sketch(local.ys, local.xs, np.maximum(inside, rim), apply, "black")


def _dent(work: Workpiece, shrink: float) -> Sketch | None:
    """Sketch a pressed-in bowl: shade on the side of the light, a highlight opposite."""
    radius = max(work.between(12.0, 25.0) * shrink, 9.5) * work.scale * work.manner.size
    x, y = work.spot(1.3 * radius)
    if not work.has_room(x, y):
        return None
    local = window(work.size, x, y, 1.3 * radius * work.manner.squash, 0.0)
    squash = work.between(0.9, 1.1) * work.manner.squash
    u, v = local.u / (radius * squash), local.v * squash / radius
    rho2 = u * u + v * v
    # The slope of a bowl that is flat in the middle and at its rim.
    fall = np.where(rho2 < 1.0, (1.0 - rho2) ** 2, 0.0)
    slope = 3.5 * fall * -(u * work.light[0] + v * work.light[1])
    amount = work.between(58.0, 88.0)
    bowl = unit((1.0 - np.sqrt(rho2)) * 2.2)

    def apply(view: Planes, strength: float) -> Planes:
        return view + strength * amount * slope - 7.0 * bowl

    return Sketch(local.ys, local.xs, bowl, apply, "shaded", even=False)


DAMAGE: dict[str, Maker] = {
    "scratch": _scratch,
    "stain": _stain,
    "hole": _hole,
    "dent": _dent,
    "crack": _crack,
}
