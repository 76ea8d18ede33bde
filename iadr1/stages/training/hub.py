"""Publishing a trained model on the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

from iadr1.errors import MissingExtraError, ModelError, UsageError


def push(folder: Path, repo: str) -> str:
    """Upload a model's folder, card included, as a private repository; returns its address.

    `HF_TOKEN` and `HF_ENDPOINT` are honoured by huggingface-hub. Private, because the licences of the training data
    may forbid publishing; making it public is the owner's decision on the hub.

    Args:
        folder: With the weights, the processor and README.md.
        repo: `owner/name`.

    Raises:
        UsageError: The hub is switched off, or no token is set.
        ModelError: The hub refuses.
        MissingExtraError: huggingface-hub is not installed.
    """
    try:
        import huggingface_hub
        from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]  # of its HTTP library
    except ImportError as error:
        raise MissingExtraError("huggingface-hub", "data", purpose="pushing to the hub") from error
    check_push(repo)
    api = huggingface_hub.HfApi()
    try:
        address = str(api.create_repo(repo, private=True, exist_ok=True))
        api.upload_folder(repo_id=repo, folder_path=folder, commit_message="Trained with iadr1")
    except (HTTPError, OSError, ValueError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(
            f"the hub did not take the model: {first}", where=repo, hint=f"the model lies in {folder} all the same"
        ) from error
    return address


def check_push(repo: str) -> None:
    """Make sure, before hours of training, that a push can work at all.

    Raises:
        UsageError: Not a repository's name, the hub is switched off, or no token is set.
    """
    from huggingface_hub import constants, get_token

    if repo.count("/") != 1 or not all(repo.split("/")):
        raise UsageError(f"push_to_hub {repo!r} is not owner/name")
    if constants.HF_HUB_OFFLINE:
        raise UsageError("HF_HUB_OFFLINE is set, nothing can be pushed", hint="unset it, or leave push_to_hub out")
    if get_token() is None:
        raise UsageError("no token for the hub", hint="set HF_TOKEN, or run 'hf auth login'")
