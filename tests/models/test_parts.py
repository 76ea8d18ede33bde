"""Which weights belong to which part, and freezing and LoRA by part, on tiny models of all families."""

from __future__ import annotations

from typing import Any

import pytest

from iadr1.errors import ModelError, UsageError
from iadr1.models.parts import (
    LAYOUTS,
    PARTS,
    PartRow,
    check_trainable,
    freeze,
    lora_config,
    parameter_table,
    parts,
)
from iadr1.models.profiles import PROFILES

torch = pytest.importorskip("torch")
peft = pytest.importorskip("peft")

from tests.models.module_parts import module_parts  # noqa: E402
from tests.tiny_vlms import BUILDERS  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")  # transformers about its own names

FAMILIES = sorted(BUILDERS)


def model_of(family: str) -> Any:
    with torch.device("meta"):
        return BUILDERS[family]()[0]


def adapted(family: str, *names: str) -> Any:
    return peft.get_peft_model(model_of(family), lora_config(PROFILES[family], r=2, alpha=4, adapted=names))


def test_every_family_has_a_profile_a_layout_and_a_tiny_model() -> None:
    assert set(PROFILES) == set(LAYOUTS) == set(BUILDERS)


@pytest.mark.parametrize("family", FAMILIES)
def test_parts_are_the_modules_of_their_classes(family: str) -> None:
    model = model_of(family)
    expected = module_parts(model)
    found = {part: [name for name, _ in members] for part, members in parts(model).items()}
    assert found == {part: [n for n, _ in model.named_parameters() if n in expected[part]] for part in PARTS}
    assert all(found.values())


@pytest.mark.parametrize("family", FAMILIES)
def test_lora_reaches_all_linear_layers_of_its_part_and_no_other(family: str) -> None:
    for part in PARTS:
        model = adapted(family, part)
        inner = model.base_model.model
        wrapped = {name for name, module in inner.named_modules() if hasattr(module, "lora_A")}
        plain = model_of(family)
        owner = {name: p for p, names in module_parts(plain).items() for name in names}
        linear = {
            name
            for name, module in plain.named_modules()
            if isinstance(module, torch.nn.Linear) and owner.get(f"{name}.weight") == part and name != "lm_head"
        }
        assert wrapped == linear, part
        check_trainable(model, adapted=(part,))


def test_the_table_counts_tied_weights_once_and_adapters_with_their_part() -> None:
    plain = model_of("llava")
    sizes = {part: sum(p.numel() for _, p in members) for part, members in parts(plain).items()}
    total = sum(p.numel() for p in plain.parameters())
    assert parameter_table(plain) == [
        *(PartRow(part, sizes[part], sizes[part]) for part in PARTS),
        PartRow("total", total, total),
    ]
    freeze(plain, ("vision", "projector"))
    assert [row.trainable for row in parameter_table(plain)] == [0, 0, sizes["language"], sizes["language"]]

    # 2 layers; q, o, gate, up, down have 16 inputs and outputs, k and v 8 outputs: rank 2 gives 5 * 64 + 2 * 48.
    extra = 2 * (5 * 2 * (16 + 16) + 2 * 2 * (16 + 8))
    rows = {row.part: row for row in parameter_table(adapted("llava", "language"))}
    assert rows["language"] == PartRow("language", sizes["language"] + extra, extra)
    assert rows["vision"] == PartRow("vision", sizes["vision"], 0)
    assert rows["total"] == PartRow("total", total + extra, extra)


def test_zero3_counts_come_from_deepspeed() -> None:
    model = model_of("llava")
    before = parameter_table(model)[-1].parameters
    parameter = next(model.parameters())
    parameter.ds_numel = parameter.numel() + 1000
    assert parameter_table(model)[-1].parameters == before + 1000


def test_freezing_again_thaws_the_rest() -> None:
    model = model_of("internvl")
    freeze(model, ("language",))
    check_trainable(model, frozen=("language",))
    freeze(model, ("vision",))
    check_trainable(model, frozen=("vision",))
    freeze(model, ())
    check_trainable(model)


def test_what_is_not_as_asked_is_refused() -> None:
    model = model_of("qwen2_5_vl")
    with pytest.raises(ModelError, match=r"'model\.visual\.patch.* of the vision part is trainable, but should not be"):
        check_trainable(model, frozen=("vision",))
    freeze(model, ("projector",))
    with pytest.raises(ModelError, match=r"'model\.visual\.merger.* projector part is not trainable, but should be"):
        check_trainable(model)
    with pytest.raises(ModelError, match="language part has no LoRA adapters"):
        check_trainable(model, adapted=("language",))
    lora = adapted("qwen2_5_vl", "language", "vision")
    check_trainable(lora, adapted=("language", "vision"))
    with pytest.raises(ModelError, match="vision part has unwanted LoRA adapters"):
        check_trainable(lora, adapted=("language",))
    next(p for name, p in lora.named_parameters() if "merger" in name).requires_grad_(True)
    with pytest.raises(ModelError, match="projector part is trainable"):
        check_trainable(lora, adapted=("language", "vision"))


def test_wrong_parts_are_wrong_usage() -> None:
    model = model_of("llava")
    with pytest.raises(UsageError, match=r"freeze: no part 'tower' \(parts: vision, projector, language\)"):
        freeze(model, ("tower",))
    with pytest.raises(UsageError, match="nothing is left to train"):
        freeze(model, PARTS)
    with pytest.raises(UsageError, match="LoRA on no part"):
        lora_config(PROFILES["llava"], r=2, alpha=4, adapted=())
    with pytest.raises(UsageError, match="lora parts: no part 'head'"):
        lora_config(PROFILES["llava"], r=2, alpha=4, adapted=("head",))


def test_a_parameter_of_no_part_is_an_error() -> None:
    model = model_of("llava")
    model.model.second_tower = torch.nn.Linear(2, 2, device="meta")
    with pytest.raises(ModelError, match=r"'model\.second_tower\.weight' belongs to none of vision, projector"):
        parts(model)
    model.config.model_type = "llava_next_video"
    with pytest.raises(ModelError, match=r"'llava_next_video' is not supported \(known families: internvl, llava,"):
        parts(model)


def test_wrappers_do_not_hide_the_parts() -> None:
    for model in (model_of("qwen3_vl"), adapted("qwen3_vl", "language")):
        around = torch.nn.Module()  # as DDP's: `module`, and no `config`
        around.module = model
        assert parameter_table(around) == parameter_table(model)
