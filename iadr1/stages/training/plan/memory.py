"""Memory of one GPU during training, computed: which tensors there are, how large, and at which moment.

What is counted is what torch 2.14, transformers 5.23, TRL 1.16, PEFT 0.21 and DeepSpeed 0.19 allocate when they run as
`stages.training` calls them (docs/plan.md). Nothing here was measured on a GPU; weights, gradients, optimizer states,
activations and caches were compared with real tensors of small models on the CPU.
"""

from __future__ import annotations

from dataclasses import dataclass

from iadr1.models.meta import Stack

GIB = 2**30
CARDS: tuple[int, ...] = (24, 48, 80)
"""Memory of the usual cards, in GiB."""
USABLE = 0.9
"""Share of a card that is planned with; the rest is for CUDA itself, kernels' workspaces and fragmentation."""
MOMENTS: tuple[str, ...] = ("generation", "backward", "update")
"""When memory can be at its highest: answers are written, gradients are computed, weights are changed."""
EVERYWHERE: tuple[str, ...] = MOMENTS

_TILE_TOKENS, _TILE_WORDS = 4096, 32768
"""TRL's fused head works through the logits in tiles of this size (trl/kernels/chunked_logprob.py)."""
_LIVE = 1_000_000_000
"""Parameters that ZeRO-3 holds whole at once at most, and updates at once (DeepSpeed's defaults)."""
VLLM_SHARE = 0.3
"""Of a card that vLLM takes beside the trainer with `vllm=colocate` (TRL's `vllm_gpu_memory_utilization`)."""


@dataclass(frozen=True)
class Facts:
    """What is counted on the model.

    Attributes:
        parameters: All weights, adapters included, a tied one once.
        trainable: Those that an optimizer changes.
        language: The decoder's blocks.
        vision: The vision tower's blocks.
        projector: Numbers that the projector's layers take in for one patch.
        vocabulary: Rows of the output head.
        trained_parts: Parts whose weights, or adapters, are trained.
        head_trained: The output head is among them.
        reference: GRPO holds a second model for the KL term.
        vision_gradients: Gradients flow through the vision tower.
    """

    parameters: int
    trainable: int
    language: Stack
    vision: Stack
    projector: int
    vocabulary: int
    trained_parts: tuple[str, ...]
    head_trained: bool
    reference: bool
    vision_gradients: bool


@dataclass(frozen=True)
class Load:
    """What one GPU works on.

    Attributes:
        sequences: Sequences of one forward and backward pass.
        generated: Answers written at once; 0 where the trainer's own model writes none.
        prompt: Tokens of the longest prompt, images included.
        answer: Tokens of the longest answer.
        patches: Patches of a prompt's images, as the vision tower sees them.
        pixels: Numbers in a prompt's images as the processor makes them.
        looks: Prompts whose images the tower runs on in one pass (one a group where images are looked at once).
        looks_generating: The same while answers are written.
    """

    sequences: int
    generated: int
    prompt: int
    answer: int
    patches: int
    pixels: int
    looks: int
    looks_generating: int


@dataclass(frozen=True)
class Setup:
    """How memory is shared out.

    Attributes:
        processes: GPUs that train together.
        zero: ZeRO stage 0..3 of DeepSpeed; None where it is not used.
        bf16: Arithmetic in bfloat16.
        checkpointing: Gradient checkpointing.
        flash: FlashAttention; else torch's attention, with a mask for padded batches.
        bucket: Numbers in DeepSpeed's buffer for gradients on their way.
        optimizer_on_host: DeepSpeed keeps optimizer states in the machine's memory.
        weights_on_host: DeepSpeed keeps weights there.
        vllm_here: vLLM writes the answers on the same card.
        lora: Adapters are trained, and the weights below them stay as they are.
    """

    processes: int
    zero: int | None
    bf16: bool
    checkpointing: bool
    flash: bool
    bucket: int = 500_000_000
    optimizer_on_host: bool = False
    weights_on_host: bool = False
    vllm_here: bool = False
    lora: bool = False

    @property
    def compute(self) -> int:
        """Bytes of a number in matrix products."""
        return 2 if self.bf16 else 4

    @property
    def stored(self) -> int:
        """Bytes of a weight that is not trained: with bf16, DeepSpeed and LoRA hold it in bfloat16."""
        return 2 if self.bf16 and (self.zero is not None or self.lora) else 4

    @property
    def stored_trained(self) -> int:
        """Bytes of a trained weight as the model holds it: DeepSpeed alone turns it into bfloat16."""
        return 2 if self.bf16 and self.zero is not None else 4

    @property
    def autocast(self) -> bool:
        """All weights are float32 and copied to bfloat16 where they are used."""
        return self.bf16 and self.zero is None and not self.lora

    @property
    def wide(self) -> int:
        """Bytes of a number between blocks: under autocast sums stay in float32."""
        return 4 if self.autocast else self.compute

    def share(self, least_stage: int) -> int:
        """Among how many processes something is divided that ZeRO divides from this stage on."""
        return self.processes if self.zero is not None and self.zero >= least_stage else 1


@dataclass(frozen=True)
class Item:
    """Something that takes memory, in bytes, and the moments at which it is there."""

    name: str
    size: int
    moments: tuple[str, ...] = EVERYWHERE


@dataclass(frozen=True)
class Memory:
    """Memory of one GPU, item by item.

    Attributes:
        items: What takes memory.
        usable: Share of a card that is left to them.
    """

    items: tuple[Item, ...]
    usable: float = USABLE

    def at(self, moment: str) -> int:
        """Bytes at one of `MOMENTS`."""
        return sum(item.size for item in self.items if moment in item.moments)

    @property
    def peak(self) -> int:
        """Bytes at the worst moment."""
        return max(self.at(moment) for moment in MOMENTS)

    @property
    def worst(self) -> str:
        """The moment of the peak."""
        return max(MOMENTS, key=self.at)

    def fits(self, card: int) -> bool:
        """Whether it fits into the usable share of a card of so many GiB."""
        return self.peak <= self.usable * card * GIB

    @property
    def card(self) -> int | None:
        """The smallest of `CARDS` it fits on; None where it fits on none."""
        return next((card for card in CARDS if self.fits(card)), None)


def memory(facts: Facts, load: Load, setup: Setup) -> Memory:
    """What one GPU holds at which moment."""
    items = [*_state(facts, setup), *_backward(facts, load, setup), *_generation(facts, load, setup)]
    usable = USABLE - VLLM_SHARE if setup.vllm_here else USABLE
    return Memory(tuple(item for item in items if item.size), usable)


def _state(facts: Facts, setup: Setup) -> list[Item]:
    """Weights, gradients and what the optimizer keeps."""
    held = setup.stored * (facts.parameters - facts.trainable) + setup.stored_trained * facts.trainable
    weights = 0 if setup.weights_on_host else held // setup.share(3)
    reference = setup.stored * facts.parameters // setup.share(3) if facts.reference else 0
    gradients = setup.stored_trained * facts.trainable // setup.share(2)
    # Adam's two averages in float32; DeepSpeed keeps a float32 copy of the weights besides.
    states = (8 if setup.zero is None else 12) * facts.trainable // setup.share(1)
    wide = 0
    if setup.zero is not None:
        wide = min(4 * facts.trainable // setup.share(1), 4 * _LIVE if setup.zero == 3 else 4 * facts.trainable)
    if setup.optimizer_on_host:
        states = wide = 0
    # Plain training sets gradients free after the update; ZeRO-3 keeps the room for its share.
    moments = EVERYWHERE if setup.zero == 3 else ("backward", "update")
    return [
        Item("weights", weights),
        Item("reference model", reference),
        Item("optimizer states", states),
        Item("gradients", gradients, moments),
        Item("gradients in float32 for the update", wide, ("update",)),
        *_communication(facts, setup),
    ]


def _communication(facts: Facts, setup: Setup) -> list[Item]:
    if setup.zero is None:
        buckets = 4 * facts.trainable if setup.processes > 1 else 0
        return [Item("DDP's buckets", buckets, ("backward", "update"))]
    if setup.zero < 3:
        # Two: one is sent while the other fills (overlap_comm).
        return [Item("ZeRO's buckets", 2 * setup.bucket * setup.stored, ("backward",))]
    whole = setup.stored * min(_LIVE, facts.parameters)
    return [
        Item("ZeRO's bucket", setup.bucket * setup.stored, ("backward",)),
        Item("weights gathered for a few layers", whole, ("backward",)),
    ]


def _backward(facts: Facts, load: Load, setup: Setup) -> list[Item]:
    """What a forward pass leaves behind for the backward pass, and what that needs on top."""
    length = load.prompt + load.answer
    tokens = load.sequences * length
    patches = load.looks * load.patches
    saved = activations(facts.language, tokens, setup, length=length)
    seen = activations(facts.vision, patches, setup, length=None) if facts.vision_gradients else 0
    if facts.vision_gradients or "projector" in facts.trained_parts:
        seen += patches * facts.projector * setup.compute
    head = _head(facts, load.sequences * (load.answer or length), setup)
    working = max(_working(facts.language, tokens, setup), _working(facts.vision, patches, setup))
    return [
        Item("activations of the language model", saved, ("backward",)),
        Item("activations of the vision tower", seen, ("backward",)),
        Item("logits, in tiles, and the head's gradient", head, ("backward",)),
        Item("working memory of a layer", working, ("backward",)),
        Item("bfloat16 copies of weights (autocast)", _copies(facts, setup), ("backward",)),
    ]


def saved_per_token(stack: Stack, setup: Setup, *, length: int | None) -> int:
    """Bytes that one block keeps of one token for its backward pass.

    Args:
        stack: The blocks.
        setup: Number formats and attention.
        length: Tokens of a padded sequence, where attention gets a mask; None where it gets none.
    """
    compute, padded = setup.compute, length is not None and not setup.flash
    wide = setup.wide
    # An RMSNorm keeps its input and the normalised values, the former in float32; a LayerNorm its input.
    norms = 2 * stack.width * (4 + wide if stack.rms else wide)
    # Under autocast each linear layer makes its own copy of its input.
    readers = (1 if stack.fused else 3) + (2 if stack.gated else 1)
    inputs = stack.width * compute * (readers if setup.autocast else 2)
    keys = stack.query_width if padded else stack.key_width
    # A fused layer's output stays whole beside the turned queries and keys.
    attention = stack.query_width * compute * (6 if stack.fused else 2) + (0 if stack.fused else 2 * keys * compute)
    attention += 4 * stack.heads + (length * compute if padded and length is not None else 0)
    inside = stack.inner * compute * (4 if stack.gated else 3 if stack.slow_gelu else 2)
    return norms + inputs + attention + inside


def activations(stack: Stack, tokens: int, setup: Setup, *, length: int | None) -> int:
    """Bytes that all blocks and the norm behind them keep of so many tokens; arguments as `saved_per_token`."""
    block = tokens * saved_per_token(stack, setup, length=length)
    norm = tokens * stack.width * (4 + setup.wide if stack.rms else setup.wide)
    if not setup.checkpointing:
        return stack.layers * block + norm
    # Each block keeps its input; one at a time is computed again.
    return stack.layers * tokens * stack.width * setup.wide + block + norm


def _working(stack: Stack, tokens: int, setup: Setup) -> int:
    """Short-lived tensors of one block: those of its MLP, and a few of the residual stream's size."""
    return tokens * (stack.inner * setup.compute * (3 if stack.gated else 2) + 4 * stack.width * 4)


def _head(facts: Facts, scored: int, setup: Setup) -> int:
    tile = min(scored, _TILE_TOKENS) * min(facts.vocabulary, _TILE_WORDS) * setup.compute
    hidden = scored * facts.language.width * (4 + setup.compute)
    return tile + hidden + (4 * facts.vocabulary * facts.language.width if facts.head_trained else 0)


def _copies(facts: Facts, setup: Setup) -> int:
    """Autocast keeps its copies of trained weights through the pass; those of adapters are small."""
    if not setup.autocast:
        return 0
    stacks = {"language": facts.language, "vision": facts.vision}
    trained = [stacks[part] for part in facts.trained_parts if part in stacks]
    return 2 * sum(stack.linear_parameters for stack in trained)


def cache_per_token(stack: Stack, setup: Setup) -> int:
    """Bytes of the keys and values of one token.

    Under autocast rotary embeddings leave the keys in float32, and the cache takes the values' format from them.
    """
    return stack.layers * stack.key_width * 2 * setup.wide


def _generation(facts: Facts, load: Load, setup: Setup) -> list[Item]:
    inputs = 4 * load.pixels * max(load.sequences, load.generated)
    if not load.generated:
        return [Item("pixels", inputs)]
    cache = load.generated * (load.prompt + load.answer) * cache_per_token(facts.language, setup)
    working = max(
        _working(facts.language, load.generated * load.prompt, setup),
        _working(facts.vision, load.looks_generating * load.patches, setup),
    )
    whole = setup.stored * facts.parameters if setup.zero == 3 and setup.processes > 1 else 0
    # Logits of the next token, and copies for temperature, softmax and sampling.
    drawn = 4 * 4 * load.generated * facts.vocabulary
    moment = ("generation",)
    return [
        Item("pixels", inputs),
        Item("keys and values of the answers", cache, moment),
        Item("working memory of reading the prompts", working, moment),
        Item("logits of the next token", drawn, moment),
        Item("weights gathered whole (ZeRO-3)", whole, moment),
    ]
