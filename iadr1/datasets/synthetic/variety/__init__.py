"""Products for training only: every seed draws another look from wide ranges (domain randomisation).

The ten trained products of the main catalogue teach a model what those ten look like; here no two scenes of a category
share colours, pattern or shape, so that what is left to learn is the irregular beside the rest of the same product.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from iadr1.datasets.synthetic.product import Product, Setup
from iadr1.datasets.synthetic.variety import arrays, objects, patterns, weaves

BUILDERS: Mapping[str, Callable[[Setup], Product]] = MappingProxyType(
    {
        builder.__name__: builder
        for builder in (
            weaves.patterned_cloth,
            weaves.wire_mesh,
            patterns.stone_slab,
            patterns.concrete_wall,
            patterns.leather_hide,
            patterns.printed_paper,
            patterns.mosaic,
            patterns.profiled_sheet,
            patterns.ribbed_panel,
            patterns.plank_floor,
            objects.machined_part,
            objects.moulded_part,
            objects.rubber_seal,
            objects.wooden_piece,
            objects.ceramic_part,
            arrays.fastener_board,
            arrays.lamp_panel,
            arrays.pin_connector,
            arrays.pad_board,
            arrays.parts_tray,
        )
    }
)
