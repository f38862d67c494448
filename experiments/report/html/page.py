"""Makes the page of a bundle: reads only the bundle, writes one file that needs nothing else. Whole or not at all."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from experiments import causes as root_causes
from experiments.causes import signals, telemetry
from experiments.errors import ExperimentError
from experiments.report import words
from experiments.report.bundle_files import BundleFiles
from experiments.report.html import budgets, expectations, heat, kept, latency, overview, parts, timeline
from experiments.report.html.parts import Chart, Section
from experiments.report.html.timeline import Seen

REPORT = "report.html"
MOST_BYTES = 3_000_000
_HERE = resources.files("experiments.report.html")
_ASSETS = "assets"


def write(bundle_directory: Path) -> Path:
    """Write `report.html` into the bundle; returns its path. ExperimentError where it cannot be, with the reason."""
    text = page(BundleFiles(bundle_directory))
    path = bundle_directory / REPORT
    staged = path.with_name(f".{os.getpid()}.{REPORT}")
    try:
        staged.write_text(text)
        staged.replace(path)
    except OSError as error:
        raise ExperimentError(
            f"{path}: {error.strerror}; make room there, or copy the bundle to another place"
        ) from None
    finally:
        with contextlib.suppress(OSError):
            staged.unlink(missing_ok=True)
    return path


def page(files: BundleFiles) -> str:
    """The page's text."""
    every = sections(files)
    charts = [block for section in every for block in section.blocks if isinstance(block, Chart)]
    word, tone = overview.word(files)
    library, script = _asset("vendor/echarts.min.js"), _asset("report.js")
    data = _json({chart.name: {"option": chart.option, "choices": dict(chart.choices)} for chart in charts})
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    template = environment.from_string((_HERE / _ASSETS / "report.html.j2").read_text())
    # No request can leave, whatever a bundle's texts hold: only these scripts run, and nothing may be loaded.
    policy = (
        f"default-src 'none'; script-src {' '.join(_hash(code) for code in (library, script))}; "
        "style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
    )
    return template.render(
        name=files.name,
        description=str(files.parameters.get("exp_description") or ""),
        began=words.moment(files.origin),
        word=word,
        tone=tone,
        sections=every,
        kind=lambda block: type(block).__name__,
        policy=Markup(policy),  # noqa: S704 (made of hashes above)
        style=Markup(_asset("report.css")),  # noqa: S704 (our own file)
        library=Markup(library),  # noqa: S704 (our own file)
        script=Markup(script),  # noqa: S704 (our own file)
        data=Markup(data),  # noqa: S704 (escaped by _json)
    )


def sections(files: BundleFiles) -> list[Section]:
    """Every section, in the page's order. One that fails over a bundle's contents says so, and the others stand."""
    seen = _seen(files)
    made: list[tuple[str, str, Callable[[], Section]]] = [
        ("done", "What was done", lambda: overview.done(files)),
        ("verdict", "Verdict", lambda: overview.verdict(files)),
        ("latency", "Latency against load", lambda: latency.section(files)),
        ("timeline", "Timeline", lambda: timeline.section(files, seen)),
        ("heat", "Heat by node", lambda: heat.section(files, seen)),
        ("ledger", "Latency ledger", lambda: budgets.ledger(files)),
        ("recovery", "Recovery budget", lambda: budgets.recovery(files)),
        ("limit", "The limit", lambda: expectations.limit(files)),
        ("prediction", "Prediction against measurement", lambda: expectations.prediction(files)),
        ("differences", "Differences with their uncertainty", lambda: expectations.differences(files)),
        ("causes", "Root causes", lambda: kept.causes(files, _ranked(files))),
        ("versions", "Versions", lambda: kept.versions(files)),
        ("manifest", "Manifest", lambda: kept.manifest(files)),
    ]
    return [_whole(name, title, make) for name, title, make in made]


def _whole(name: str, title: str, make: Callable[[], Section]) -> Section:
    """A bundle may come from another version or a run that died: what one file holds wrongly costs one section."""
    try:
        return make()
    except (ArithmeticError, AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        return Section(name, title, missing=f"cannot be shown: {type(error).__name__}: {str(error)[:200]}")


def _seen(files: BundleFiles) -> Seen | None:
    try:
        return Seen(*signals.observed(telemetry.read(files.directory)))
    except ExperimentError:
        return None


def _ranked(files: BundleFiles) -> Mapping[str, Any] | str:
    """What the run's own ranking said; where it has none, it is made of the telemetry now."""
    said = files.json(kept.CAUSES)
    if isinstance(said, Mapping):
        return said
    try:
        return root_causes.rank(files.directory).to_json()
    except ExperimentError:
        return files.why(telemetry.METRICS, telemetry.FLOWS)


def _asset(name: str) -> str:
    return (_HERE / _ASSETS / name).read_text()


def _hash(code: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()}'"


def _json(value: Any) -> str:
    """JSON that cannot end the element that it stands in."""
    text = json.dumps(value, separators=(",", ":"), default=float, allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


__all__ = ["MOST_BYTES", "REPORT", "page", "parts", "sections", "write"]
