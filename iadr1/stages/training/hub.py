"""Publishing a trained model on the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from iadr1.config import RunConfig
from iadr1.errors import MissingExtraError, ModelError, UsageError
from iadr1.provenance import write_run
from iadr1.stages.training import processes


def publish(config: RunConfig, info: dict[str, Any], note: Callable[[str], None]) -> None:
    """Push a finished run's model where `push_to_hub` asks for it, once; `run.json` then says where it was pushed.

    A run that is finished but was not pushed, because the hub failed or nobody asked, is pushed by the same command.

    Raises:
        UsageError: As `check_push`.
        ModelError: The hub refuses; the run stays finished.
    """
    repo = config.push_to_hub
    if repo is None or info.get("pushed") == repo or not processes.is_first():
        return
    address = push(config.out / "model", repo)
    info["pushed"] = repo
    write_run(config.out, info)
    note(f"pushed to {address}")


def push(folder: Path, repo: str) -> str:
    """Upload a model's folder, card included, as a private repository; returns its address.

    `HF_TOKEN` and `HF_ENDPOINT` are honoured by huggingface-hub. Private, because the licences of the training data
    may forbid publishing; making it public is the owner's decision on the hub.

    Args:
        folder: With the weights, the processor and README.md.
        repo: `owner/name`.

    Raises:
        UsageError: As `check_push`.
        ModelError: The hub refuses.
        MissingExtraError: huggingface-hub is not installed.
    """
    check_push(repo)
    import huggingface_hub
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]  # of its HTTP library

    api = huggingface_hub.HfApi()
    try:
        address = str(api.create_repo(repo, private=True, exist_ok=True))
        api.upload_folder(repo_id=repo, folder_path=folder, commit_message="Trained with iadr1")
    except (HTTPError, OSError, ValueError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(
            f"the hub did not take the model: {first}",
            where=repo,
            hint=f"the model lies in {folder} all the same; the same command tries again",
        ) from error
    return address


def check_push(repo: str) -> None:
    """Make sure, before hours of training, that a push can work at all.

    Raises:
        UsageError: Not a repository's name, the hub is switched off, or no token is set.
        MissingExtraError: huggingface-hub is not installed.
    """
    try:
        from huggingface_hub import constants, get_token
        from huggingface_hub.errors import HFValidationError
        from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # lazily exported
    except ImportError as error:
        raise MissingExtraError("huggingface-hub", "data", purpose="pushing to the hub") from error
    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise UsageError(f"push_to_hub {repo!r} is no name of a repository: {error}") from error
    if repo.count("/") != 1:
        raise UsageError(f"push_to_hub {repo!r} is not owner/name")
    if constants.HF_HUB_OFFLINE:
        raise UsageError("HF_HUB_OFFLINE is set, nothing can be pushed", hint="unset it, or leave push_to_hub out")
    if get_token() is None:
        raise UsageError("no token for the hub", hint="set HF_TOKEN, or run 'hf auth login'")
