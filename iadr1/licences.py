"""What a licence permits, by its name: only what is stated counts, an unknown licence permits nothing."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

_COMMERCIAL: Mapping[str, bool] = MappingProxyType(
    {
        # A user's own photos.
        "own data": True,
        "CC0-1.0": True,
        "CC-BY-4.0": True,
        "CC-BY-SA-4.0": True,
        "MIT": True,
        "Apache-2.0": True,
        "BSD-3-Clause": True,
        "CC-BY-NC-4.0": False,
        "CC-BY-NC-SA-4.0": False,
        "CC-BY-NC-ND-4.0": False,
    }
)


def permits_commercial(licence: str) -> bool | None:
    """Whether data under a licence may be used commercially; None where that cannot be told from its name.

    Args:
        licence: An SPDX id such as `CC-BY-4.0`, in any letter case, or several joined by ` AND `, which must all
            permit it. A text that is more than an id ("MIT; research
            purpose only") says something else than the id alone and is not judged.
    """
    known = {name.lower(): permitted for name, permitted in _COMMERCIAL.items()}
    parts = [known.get(part.strip().lower()) for part in licence.split(" AND ")]
    if False in parts:
        return False
    return None if None in parts else True
