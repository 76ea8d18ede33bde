"""Makes a loaded model and its processor fit for what the stages do with them: batches, prompts, TRL's trainers.

What checkpoints get wrong, and what is done about it, is listed in docs/models.md.
"""

from __future__ import annotations

from typing import Any

import jinja2

from iadr1.errors import ModelError
from iadr1.models.profiles import check_family

LLAVA_TEMPLATE = (
    "{% for message in messages %}{{ message['role'].upper() + ': ' }}"
    "{% if message['content'] is string %}{{ message['content'] + ' ' }}{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}{{ '<image>\n' }}{% elif 'text' in part %}{{ part['text'] + ' ' }}{% endif %}"
    "{% endfor %}{% endif %}{% endfor %}{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)
"""For LLaVA-1.5 checkpoints without a template: `USER: <image>\n... ASSISTANT: ...`, as their model cards write it."""

_TEMPLATE_HINT = "copy chat_template.jinja from the instruct model it was trained from into its folder"

_CLOSED = (
    "{{% set dialogue %}}{template}{{% endset %}}{{% if add_generation_prompt %}}{{{{ dialogue }}}}"
    "{{% else %}}{{{{ dialogue.rstrip() + eos_token }}}}{{% endif %}}"
)


def make_ready(model: Any, processor: Any) -> Any:
    """The processor to use with this model, fit for left-padded batches, for our prompts and for TRL.

    - Padding goes to the left: a completion must follow its prompt directly.
    - The chat template writes the first token (`<s>`) where the tokenizer would put it, since TRL's SFT puts none.
    - The chat template closes the assistant's turn with an end token, else SFT never teaches a model to stop.
    - LLaVA-OneVision takes several images a prompt in TRL's GRPO (`onevision`).

    What is changed is saved with a trained model's processor. Calling it again changes nothing.

    Args:
        model: A loaded transformers model; also the reference model of a GRPO trainer with a KL term, which TRL loads
            by itself.
        processor: Its processor; changed in place.

    Raises:
        ModelError: The family is unknown, the tokenizer is another model's, the processor has no chat template and the
            family none that is known, or the template does not write one mark for each image.
    """
    model = getattr(model, "module", model)  # DeepSpeed's engine around a reference model
    family = check_family(getattr(model.config, "model_type", None))
    check_tokens(model.config, processor)
    mend_processor(processor, family)
    if family == "llava_onevision":
        from iadr1.models.onevision import make_countless

        make_countless(model, processor)
    return processor


def check_tokens(config: Any, processor: Any) -> None:
    """Make sure that a tokenizer is the model's: that of a larger or a smaller one is loaded as willingly.

    Args:
        config: The transformers config.
        processor: The transformers processor.

    Raises:
        ModelError: It has more tokens than the model, or the mark of an image is another token.
    """
    most, held = config.get_text_config().vocab_size, len(processor.tokenizer)
    wanted, written = config.image_token_id, processor.image_token_id
    fault = f"it has {held} tokens, the model {most}" if held > most else ""
    if wanted != written:
        fault = f"an image is its token {written}, the model's is {wanted}"
    if fault:
        raise ModelError(
            f"the tokenizer is another model's: {fault}",
            where=str(processor.tokenizer.name_or_path),
            hint="copy the tokenizer's files from the model it was trained from",
        )


def mend_processor(processor: Any, family: str) -> None:
    """The part of `make_ready` that needs no model: padding and chat template.

    Args:
        processor: A processor; changed in place.
        family: The family of its model.

    Raises:
        ModelError: As `make_ready`.
    """
    processor.tokenizer.padding_side = "left"
    if not processor.chat_template:
        if family != "llava":
            raise ModelError(
                f"the processor of this {family!r} model has no chat template",
                hint=_TEMPLATE_HINT,
            )
        processor.chat_template = LLAVA_TEMPLATE
    try:
        _check_images(processor)
        _open_with_first_token(processor)
        _close_turn(processor)
    except jinja2.TemplateError as error:
        raise ModelError(f"the chat template is broken: {error}", hint=_TEMPLATE_HINT) from error


_QUESTION = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Is"}, {"type": "image"}]}
_ANSWER = {"role": "assistant", "content": [{"type": "text", "text": "Yes"}]}


def _check_images(processor: Any) -> None:
    written = processor.apply_chat_template([_QUESTION], add_generation_prompt=True)
    found = written.count(processor.image_token)
    if found != 2:
        raise ModelError(
            f"the chat template writes {processor.image_token!r} {found} times for a question with 2 images",
            hint="the template of a text model? It must write the mark once for each {'type': 'image'}",
        )


def _open_with_first_token(processor: Any) -> None:
    tokenizer = processor.tokenizer
    first = tokenizer.bos_token
    if first is None or tokenizer("a").input_ids[0] != tokenizer.bos_token_id:
        return
    if not processor.apply_chat_template([_QUESTION], add_generation_prompt=True).startswith(first):
        processor.chat_template = "{{ bos_token }}" + processor.chat_template


def _close_turn(processor: Any) -> None:
    dialogue = processor.apply_chat_template([_QUESTION, _ANSWER])
    rest = dialogue.rpartition("Yes")[2]
    # Any special token may be among those that end generation: Llama 3 has two.
    if not any(token in rest for token in processor.tokenizer.all_special_tokens):
        processor.chat_template = _CLOSED.format(template=processor.chat_template)
