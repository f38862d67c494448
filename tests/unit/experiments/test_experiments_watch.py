"""What the client's machine shows, from a made-up /proc and /sys."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.verdict.trial import rows_of
from experiments.verdict.watch import PERIOD_SECONDS, Watch, watching


def _stat(system: Path, busy: int) -> None:
    (system / "proc").mkdir(exist_ok=True)
    (system / "proc/stat").write_text(f"cpu  {busy} 0 0 90000 10 0 0 7 0 0\ncpu0 1 1 1\n")


def test_steps_of_the_clock_are_seen(tmp_path: Path) -> None:
    now = [100.0]
    watch = Watch(tmp_path, wall=lambda: now[0] + (5.0 if now[0] > 110 else 0.0), steady=lambda: now[0])
    for at in (105.0, 109.0, 111.0):
        now[0] = at
        watch.look()
    watched = watch.watched()
    assert watched.wall == (0.0, 0.0, 5.0, 5.0)
    assert (watched.other_work, watched.throttled) == (None, None)


def test_a_look_that_was_interrupted_compares_nothing(tmp_path: Path) -> None:
    times = iter([0.0, 0.0, 0.5, 1.0, 2.0, 3.0])
    watch = Watch(tmp_path, wall=lambda: 7.0, steady=lambda: next(times))
    watch.look()
    assert watch.watched().wall == ()


@pytest.mark.parametrize(
    ("group", "place", "said", "seconds"),
    [
        ("4:cpu,cpuacct:/mine\n0::/", "cpu,cpuacct/mine", "throttled_time 2500000000", 2.5),
        ("0::/mine.slice", "mine.slice", "throttled_usec 1500000", 1.5),
    ],
)
def test_a_quota_that_holds_back_is_seen(tmp_path: Path, group: str, place: str, said: str, seconds: float) -> None:
    now = [0.0]
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text(group)
    stat = tmp_path / "sys/fs/cgroup" / place / "cpu.stat"
    stat.parent.mkdir(parents=True)
    stat.write_text(f"nr_periods 1\n{said.split()[0]} 0\n")
    watch = Watch(tmp_path, wall=lambda: 0.0, steady=lambda: now[0])
    stat.write_text(f"nr_periods 9\n{said}\n")
    now[0] = 10.0
    assert watch.watched().throttled == pytest.approx(seconds / 10)


def test_work_of_others_is_seen(tmp_path: Path) -> None:
    now = [0.0]
    _stat(tmp_path, 0)
    watch = Watch(tmp_path, wall=lambda: 0.0, steady=lambda: now[0])
    now[0] = 1000.0
    _stat(tmp_path, 100_000)
    others = watch.watched().other_work
    assert others is not None
    assert 0 < others <= 1


def test_it_looks_while_the_block_runs() -> None:
    import time

    with watching() as watch:
        time.sleep(2.5 * PERIOD_SECONDS)
    assert 2 <= len(watch.watched().wall) <= 6


def test_samples_of_prometheus_become_rows() -> None:
    text = (
        '# TYPE a counter\nvllm:a_total{engine="0",model_name="x \\"y\\""} 3\n'
        "up 1.5\nbad{ x\nnone_such NaN\nword five\n"
    )
    rows = rows_of(text, 7.0, "n")
    assert [(row["name"], row["value"]) for row in rows[:2]] == [("vllm:a_total", 3.0), ("up", 1.5)]
    assert rows[0]["labels"] == '{"engine": "0", "model_name": "x \\\\\\"y\\\\\\""}'
    assert [row["name"] for row in rows[2:]] == ["none_such"]
