"""Reports of bundles that were not run (tests/bundles.py): what they say, and what they say of what is not there."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from pathlib import Path

import numpy as np
import pytest

from experiments.errors import ExperimentError
from experiments.report import limit, limit_inputs, requests, terminal, words
from experiments.report.bundle_files import BundleFiles
from experiments.report.html import page, timeline, write
from experiments.report.html.parts import Chart, Section, Table
from tests import bundles

NAMES = (
    "done",
    "verdict",
    "latency",
    "timeline",
    "heat",
    "ledger",
    "recovery",
    "limit",
    "prediction",
    "differences",
    "causes",
    "versions",
    "manifest",
)


PATHS = {
    "results/requests.parquet": "latency",
    "results/verdict.json": "verdict",
    "results/ledger.parquet": "ledger",
    "results/recovery.json": "recovery",
    "plan.json": "prediction",
    "results/comparison.json": "differences",
    "inventory/explain.json": "limit",
    "versions.json": "versions",
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One bundle for all who only read it."""
    return bundles.whole(tmp_path_factory.mktemp("fetched") / "faults-20270115t080000z")


@pytest.fixture(scope="module")
def sections(whole: Path) -> dict[str, Section]:
    return {section.name: section for section in page.sections(BundleFiles(whole))}


def rows(section: Section, caption: str) -> list[list[str]]:
    return next(
        [list(row) for row in block.rows]
        for block in section.blocks
        if isinstance(block, Table) and block.caption.startswith(caption)
    )


def texts(section: Section) -> str:
    return json.dumps([vars(block) for block in section.blocks], default=str)


def test_a_whole_bundle_fills_every_section(sections: dict[str, Section]) -> None:
    assert tuple(sections) == NAMES
    assert {name: section.missing for name, section in sections.items() if section.missing} == {}
    for section in sections.values():
        charts = [block for block in section.blocks if isinstance(block, Chart)]
        assert not charts or any(isinstance(block, Table) for block in section.blocks), "a table beside each chart"


def test_figures_are_those_of_the_requests(whole: Path, sections: dict[str, Section]) -> None:
    sent = [row for row in bundles.requests(bundles.FAULTS) if row["step"] == "rate=4" and not row["warm_up"]]
    good = [row for row in sent if row["kind"] == "answered"]
    row = next(row for row in rows(sections["latency"], "Load steps") if row[0] == "rate=4")
    assert row[1] == "4.00" and row[4] == f"{len(sent):,}" and row[5] == str(len(sent) - len(good))
    middle = float(np.median([one["first_token"] - one["sent"] for one in good])) * 1e3
    assert row[6].startswith(f"{words.number(middle)} (")
    gaps = np.concatenate([np.diff(one["token_times"]) for one in good]) * 1e3
    assert row[8].startswith(f"{words.number(float(np.median(gaps)))} (")


def test_a_percentile_of_few_requests_is_hardly_known() -> None:
    few = requests.quantile(np.arange(20.0), 0.99)
    assert few.value == pytest.approx(18.81) and few.high is None, "above the largest of twenty nobody knows anything"
    many = requests.quantile(np.arange(20_000.0), 0.99)
    assert many.low is not None and many.high is not None and 0 < many.high - many.low < 200
    assert requests.quantile(np.empty(0), 0.5) == requests.Quantile(None, None, None)


def test_the_range_of_a_percentile_holds_it_in_nineteen_of_twenty() -> None:
    random = np.random.default_rng(5)
    for share, true in ((0.5, np.log(2)), (0.9, np.log(10))):
        held = 0
        for _ in range(400):
            found = requests.quantile(np.sort(random.exponential(1.0, 200)), share)
            held += found.low is not None and found.high is not None and found.low <= true <= found.high
        assert held >= 0.93 * 400


def test_faults_stand_in_the_timeline_with_their_letters(sections: dict[str, Section]) -> None:
    found = rows(sections["timeline"], "Faults")
    assert [row[:4] for row in found] == [
        ["A", "cpu-pressure", "compute", "worker2"],
        ["B", "process-kill", "process", "worker3"],
    ]
    chart = next(block for block in sections["timeline"].blocks if isinstance(block, Chart))
    areas = [one["markArea"]["data"] for one in chart.option["series"] if "markArea" in one]
    panels = len(chart.option["grid"])
    assert len(areas) == panels >= 5, "on every panel"
    assert areas[0][0][0]["name"] == "A: cpu-pressure worker2"


def test_long_series_are_thinned_and_keep_their_peaks() -> None:
    values = np.sin(np.linspace(0, 60, 50_000))
    values[31_234] = 9.0
    values[100] = np.nan
    at, kept = timeline.thinned(np.arange(50_000.0), values)
    assert len(kept) <= timeline.MOST_POINTS and max(one for one in kept if one is not None) == 9.0
    assert all(
        earlier <= later for earlier, later in itertools.pairwise(at) if earlier is not None and later is not None
    )


def test_the_ledger_says_what_it_leaves_over(sections: dict[str, Section]) -> None:
    assert "leave over: 300" in texts(sections["ledger"]) or "0.300 ms" in texts(sections["ledger"])
    names = [row[0] for row in rows(sections["ledger"], "The same")]
    assert names[:2] == ["all, P50", "all, P99"] and "worker2, P99" in names


def test_recovery_prediction_and_differences_are_in_words(sections: dict[str, Section]) -> None:
    killed = next(row for row in rows(sections["recovery"], "The same") if row[0] == "process-kill worker3")
    assert killed[1:7] == ["1.20 s", "2.80 s", "9.40 s", "14.1 s", "3.30 s", "31.0 s"] and killed[7] == "11 of 214"
    assert "of 12 figures lie in the plan's interval" in texts(sections["prediction"]) or "figures lie in" in texts(
        sections["prediction"]
    )
    words_of = [row[-1] for row in rows(sections["differences"], "The same")]
    assert words_of == ["worse", "no difference shown", "better", "cannot tell"]


def test_the_limit_is_the_planners_own_finding(whole: Path, sections: dict[str, Section]) -> None:
    found = limit.findings(BundleFiles(whole))
    assert not isinstance(found, str)
    decode = next(one for one in found if not one.point.step.prefill)
    assert decode.point.name.startswith("rate=2: smollm2-135m-instruct") and decode.distance > 1
    assert any(decode.point.name in row for row in rows(sections["limit"], "The same"))


def test_causes_are_those_of_the_telemetry_beside_what_was_injected(sections: dict[str, Section]) -> None:
    said = texts(sections["causes"])
    assert "Injected was: cpu-pressure on worker2 and process-kill on worker3." in said
    assert {tuple(row[1:3]) for row in rows(sections["causes"], "Candidates")[:2]} == {
        ("worker2", "cpu"),
        ("worker3", "process-kill"),
    }


def test_the_file_is_one_and_small_and_names_no_place_to_load_from(whole: Path) -> None:
    path = write(whole)
    text = path.read_text()
    assert path == whole / "report.html" and path.stat().st_size < page.MOST_BYTES
    assert not re.search(
        r"""<(?:script|link|img|iframe)[^>]+(?:src|href)=["'](?!data:)""", text.split("<script type")[0]
    )
    assert "Apache License" in text and "connect-src" not in text and "default-src 'none'" in text
    assert not list(whole.glob(".*report.html")), "nothing half written is left"
    assert write(whole).read_text() == text, "twice is the same"


@pytest.mark.parametrize("how", ["missing", "broken"])
def test_what_is_missing_or_broken_costs_its_section_alone(whole: Path, tmp_path: Path, how: str) -> None:
    for file in whole.rglob("*"):
        if file.is_file() and file.suffix != ".html" and not file.parent.name.startswith(("metrics", "flows", "logs")):
            copy = tmp_path / file.relative_to(whole)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(file.read_bytes())
    for path in PATHS:
        (tmp_path / path).unlink() if how == "missing" else (tmp_path / path).write_bytes(b"{no")
    found = {one.name: one for one in page.sections(BundleFiles(tmp_path))}
    for path, section in PATHS.items():
        said = found[section].missing
        assert ("not collected" if how == "missing" else "cannot be read") in said and path in said, found[section]
    assert found["causes"].missing.startswith("not collected: metrics/metrics.parquet")
    stand = {name for name, section in found.items() if not section.missing}
    assert stand == {*NAMES} - {*PATHS.values(), "causes", "timeline", "heat"}


def test_an_empty_directory_has_a_report_that_says_so(tmp_path: Path) -> None:
    found = {one.name: one for one in page.sections(BundleFiles(tmp_path))}
    assert all("not collected" in one.missing or name in ("done", "manifest") for name, one in found.items()), found
    assert write(tmp_path).is_file()
    with pytest.raises(ExperimentError, match="no such directory; give a bundle"):
        write(tmp_path / "nowhere")


def test_texts_of_a_bundle_are_texts_on_the_page(tmp_path: Path) -> None:
    markup = "</script><script>document.title='taken'</script><b>bold</b>"
    bundles.write_json(
        tmp_path / "results/verdict.json",
        {"verdict": "INVALID", "causes": [{"name": markup, "ok": False, "detail": markup, "remedy": markup}]},
    )
    bundles.write_json(tmp_path / "results/recovery.json", [{"fault": markup, "node": markup, "detect": 1.0}])
    text = write(tmp_path).read_text()
    assert "<b>bold" not in text and "</script><script>document" not in text


def test_a_place_that_takes_no_file_is_named(whole: Path, tmp_path: Path) -> None:
    (tmp_path / "report.html").mkdir()
    with pytest.raises(ExperimentError, match=r"report\.html: .*; make room there, or copy"):
        write(tmp_path)


def test_the_short_form(whole: Path) -> None:
    said = terminal.lines(whole)
    text = "\n".join(said)
    assert max(map(len, said)) <= terminal.COLUMNS + 10
    assert said[0] == "faults-20270115t080000z" and "verdict     VALID" in said
    assert re.search(r"rate=16 +\d+\.?\d* +\d+ +\d+ ms", text)
    assert "cpu-pressure on worker2: 1:40 to 2:2" in text and "healed by cluster" in text
    assert "process-kill on worker3: 31.0 s (detect 1.20 s" in text
    assert re.search(r"^causes +(cpu|process-kill) on worker", text, re.MULTILINE)


def test_the_short_form_of_a_run_that_died(tmp_path: Path) -> None:
    (tmp_path / "journal.jsonl").write_text('{"at": 1800000000.0, "kind": "run", "cluster": "lab"}\n{"at": 18')
    text = "\n".join(terminal.lines(tmp_path))
    assert "it died" in text and text.count("not collected") >= 5


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.0123, "12.3 ms"),
        (1.5, "1.50 s"),
        (600.0, "10.0 min"),
        (4e-5, "40.0 µs"),
        (None, words.NONE),
        (float("nan"), words.NONE),
        (0.0, "0 s"),
    ],
)
def test_seconds_in_the_unit_that_suits_them(value: float | None, said: str) -> None:
    assert words.seconds(value) == said


def test_what_the_limit_needs_of_a_cluster_goes_into_its_bundle(whole: Path, tmp_path: Path, home: Path) -> None:
    made = json.loads(json.dumps(limit_inputs.inputs("laptop")))
    assert made["model"]["config"]["hidden_size"] > 0 and made["replicas"] >= 1
    bundles.write_json(tmp_path / limit.FILE, made)
    (tmp_path / "results").mkdir()
    (tmp_path / requests.REQUESTS).write_bytes((whole / requests.REQUESTS).read_bytes())
    found = limit.findings(BundleFiles(tmp_path))
    # A laptop's memory has no datasheet: without a calibration the planner does not guess.
    assert isinstance(found, str) and "calibrate" in found
    refused = limit_inputs.inputs("laptop", "no-such-model")
    bundles.write_json(tmp_path / limit.FILE, refused)
    said = limit.findings(BundleFiles(tmp_path))
    assert isinstance(said, str) and said.startswith("the plan could not tell: ") and "no-such-model" in said


def test_the_charts_library_is_the_packages_own(repository: Path) -> None:
    vendor = repository / "experiments/report/html/assets/vendor"
    digest = hashlib.sha256((vendor / "echarts.min.js").read_bytes()).hexdigest()
    assert digest in (vendor / "README.md").read_text(), "unchanged, and the page beside it says which"
    assert "Apache License" in (vendor / "LICENSE").read_text()
