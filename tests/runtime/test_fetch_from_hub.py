"""fetch_model.py against a hub on loopback: whole, broken off, restarted, wrong, stalled, refused, too large, no room.

The hub is tests/runtime/hub.py, which answers in the published shapes; huggingface_hub is the locked runtime's own.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.conftest import FETCH_MODEL
from tests.runtime.hub import COMMIT, Hub, serve

REPOSITORY = "someone/tiny"
SOURCE = json.dumps({"kind": "hub", "repository": REPOSITORY, "revision": "main"})
WEIGHTS = random.Random(7).randbytes(3_000_000)  # noqa: S311 (no secret; the same in every run)
FILES = {
    "config.json": b'{"model_type": "gpt2"}',
    "vocab.json": b'{"a": 0}',
    "empty.txt": b"",
    "model.safetensors": WEIGHTS,
    "pytorch_model.bin": b"the same weights in another format",
    "onnx/model.onnx": b"and in another",
    "tf_model.h5": b"and in another",
}
TOKEN = "hf_" + "aSecretThatNobodyMayPrint"
QUICK = {"CLUSTER_FETCH_PAUSE_SECONDS": "0.05", "CLUSTER_FETCH_STALL_SECONDS": "5"}

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serve(Hub(REPOSITORY, dict(FILES))) as running:
        yield running


class Fetched:
    """What came of a run: exit status, the lines of progress, the words on stderr."""

    def __init__(self, process: subprocess.Popen[str], seconds: float = 60) -> None:
        out, self.error = process.communicate(timeout=seconds)
        self.status = process.returncode
        self.text = out
        self.lines: list[dict[str, Any]] = [json.loads(line) for line in out.splitlines()]

    def phases(self) -> list[str]:
        return [line["phase"] for line in self.lines]


def fetch(start: Start, hub: Hub, directory: Path, options: Any = None, **variables: str) -> Fetched:
    arguments = [json.dumps(options)] if options is not None else []
    process = start(FETCH_MODEL, str(directory), SOURCE, *arguments, HF_ENDPOINT=hub.url, **{**QUICK, **variables})
    return Fetched(process)


def is_whole(directory: Path) -> bool:
    """Read back by other means than the program's own."""
    manifest = json.loads((directory / "manifest.json").read_text())
    for name, wanted in manifest["files"].items():
        data = (directory / name).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (wanted["bytes"], wanted["sha256"])
    return (directory / "model.safetensors").read_bytes() == WEIGHTS


def test_a_whole_repository(start: Start, hub: Hub, tmp_path: Path) -> None:
    done = fetch(start, hub, tmp_path / "tiny")
    assert (done.status, done.error) == (0, "")
    assert is_whole(tmp_path / "tiny")
    found = {str(path.relative_to(tmp_path / "tiny")) for path in (tmp_path / "tiny").rglob("*") if path.is_file()}
    assert found == {"config.json", "vocab.json", "empty.txt", "model.safetensors", "manifest.json"}, "one format only"
    manifest = json.loads((tmp_path / "tiny" / "manifest.json").read_text())
    assert manifest["source"] == {"kind": "hub", "repository": REPOSITORY, "revision": "main", "commit": COMMIT}
    last = [line for line in done.lines if line["phase"] == "download"][-1]
    assert last["all_done"] == last["all_total"] == sum(len(FILES[name]) for name in manifest["files"])
    assert last["bytes_per_second"] > 0
    assert {path.name for path in tmp_path.iterdir()} >= {"tiny", "tiny.lock"}
    assert not any(path.suffix in (".partial", ".progress") for path in tmp_path.iterdir())


def test_the_second_time_nothing_is_asked(start: Start, hub: Hub, tmp_path: Path) -> None:
    assert fetch(start, hub, tmp_path / "tiny").status == 0
    hub.requests.clear()
    again = fetch(start, hub, tmp_path / "tiny")
    assert (again.status, again.text, hub.requests) == (0, "", [])


def test_another_source_is_not_served_under_the_same_name(start: Start, hub: Hub, tmp_path: Path) -> None:
    assert fetch(start, hub, tmp_path / "tiny").status == 0
    other = json.dumps({"kind": "hub", "repository": "someone/else", "revision": "main"})
    done = Fetched(start(FETCH_MODEL, str(tmp_path / "tiny"), other, HF_ENDPOINT=hub.url))
    assert done.status == 1
    assert "fetched from repository 'someone/tiny' and not 'someone/else'; remove it" in done.error


def test_broken_off_in_the_middle_it_goes_on_from_there(start: Start, hub: Hub, tmp_path: Path) -> None:
    hub.break_after = [1_000_000, 500_000]
    done = fetch(start, hub, tmp_path / "tiny")
    assert (done.status, done.error) == (0, "")
    assert is_whole(tmp_path / "tiny")
    assert hub.gets("model.safetensors") == ["", "bytes=1000000-", "bytes=1500000-"], "no byte twice"
    assert done.phases().count("retry") == 2


def test_killed_and_started_again_it_goes_on_from_there(start: Start, hub: Hub, tmp_path: Path) -> None:
    hub.stall = 60
    process = start(FETCH_MODEL, str(tmp_path / "tiny"), SOURCE, HF_ENDPOINT=hub.url, **QUICK)
    parts: list[Path] = []
    deadline = time.monotonic() + 30
    while not parts or parts[0].stat().st_size < len(WEIGHTS) // 2:
        assert time.monotonic() < deadline and process.poll() is None
        parts = (
            list((tmp_path / "tiny.partial").glob("model.safetensors.*.part"))
            if (tmp_path / "tiny.partial").exists()
            else []
        )
        time.sleep(0.02)
    latest = json.loads((tmp_path / "tiny.progress").read_text())
    assert latest["phase"] in ("space", "download", "verify") and latest.get("total", 1) > 0
    process.kill()
    process.wait(10)
    assert not (tmp_path / "tiny").exists()
    hub.stall = 0
    there = parts[0].stat().st_size
    hub.requests.clear()
    done = fetch(start, hub, tmp_path / "tiny")
    assert done.status == 0 and is_whole(tmp_path / "tiny")
    assert hub.gets("model.safetensors") == [f"bytes={there}-"]
    assert hub.gets("config.json") == [], "what is whole is not fetched again"


def test_a_download_that_restarts_for_ever_ends_with_its_cause(start: Start, hub: Hub, tmp_path: Path) -> None:
    hub.ranges, hub.always_break_after = False, 600_000
    done = fetch(start, hub, tmp_path / "tiny")
    assert done.status == 1 and not (tmp_path / "tiny").exists()
    assert "model.safetensors starts again and again from its beginning: 4 times after 5 tries" in done.error
    assert "at most 600000 of 3000000 bytes" in done.error
    assert "answers 200 instead of 206" in done.error and "Xet not used" in done.error
    assert len(done.error.strip().splitlines()) == 1
    assert len(hub.gets("model.safetensors")) == 5, "bounded"


def test_no_progress_ends_after_a_few_tries(start: Start, hub: Hub, tmp_path: Path) -> None:
    hub.break_after = [1_000_000] + [0] * 50
    done = fetch(start, hub, tmp_path / "tiny")
    assert done.status == 1
    assert "5 tries, the last 4 without progress, stopped at 1000000 of 3000000 bytes" in done.error
    assert "run it again, and it goes on from there" in done.error


def test_tries_are_bounded_even_with_progress(start: Start, hub: Hub, tmp_path: Path) -> None:
    hub.always_break_after = 2000
    done = fetch(start, hub, tmp_path / "tiny", CLUSTER_FETCH_PAUSE_SECONDS="0.001")
    assert done.status == 1 and "40 tries" in done.error
    assert len(hub.gets("model.safetensors")) == 40


def test_wrong_bytes_are_never_served(start: Start, hub: Hub, tmp_path: Path) -> None:
    hub.wrong = {"model.safetensors"}
    done = fetch(start, hub, tmp_path / "tiny")
    assert done.status == 1 and not (tmp_path / "tiny").exists()
    assert "model.safetensors came twice with a wrong digest" in done.error
    assert hashlib.sha256(WEIGHTS).hexdigest()[:16] in done.error and "the same both times" in done.error
    assert len(hub.gets("model.safetensors")) == 2


def test_wrong_bytes_of_a_small_file_are_seen_as_well(start: Start, hub: Hub, tmp_path: Path) -> None:
    hub.wrong = {"vocab.json"}  # not a large file: checked by git's own digest
    done = fetch(start, hub, tmp_path / "tiny")
    assert done.status == 1 and "vocab.json came twice with a wrong digest" in done.error


def test_a_stall_is_seen_and_the_next_try_goes_on(start: Start, hub: Hub, tmp_path: Path) -> None:
    hub.stall = 60
    began = time.monotonic()
    process = start(
        FETCH_MODEL,
        str(tmp_path / "tiny"),
        SOURCE,
        HF_ENDPOINT=hub.url,
        **{**QUICK, "CLUSTER_FETCH_STALL_SECONDS": "1"},
    )
    assert process.stdout is not None
    for line in process.stdout:
        if json.loads(line)["phase"] == "retry":
            assert json.loads(line)["why"] == "no byte for 1 s" and json.loads(line)["done"] == len(WEIGHTS) // 2
            hub.stall = 0
            break
    _, error = process.communicate(timeout=30)
    assert (process.returncode, error) == (0, "") and is_whole(tmp_path / "tiny")
    assert time.monotonic() - began < 30


def test_a_trickle_is_a_stall(start: Start, hub: Hub, tmp_path: Path) -> None:
    hub.trickle = 0.1
    began = time.monotonic()
    done = fetch(start, hub, tmp_path / "tiny", CLUSTER_FETCH_STALL_SECONDS="0.5")
    assert done.status == 1
    assert "4 tries, the last 4 without progress" in done.error and "bytes in" in done.error
    assert time.monotonic() - began < 60


@pytest.mark.parametrize(
    ("part", "code", "error", "said"),
    [
        (
            "/api/models/",
            401,
            "RepoNotFound",
            "answers 401 for someone/tiny without a token: there is no such repository, or",
        ),
        (
            "/api/models/",
            404,
            "RevisionNotFound",
            "answers 404 for someone/tiny (RevisionNotFound): compare repository and",
        ),
        (
            "/resolve/",
            403,
            "GatedRepo",
            "answers 403 for someone/tiny without a token: it is gated; accept its licence",
        ),
        ("/resolve/", 404, "EntryNotFound", "config.json: 127.0.0.1"),
    ],
)
def test_a_refusal_says_what_to_do(
    start: Start, hub: Hub, tmp_path: Path, part: str, code: int, error: str, said: str
) -> None:
    hub.status = {part: (code, error)}
    done = fetch(start, hub, tmp_path / "tiny")
    assert done.status == 1 and said in done.error
    assert len(done.error.strip().splitlines()) == 1
    assert len(hub.requests) <= 3, "another try does not change it"


def test_a_hub_that_is_down_for_a_moment(start: Start, hub: Hub, tmp_path: Path) -> None:
    hub.status = {"/resolve/": (503, "")}
    process = start(FETCH_MODEL, str(tmp_path / "tiny"), SOURCE, HF_ENDPOINT=hub.url, **QUICK)
    assert process.stdout is not None
    for line in process.stdout:
        if json.loads(line)["phase"] == "retry":
            assert "HTTP 503" in json.loads(line)["why"]
            hub.status = {}
            break
    _, error = process.communicate(timeout=30)
    assert (process.returncode, error) == (0, "") and is_whole(tmp_path / "tiny")


def test_a_hub_that_is_not_there(start: Start, tmp_path: Path) -> None:
    process = start(FETCH_MODEL, str(tmp_path / "tiny"), SOURCE, HF_ENDPOINT="http://127.0.0.1:9", **QUICK)
    done = Fetched(process)
    assert done.status == 1
    assert "127.0.0.1:9 does not say what someone/tiny holds" in done.error and "HTTPS_PROXY" in done.error


def test_the_token_goes_to_the_hub_and_into_no_line(start: Start, hub: Hub, tmp_path: Path) -> None:
    hub.break_after = [1_000_000]
    done = fetch(start, hub, tmp_path / "tiny", HF_TOKEN=TOKEN)
    assert done.status == 0
    assert {authorization for _, _, authorization in hub.requests} == {f"Bearer {TOKEN}"}
    hub.status = {"/api/models/": (401, "RepoNotFound")}
    refused = fetch(start, hub, tmp_path / "other", HF_TOKEN=TOKEN)
    assert refused.status == 1 and "with the token in HF_TOKEN" in refused.error
    assert TOKEN not in done.text + done.error + refused.text + refused.error


def test_the_token_may_lie_in_a_file(start: Start, hub: Hub, tmp_path: Path) -> None:
    secret = tmp_path / "hub-token"
    missing = fetch(start, hub, tmp_path / "tiny", HF_TOKEN_PATH=str(secret))
    assert missing.status == 1 and f"token in {secret} cannot be read" in missing.error
    secret.write_text(f"{TOKEN}\n")
    done = fetch(start, hub, tmp_path / "tiny", HF_TOKEN_PATH=str(secret))
    assert done.status == 0 and TOKEN not in done.text + done.error
    assert {authorization for _, _, authorization in hub.requests} == {f"Bearer {TOKEN}"}


def test_without_a_token_none_is_sent_though_one_lies_about(start: Start, hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf" / "token").write_text(TOKEN)
    assert fetch(start, hub, tmp_path / "tiny").status == 0
    assert {authorization for _, _, authorization in hub.requests} == {""}


def test_what_does_not_fit_is_refused_before_the_first_byte(start: Start, hub: Hub, tmp_path: Path) -> None:
    limits = {"where": "a node", "room_bytes": 2_500_000, "dtype": "bfloat16"}
    done = fetch(start, hub, tmp_path / "tiny", {"fit": limits})
    assert done.status == 1
    assert "someone/tiny does not fit: weights of 2.9 MiB in bfloat16" in done.error
    assert "a node has room for 2.4 MiB" in done.error
    assert not any("/resolve/" in path for path, _, _ in hub.requests)
    # In float32 on the hub, half as large in the type that is computed in: that counts.
    hub.parameters = {"F32": len(WEIGHTS) // 4}
    done = fetch(start, hub, tmp_path / "tiny", {"fit": limits})
    assert done.status == 0, done.error


@pytest.mark.skipif(os.geteuid() != 0, reason="a small file system is mounted, which takes root")
@pytest.mark.parametrize(
    ("size", "said"), [("1M", "nothing was fetched; free some space"), ("70M", "the disk is full")]
)
def test_a_disk_that_is_too_small(start: Start, hub: Hub, tmp_path: Path, size: str, said: str) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)], check=False).returncode:
        pytest.skip("this machine lets nobody mount a tmpfs")
    try:
        process = start(FETCH_MODEL, str(disk / "tiny"), SOURCE, HF_ENDPOINT=hub.url, **QUICK)
        if size == "70M":
            # There is room when it looks; somebody else takes it while it downloads.
            hub.stall = 2
            assert process.stdout is not None
            for line in process.stdout:
                if json.loads(line)["phase"] == "space":
                    break
            (disk / "other").write_bytes(bytes(68 * 1024**2))
            hub.stall = 0
        done, error = process.communicate(timeout=60)
        assert process.returncode == 1 and said in error, (done, error)
        assert any("/resolve/" in path for path, _, _ in hub.requests) is (size == "70M")
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_local_directory_is_copied(start: Start, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "config.json").write_bytes(FILES["config.json"])
    (mine / "model.safetensors").write_bytes(WEIGHTS)
    source = {"kind": "directory", "path": str(mine)}
    done = Fetched(start(FETCH_MODEL, str(tmp_path / "served"), json.dumps(source)))
    assert (done.status, done.error) == (0, "")
    assert is_whole(tmp_path / "served")
    assert json.loads((tmp_path / "served" / "manifest.json").read_text())["source"] == source
    (mine / "config.json").unlink()
    gone = Fetched(start(FETCH_MODEL, str(tmp_path / "again"), json.dumps(source)))
    assert gone.status == 1 and "has no config.json on this machine" in gone.error


def test_unknown_options_are_refused(start: Start, tmp_path: Path) -> None:
    done = Fetched(start(FETCH_MODEL, str(tmp_path / "tiny"), SOURCE, '{"fits": {}}'))
    assert (done.status, done.error) == (1, "tiny: unknown option fits; known are fit, golden, dtypes, mend\n")


def test_a_second_copy_is_not_fetched(start: Start, hub: Hub, tmp_path: Path) -> None:
    parts = {f"model-0000{part}-of-00002.safetensors": bytes([part]) * 50_000 for part in (1, 2)}
    index = json.dumps({"weight_map": {name: name for name in parts}}).encode()
    rest = {"config.json": FILES["config.json"], "consolidated.safetensors": WEIGHTS, "original/params.json": b"{}"}
    hub.files = {**rest, **parts, "model.safetensors.index.json": index}
    done = fetch(start, hub, tmp_path / "tiny", {"fit": {"where": "a node", "room_bytes": 100_000, "dtype": "int4"}})
    assert done.status == 0, done.error
    found = set(json.loads((tmp_path / "tiny" / "manifest.json").read_text())["files"])
    assert found == {"config.json", "model.safetensors.index.json", *parts}
    hub.files = {**hub.files, "model.safetensors.index.json": b'{"weight_map": {"a": "model-00003.safetensors"}}'}
    done = fetch(start, hub, tmp_path / "broken")
    assert done.status == 1 and "names model-00003.safetensors, which is not there" in done.error
    assert not hub.gets("consolidated.safetensors")


def test_one_variant_of_a_gguf_repository(start: Start, hub: Hub, tmp_path: Path) -> None:
    hub.files = {"Tiny-Q4_0.gguf": WEIGHTS[:1000], "Tiny-Q8_0.gguf": WEIGHTS[:2000], "mmproj-Tiny.gguf": b"eyes"}
    done = fetch(start, hub, tmp_path / "all")
    said = "it has 2 variants: Tiny-Q4_0 (0.0 GiB), Tiny-Q8_0 (0.0 GiB); name one, as in hub:OWNER/NAME:Q4_0"
    assert (done.status, done.error) == (1, f"all: someone/tiny at main: {said}; nothing was fetched\n")
    limits = {"where": "a node", "room_bytes": 1500, "dtype": "float16"}
    assert fetch(start, hub, tmp_path / "fits", {"fit": limits}).status == 0
    source = json.dumps({**json.loads(SOURCE), "variant": "q8_0"})
    done = Fetched(start(FETCH_MODEL, str(tmp_path / "named"), source, HF_ENDPOINT=hub.url, **QUICK))
    assert (done.status, done.error) == (0, "")
    for name, file in (("fits", "Tiny-Q4_0.gguf"), ("named", "Tiny-Q8_0.gguf")):
        assert [path.name for path in (tmp_path / name).glob("*.gguf")] == [file]


def test_a_damaged_file_is_mended_and_the_rest_is_kept(start: Start, hub: Hub, tmp_path: Path) -> None:
    directory = tmp_path / "tiny"
    hub.files["second.txt"] = b"as it was"
    assert fetch(start, hub, directory).status == 0
    (directory / "model.safetensors").write_bytes(WEIGHTS[:-1] + b"?")
    hub.requests.clear()
    done = fetch(start, hub, directory, {"mend": True})
    assert (done.status, done.error) == (0, "")
    assert is_whole(directory) and not directory.with_name("tiny.partial").exists()
    assert [path.rsplit("/", 1)[1] for path, _, _ in hub.requests if "/resolve/" in path] == ["model.safetensors"]
