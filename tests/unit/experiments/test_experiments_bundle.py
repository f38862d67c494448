"""A bundle: written whole or not at all, read though its run died, checked to the last byte."""

from __future__ import annotations

import errno
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.bundle import journal, layout, manifest, reading, writing
from experiments.bundle.errors import BundleError
from experiments.bundle.journal import Journal

STARTED = 1_796_000_000.0


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A whole bundle of two files beside its journal, made here."""
    directory = writing.new_directory(tmp_path / "fetched", "smoke", STARTED)
    lines = Journal(directory)
    lines.add("run", cluster="laptop")
    lines.add("phase", phase="benchmark", state="began")
    lines.add("phase", phase="benchmark", state="ended")
    lines.close()
    writing.write_text(directory, layout.CONFIGURATION, "model_id: a\n")
    writing.write_json(directory, layout.VERDICT, {"verdict": "VALID", "causes": []})
    manifest.write(directory, cluster="laptop", started=STARTED, ended=STARTED + 60, state="complete")
    return directory


def wrong(directory: Path) -> list[str]:
    return [check.detail for check in manifest.check(directory) if check.ok is not True]


def test_a_bundle_is_named_by_its_kind_and_when_it_began(tmp_path: Path) -> None:
    names = [writing.new_directory(tmp_path, "smoke", STARTED).name for _ in range(3)]
    assert names == ["smoke-20261130t005320z", "smoke-20261130t005320z-2", "smoke-20261130t005320z-3"]
    assert [layout.kind_of(name) for name in names] == ["smoke"] * 3
    for name in names:
        (tmp_path / name / layout.JOURNAL).touch()
    assert [entry.name for entry in layout.bundles(tmp_path)] == names
    assert layout.kind_of("notes") is None


def test_a_whole_bundle_holds(bundle: Path) -> None:
    assert wrong(bundle) == []
    seen = reading.read(bundle)
    assert (seen.state, seen.cluster, seen.verdict, seen.values) == ("complete", "laptop", "VALID", {"model_id": "a"})
    assert seen.phases_ended == {"benchmark"}
    assert set(seen.to_json()["files"]) == {
        layout.JOURNAL, layout.CONFIGURATION, layout.VERDICT, layout.MANIFEST
    }  # fmt: skip


def test_any_one_changed_byte_of_any_file_is_found(bundle: Path) -> None:
    chosen = random.Random(7)  # noqa: S311 (which bytes are tried)
    for name in manifest.files(bundle):
        path = bundle / name
        whole = path.read_bytes()
        for place in {0, len(whole) - 1, *(chosen.randrange(len(whole)) for _ in range(20))}:
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            try:
                found = wrong(bundle)
            except BundleError as error:
                found = [str(error)]
            assert found and (name in found[0]), (name, place)
        path.write_bytes(whole)
    assert wrong(bundle) == []


def test_missing_longer_and_unknown_files_are_named(bundle: Path) -> None:
    (bundle / layout.VERDICT).unlink()
    (bundle / layout.CONFIGURATION).write_text("model_id: ab\n")
    (bundle / "more").write_text("of somebody's")
    assert wrong(bundle) == [
        "experiment.yaml has 13 bytes, it had 12",
        "results/verdict.json is missing",
        "more is not in the manifest",
    ]


def test_a_file_that_was_written_again_is_taken_into_the_manifest(bundle: Path) -> None:
    writing.write_text(bundle, layout.REPORT, "<p>first</p>")
    assert wrong(bundle) == ["report.html is not in the manifest"]
    manifest.renew(bundle, [layout.REPORT])
    assert wrong(bundle) == []
    (bundle / layout.CONFIGURATION).write_text("model_id: b\n")
    manifest.renew(bundle, [layout.REPORT])
    assert wrong(bundle) == ["experiment.yaml was changed: its size is the same, its SHA-256 another"]


def test_a_link_is_no_file_of_a_bundle(bundle: Path) -> None:
    (bundle / layout.CONFIGURATION).unlink()
    (bundle / layout.CONFIGURATION).symlink_to("/etc/hostname")
    assert "a link" in wrong(bundle)[0]
    with pytest.raises(BundleError, match="a link"):
        manifest.write(bundle, cluster="laptop", started=0, ended=None, state="partial")


@pytest.mark.parametrize("name", ["../out", "/etc/passwd", "results/../../out", ""])
def test_no_name_leads_out_of_the_bundle(bundle: Path, name: str) -> None:
    with pytest.raises(BundleError, match="no name in a bundle"):
        writing.write_text(bundle, name, "a")


def test_a_stop_in_the_middle_of_a_file_leaves_the_old_one(bundle: Path) -> None:
    with pytest.raises(KeyboardInterrupt), writing.whole(bundle, layout.VERDICT) as place:
        place.write_text("half of")
        raise KeyboardInterrupt
    assert wrong(bundle) == []
    assert not [path for path in (bundle / "results").iterdir() if path.name.startswith(".")]


def test_a_run_that_died_is_read_from_its_journal(tmp_path: Path) -> None:
    directory = writing.new_directory(tmp_path, "smoke", STARTED)
    program = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from experiments.bundle.journal import Journal\n"
        "lines = Journal(Path(sys.argv[1]))\n"
        "lines.add('run', cluster='lab')\n"
        "lines.add('phase', phase='deploy', state='began')\n"
        "lines.add('phase', phase='deploy', state='ended')\n"
        "lines.add('phase', phase='benchmark', state='began')\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(directory)], check=False, timeout=60)
    assert done.returncode == -9
    seen = reading.read(directory)
    assert (seen.state, seen.cluster, seen.stopped_in) == ("partial", "lab", "benchmark")
    assert seen.phases_ended == {"deploy"} and "died" in seen.why
    with pytest.raises(BundleError, match="did not come to its end"):
        manifest.check(directory)


def test_a_line_that_was_cut_costs_no_other_line(tmp_path: Path) -> None:
    lines = Journal(tmp_path)
    lines.add("note", text="before")
    lines.close()
    with (tmp_path / layout.JOURNAL).open("a") as file:
        file.write('{"at": 1.0, "kind": "no')
    again = Journal(tmp_path)
    again.add("note", text="after", at=5.0)
    again.close()
    read = journal.read(tmp_path)
    assert [(entry.kind, entry.data["text"]) for entry in read] == [("note", "before"), ("note", "after")]
    assert read[-1].at == 5.0


def test_many_threads_write_whole_lines(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    lines = Journal(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: lines.add("note", number=number, text="x" * 5000), range(200)))
    lines.close()
    assert sorted(entry.data["number"] for entry in journal.read(tmp_path)) == list(range(200))


def test_a_full_disk_is_named_and_what_is_there_stays_readable(tmp_path: Path) -> None:
    """/dev/full refuses every byte, as a file system without room does."""
    lines = Journal(tmp_path)
    lines.add("run", cluster="laptop")
    os.dup2(os.open("/dev/full", os.O_WRONLY), lines._file)
    with pytest.raises(BundleError, match=r"No space left on device; .*--resume"):
        lines.add("note", text="lost")
    assert reading.read(tmp_path).cluster == "laptop"
    with pytest.raises(BundleError, match=r"verdict\.json: No space left"), writing.whole(tmp_path, layout.VERDICT):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert reading.read(tmp_path).verdict == ""


def test_a_bundle_is_found_by_its_name_its_beginning_its_path_or_as_the_last(bundle: Path) -> None:
    fetched = bundle.parent
    assert {reading.find(given, fetched) for given in ("last", bundle.name, "smoke", str(bundle))} == {bundle}
    other = writing.new_directory(fetched, "smoke", STARTED + 5)
    (other / layout.JOURNAL).touch()
    assert reading.find("last", fetched) == other
    with pytest.raises(BundleError, match="'smoke' is 2 bundles"):
        reading.find("smoke", fetched)
    with pytest.raises(BundleError, match=r"no such bundle; in .* there are smoke-"):
        reading.find("nothing", fetched)


@pytest.mark.parametrize("text", ["[]", "{}", "no json", '{"files": {}}'])
def test_what_is_no_manifest_is_refused_in_a_line(bundle: Path, text: str) -> None:
    (bundle / layout.MANIFEST).write_text(text)
    with pytest.raises(BundleError) as raised:
        reading.read(bundle)
    assert "\n" not in str(raised.value) and layout.MANIFEST in str(raised.value)


def test_a_later_format_is_told_apart_from_damage(bundle: Path) -> None:
    made = json.loads((bundle / layout.MANIFEST).read_text())
    (bundle / layout.MANIFEST).write_text(json.dumps({**made, "format": 2}))
    with pytest.raises(BundleError, match="format 2, and this version reads 1"):
        manifest.check(bundle)
