"""Fetch a hub's repository into a directory: what it holds, what of it is needed, whether it fits, then file by file.

Part of fetch_model.py, inside the locked runtime. The listing is asked through huggingface_hub; hub_download.py reads
the bytes. The token comes from HF_TOKEN only.
"""

import os
import shutil
import threading
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from deploys.vllm.programs.hub_download import (
    FIRST_PAUSE_SECONDS,
    TRIES_WITHOUT_PROGRESS,
    Download,
    FetchError,
    Remote,
    digest,
    gib,
    refused,
    say,
)
from deploys.vllm.programs.weights_choice import WEIGHT_SUFFIXES, ChoiceError, choose, index_of, named_by

RESERVE_BYTES = 64 * 1024**2


def fetch(work: Path, source: dict[str, Any], limits: dict[str, Any]) -> dict[str, str]:
    """Bring the repository into `work`; return where it is from, with the commit. FetchError, or OSError for the disk.

    `limits`, where given: room_bytes for the weights, dtype and where; more weights than that are refused first.
    """
    repository, revision = source["repository"], source["revision"]
    token = os.environ.get("HF_TOKEN", "").strip()
    endpoint = (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")
    say("list", repository=repository, revision=revision)
    commit, listed, parameters = _listing(endpoint, repository, revision, token)
    try:
        files = choose(listed, source.get("files"), source.get("variant", ""), limits.get("room_bytes"))
    except ChoiceError as error:
        raise FetchError(f"{repository} at {revision}: {error}; nothing was fetched") from None
    if not files:
        raise FetchError(
            f"{repository} at {revision} has no weights ({len(listed)} files); is it a model's repository?"
        )
    refuse_what_does_not_fit(repository, files, parameters, limits)
    work.mkdir(parents=True, exist_ok=True)
    _remove_strangers(work, files)
    missing = [file for file in files if not _is_whole(work / file.path, file)]
    _check_disk(work, missing)

    def bring(wanted: list[Remote]) -> None:
        total = sum(file.size for file in wanted)
        before = total - sum(file.size for file in wanted if file in missing)
        for file in [file for file in wanted if file in missing]:
            url = f"{endpoint}/{repository}/resolve/{commit}/{quote(file.path)}"
            Download(url, token, work, file, before, total).run()
            missing.remove(file)
            before += file.size

    if (index := index_of(files)) is not None and not source.get("files"):
        bring([index])
        try:
            files = named_by((work / index.path).read_bytes(), index.path, files)
        except ChoiceError as error:
            raise FetchError(f"{repository} at {revision}: {error}") from None
        _remove_strangers(work, files)
    bring(files)
    return {"kind": "hub", "repository": repository, "revision": revision, "commit": commit, **_named(source, files)}


def _named(source: dict[str, Any], files: list[Remote]) -> dict[str, Any]:
    """What the manifest says of the choice: the operator's word for a variant, and which GGUF file came."""
    gguf = [file.path for file in files if file.path.endswith(".gguf")]
    return {**({"variant": source["variant"]} if source.get("variant") else {}), **({"gguf": gguf} if gguf else {})}


def refuse_what_does_not_fit(
    repository: str, files: list[Remote], parameters: dict[str, int], limits: dict[str, Any]
) -> None:
    """FetchError when the hub's own sizes say that the weights do not fit the memory that is there for them."""
    if not limits:
        return
    weights = sum(file.size for file in files if file.path.endswith(WEIGHT_SUFFIXES))
    plain = {"F64", "F32", "F16", "BF16"}
    if parameters and set(parameters) <= plain and limits["dtype"] in ("float32", "bfloat16", "float16"):
        # They are converted when they are loaded: what counts is the type that is computed in.
        weights = sum(parameters.values()) * (4 if limits["dtype"] == "float32" else 2)
    room = limits["room_bytes"]
    if weights > room:
        raise FetchError(
            f"{repository} does not fit: weights of {gib(weights)} in {limits['dtype']}, and {limits['where']} has "
            f"room for {gib(max(room, 0))} beside cache and engine; nothing was fetched; take a smaller or a quantised "
            "model (`cluster models` shows what fits)"
        )
    say("fit", needed_bytes=weights, room_bytes=room)


def _listing(endpoint: str, repository: str, revision: str, token: str) -> tuple[str, list[Remote], dict[str, int]]:
    """Commit, files and parameters by type, as huggingface_hub reads them from the hub."""
    # Read when it is imported: this program is the one that goes to the hub, whatever the engines are told.
    os.environ |= {"HF_HUB_OFFLINE": "0", "TRANSFORMERS_OFFLINE": "0", "HF_HUB_DISABLE_TELEMETRY": "1"}
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    hub = HfApi(endpoint=endpoint, token=token or False)

    def ask() -> tuple[str, list[Remote], dict[str, int]]:
        about = hub.model_info(repository, revision=revision, timeout=60)
        files = [
            Remote(
                entry.path,
                entry.lfs.size if entry.lfs else entry.size,
                entry.lfs.sha256 if entry.lfs else "",
                entry.blob_id,
            )
            for entry in hub.list_repo_tree(repository, revision=about.sha, recursive=True)
            if hasattr(entry, "blob_id")
        ]
        return str(about.sha), files, dict(about.safetensors.parameters) if about.safetensors else {}

    pause, last = FIRST_PAUSE_SECONDS, ""
    for attempt in range(1, TRIES_WITHOUT_PROGRESS + 1):
        try:
            commit, files, parameters = ask()
        except HFValidationError as error:
            raise FetchError(f"{repository} is no repository's name: {error}") from None
        except HfHubHTTPError as error:
            status = error.response.status_code
            url = f"{endpoint}/{repository}"
            if status not in (408, 425, 429) and status < 500:
                raise FetchError(refused(status, dict(error.response.headers), url, token)) from None
            last = f"HTTP {status}"
        except Exception as error:  # its HTTP library is huggingface_hub's own affair, and so are that one's errors
            last = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        else:
            for file in files:
                if Path(file.path).is_absolute() or ".." in Path(file.path).parts:
                    raise FetchError(f"{repository} lists {file.path!r}, which would leave its directory")
            return commit, files, parameters
        say("retry", repository=repository, why=last, tries=attempt)
        threading.Event().wait(pause)
        pause *= 2
    raise FetchError(
        f"{urlsplit(endpoint).netloc} does not say what {repository} holds: {last}, {TRIES_WITHOUT_PROGRESS} times; is "
        "it reachable from the control node? HTTPS_PROXY and HF_ENDPOINT are used"
    )


def _check_disk(work: Path, missing: list[Remote]) -> None:
    there = sum(entry.stat().st_size for entry in work.rglob("*.part"))
    needed = sum(file.size for file in missing) - there + RESERVE_BYTES
    free = shutil.disk_usage(work).free
    if missing and needed > free:
        raise FetchError(
            f"{work.parent} has {gib(free)} free and the model needs {gib(needed)}; nothing was fetched; free some "
            "space, or put the models' directory on another disk"
        )
    say("space", needed_bytes=max(needed, 0), free_bytes=free)


def _remove_strangers(work: Path, files: list[Remote]) -> None:
    """What an earlier try left of another revision would end up in the manifest."""
    wanted = {file.path for file in files}
    parts = {f"{file.path}.{(file.sha256 or file.blob)[:12]}.part" for file in files}
    for path in [entry for entry in work.rglob("*") if entry.is_file()]:
        if str(path.relative_to(work)) not in wanted | parts:
            path.unlink()


def _is_whole(path: Path, file: Remote) -> bool:
    if not path.is_file() or path.stat().st_size != file.size:
        return False
    return bool(digest(path, file) == (file.sha256 or file.blob))
