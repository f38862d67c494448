"""build_runtime.sh and fetch_from_depot.sh, run for real: uv on a lock of one tiny package, and an rsync daemon."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from facts.programs import model_state

SCRIPTS = Path(__file__).parents[3] / "deploys" / "compute_base" / "programs"
UV = Path(sys.executable).parent / "uv"
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
WHEEL = "tinypart-1.0-py3-none-any.whl"
FREE_BYTES = 8 * 1024**3  # what build_runtime.sh asks for

builds = pytest.mark.skipif(not UV.is_file(), reason="uv is not beside this Python")


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    """A folder with one wheel, made here: PEP 427."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    about = "tinypart-1.0.dist-info"
    with zipfile.ZipFile(folder / WHEEL, "w") as wheel:
        wheel.writestr("tinypart.py", "ANSWER = 42\n")
        wheel.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: tinypart\nVersion: 1.0\n")
        wheel.writestr(
            f"{about}/WHEEL", "Wheel-Version: 1.0\nGenerator: a test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{about}/RECORD", "")
    return folder


@pytest.fixture
def lock(tmp_path: Path, wheels: Path) -> Path:
    """A lock with hashes, as uv writes it."""
    digest = hashlib.sha256((wheels / WHEEL).read_bytes()).hexdigest()
    file = tmp_path / "cpu-0123.lock"
    file.write_text(f"tinypart==1.0 \\\n    --hash=sha256:{digest}\n")
    return file


def start(directory: Path, lock: Path, wheels: Path) -> subprocess.Popen[str]:
    if shutil.disk_usage(directory.parent).free < FREE_BYTES:
        pytest.skip("the script wants 8 GiB free before it builds")
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(directory.parent),
        "CLUSTER_UV": str(UV),
        "CLUSTER_PYTHON": str(Path(sys.base_prefix) / "bin" / f"python{PYTHON}"),
        "UV_CACHE_DIR": str(directory.parent / "cache"),
        "UV_FIND_LINKS": str(wheels),
        "UV_NO_INDEX": "1",
        "UV_OFFLINE": "1",
    }
    return subprocess.Popen(
        [str(SCRIPTS / "build_runtime.sh"), str(directory), PYTHON, str(lock), "0.0.0"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def build(directory: Path, lock: Path, wheels: Path) -> tuple[int, str]:
    process = start(directory, lock, wheels)
    _, error = process.communicate(timeout=60)
    return process.returncode, error


@builds
def test_a_runtime_is_built_once(tmp_path: Path, lock: Path, wheels: Path) -> None:
    directory = tmp_path / "opt" / "cpu-0123"
    directory.parent.mkdir()
    assert build(directory, lock, wheels)[0] == 0
    marker = directory / "complete.json"
    assert set(json.loads(marker.read_text())) == {"python", "versions"}
    assert json.loads(marker.read_text())["python"].startswith(f"{PYTHON}.")
    said = subprocess.run(
        [str(directory / "bin" / "python"), "-c", "import tinypart; print(tinypart.ANSWER)"],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert said.stdout == "42\n", "it works in the place to which it was moved"
    assert not directory.with_name("cpu-0123.partial").exists()

    before = (marker.stat().st_mtime_ns, directory.stat().st_ino)
    shutil.rmtree(wheels)
    assert build(directory, lock, wheels)[0] == 0
    assert (marker.stat().st_mtime_ns, directory.stat().st_ino) == before


@builds
def test_two_at_once_build_one(tmp_path: Path, lock: Path, wheels: Path) -> None:
    directory = tmp_path / "opt" / "cpu-0123"
    directory.parent.mkdir()
    both = [start(directory, lock, wheels) for _ in range(2)]
    errors = [process.communicate(timeout=60)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], errors
    # uv reports what it installs on standard error: only one of them had anything to do.
    assert sum("tinypart" in error for error in errors) == 1
    assert (directory / "complete.json").is_file()
    assert sorted(entry.name for entry in directory.parent.iterdir()) == ["cache", "cpu-0123", "cpu-0123.lock"]


@builds
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tinypart==1.0 --hash=sha256:" + "0" * 64 + "\n", "ash"),
        ("tinypart==2.0 --hash=sha256:" + "0" * 64 + "\n", "tinypart"),
        ("tinypart==1.0 --hash=sha256:" + "0" * 64 + "\nother==1.0\n", "other"),
    ],
    ids=["wrong hash", "no such version", "a line without hash"],
)
def test_a_broken_lock_leaves_nothing_behind(tmp_path: Path, wheels: Path, text: str, said: str) -> None:
    lock = tmp_path / "broken.lock"
    lock.write_text(text)
    directory = tmp_path / "opt" / "cpu-0123"
    directory.parent.mkdir()
    code, error = build(directory, lock, wheels)
    assert code != 0 and said in error
    assert not directory.exists() and not directory.with_name("cpu-0123.partial").exists()


@builds
def test_what_a_killed_build_left_is_built_anew(tmp_path: Path, lock: Path, wheels: Path) -> None:
    directory = tmp_path / "opt" / "cpu-0123"
    partial = directory.with_name("cpu-0123.partial")
    partial.mkdir(parents=True)
    (partial / "complete.json").write_text("{}")
    assert build(directory, lock, wheels)[0] == 0
    assert not partial.exists()
    assert "python" in json.loads((directory / "complete.json").read_text())


@builds
def test_a_directory_without_its_marker_is_built_anew(tmp_path: Path, lock: Path, wheels: Path) -> None:
    directory = tmp_path / "opt" / "cpu-0123"
    directory.mkdir(parents=True)
    (directory / "half").touch()
    assert build(directory, lock, wheels)[0] == 0
    assert "python" in json.loads((directory / "complete.json").read_text())
    assert not (directory / "half").exists() and not (directory / "cpu-0123.partial").exists()


@pytest.fixture
def depot(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    """An rsync daemon on a loopback port, with the module `models`: its directory and port."""
    rsync = shutil.which("rsync")
    if rsync is None:
        pytest.skip("rsync is not on this machine")
    models = tmp_path / "depot"
    models.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    configuration = tmp_path / "rsyncd.conf"
    configuration.write_text(
        f"address = 127.0.0.1\nport = {port}\nuse chroot = no\nread only = yes\n\n[models]\npath = {models}\n"
    )
    with subprocess.Popen([rsync, "--daemon", "--no-detach", f"--config={configuration}"]) as daemon:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.05)
        yield models, port
        daemon.terminate()


def fetch(
    port: int, directory: Path, *more: str, module: str = "models", marker: str = "manifest.json", **environment: str
) -> tuple[int, str]:
    done = subprocess.run(
        [
            str(SCRIPTS / "fetch_from_depot.sh"),
            "127.0.0.1",
            str(port),
            module,
            "small",
            str(directory),
            marker,
            *more,
        ],
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stderr


def test_a_model_is_copied_and_then_left_alone(depot: tuple[Path, int], tmp_path: Path) -> None:
    models, port = depot
    (models / "small").mkdir()
    (models / "small" / "weights").write_text("weights")
    (models / "small" / "manifest.json").write_text("{}")
    directory = tmp_path / "var" / "small"
    assert fetch(port, directory) == (0, "")
    assert (directory / "weights").read_text() == "weights"
    assert not directory.with_name("small.partial").exists()
    shutil.rmtree(models / "small")
    assert fetch(port, directory) == (0, "")


def test_half_a_model_is_no_model(depot: tuple[Path, int], tmp_path: Path) -> None:
    models, port = depot
    (models / "small").mkdir()
    (models / "small" / "weights").write_text("weights")
    directory = tmp_path / "var" / "small"
    code, error = fetch(port, directory)
    assert code == 1
    assert f"{directory}: 127.0.0.1 has no whole copy (manifest.json is missing)" in error
    assert not directory.exists()


@pytest.fixture
def copying(tmp_path: Path) -> dict[str, str]:
    """A PATH with an `rsync` of the test's own before the real one: it copies a whole directory."""
    programs = tmp_path / "programs"
    programs.mkdir()
    rsync = programs / "rsync"
    rsync.write_text(
        '#!/bin/sh\nfor to in "$@"; do :; done\nmkdir -p "$to"; touch "$to/complete.json" "$to/manifest.json"\n'
    )
    rsync.chmod(0o755)
    return {"PATH": f"{programs}:{os.environ['PATH']}"}


def test_half_a_runtime_is_replaced(copying: dict[str, str], tmp_path: Path) -> None:
    directory = tmp_path / "opt" / "cpu-0123"
    directory.mkdir(parents=True)
    (directory / "half").touch()
    assert fetch(1, directory, module="runtime", marker="complete.json", **copying) == (0, "")
    assert sorted(entry.name for entry in directory.iterdir()) == ["complete.json", "manifest.json"]


@pytest.mark.parametrize("dangling", [False, True])
def test_a_models_directory_without_its_manifest_is_refused(
    copying: dict[str, str], tmp_path: Path, dangling: bool
) -> None:
    directory = tmp_path / "var" / "small"
    directory.parent.mkdir()
    if dangling:
        directory.symlink_to(tmp_path / "nowhere")
    else:
        directory.mkdir()
        (directory / "weights").touch()
    code, error = fetch(1, directory, **copying)
    assert code == 1
    assert f"{directory} is there without manifest.json" in error and "remove it" in error
    assert directory.is_symlink() or [entry.name for entry in directory.iterdir()] == ["weights"]


def test_a_depot_that_is_down_is_tried_five_times(tmp_path: Path) -> None:
    if shutil.which("rsync") is None:
        pytest.skip("rsync is not on this machine")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        directory = tmp_path / "var" / "small"
        code, error = fetch(closed.getsockname()[1], directory)
    assert code == 1
    assert f"{directory}: copy from 127.0.0.1 failed 5 times; is cluster-depot running there?" in error


def test_a_damaged_model_is_mended_from_the_depot(depot: tuple[Path, int], tmp_path: Path) -> None:
    models, port = depot
    small = models / "small"
    small.mkdir()
    files = {"weights": b"right" * 1000, "tokenizer": b"words"}
    for name, data in files.items():
        (small / name).write_bytes(data)
    manifest = {name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in files.items()}
    (small / "manifest.json").write_text(json.dumps({"files": manifest}))
    directory = tmp_path / "var" / "small"
    assert fetch(port, directory) == (0, "")
    assert model_state.judge(directory, full=False)[0] == "whole"
    kept = (directory / "tokenizer").stat().st_ino
    times = (directory / "weights").stat()
    (directory / "weights").write_bytes(b"wrong" * 1000)
    # Of the right size and time, as a bad disk leaves it: only its contents tell.
    os.utime(directory / "weights", ns=(times.st_atime_ns, times.st_mtime_ns))
    assert model_state.judge(directory, full=True)[0] == "corrupt"
    assert model_state.judge(directory, full=False)[0] == "corrupt", "once it was seen, every look sees it"
    assert fetch(port, directory) == (0, "") and model_state.judge(directory, full=True)[0] == "corrupt"
    # Stopped between setting it aside and the copy: the next run, of a missing model, mends it as well.
    shutil.copytree(directory, tmp_path / "var" / "other.partial", copy_function=shutil.copy2)
    assert fetch(port, tmp_path / "var" / "other") == (0, "")
    assert fetch(port, directory, "mend") == (0, "")
    for mended in (directory, tmp_path / "var" / "other"):
        assert model_state.judge(mended, full=True) == ("whole", [], 5005)
    assert (directory / "tokenizer").stat().st_ino == kept and not directory.with_name("small.partial").exists()
