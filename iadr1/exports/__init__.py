"""The formats of other trainers: what each wants from a sample, found in one literal table.

anomalyr1      JSON lines `image`, `problem`, `solution` (github chaoyuhao/AnomalyR1), multiple choice
vlm-r1         a REC JSON list (.json) or JSON lines with `conversations` (.jsonl) (github om-ai-lab/VLM-R1)
llama-factory  a JSON list of `messages` and `images` in sharegpt manner, with its entry in dataset_info.json
ms-swift       JSON lines of `messages`, `images` and, for boxes, `objects`
trl            JSON lines that `datasets` loads: `prompt`, `images`, and `completion` (SFT) or `solution` (GRPO)

Every prompt and answer comes from `iadr1.prompts`, every coordinate goes through `geometry.BoxFrame`.
"""

from __future__ import annotations

from iadr1.errors import UsageError
from iadr1.exports import anomalyr1, llama_factory, ms_swift, trl, vlm_r1
from iadr1.exports.base import BOX_SPACES, FORMATS_OF_TASK, METHODS, BoxSpaceName, Item, Method, Target
from iadr1.exports.files import write_json_lines, write_json_list

TARGETS: tuple[Target, ...] = (
    anomalyr1.TARGET,
    vlm_r1.REC,
    vlm_r1.CONVERSATIONS,
    llama_factory.TARGET,
    ms_swift.SFT,
    ms_swift.GRPO,
    trl.SFT,
    trl.GRPO,
)
"""Every format; a name may have several, by the method it is for and the suffix of the file."""

NAMES: tuple[str, ...] = tuple(dict.fromkeys(target.name for target in TARGETS))


def find_target(name: str, *, suffix: str, method: Method | None = None) -> Target:
    """The format of a name for a file's suffix and a method; without a method the name's first one.

    Raises:
        UsageError: There is none; the message names those there are.
    """
    named = [target for target in TARGETS if target.name == name]
    if not named:
        raise UsageError(f"no format {name!r}", hint=f"known: {', '.join(NAMES)}")
    fitting = [target for target in named if method in (None, target.method)]
    if not fitting:
        methods = ", ".join(dict.fromkeys(target.method for target in named))
        raise UsageError(f"{name} has no format for --method {method}", hint=f"it has: {methods}")
    for target in fitting:
        if target.suffix == suffix:
            return target
    suffixes = " or ".join(dict.fromkeys(target.suffix for target in fitting))
    raise UsageError(f"{name} does not read {suffix or 'files without a suffix'}", hint=f"let --out end in {suffixes}")


__all__ = [
    "BOX_SPACES",
    "FORMATS_OF_TASK",
    "METHODS",
    "NAMES",
    "TARGETS",
    "BoxSpaceName",
    "Item",
    "Method",
    "Target",
    "find_target",
    "write_json_lines",
    "write_json_list",
]
