"""Whether the declared model fits a host: the profile's word, or the host's own memory where the profile has none.

Pure.
"""

from __future__ import annotations

from deploys.settings import Settings
from facts.health.result import CheckResult
from hardware.planner.fit import fit_on_host


def fit_check(settings: Settings, memory_bytes: int | None) -> CheckResult | None:
    """The judgement for one host; None where no engine is declared, or where the inventory says `check_fit=False`.

    `memory_bytes` is the host's memory, None where it could not be read. `ok` None: it could not be told.
    """
    fit = settings.fit
    if fit is None:
        return None
    where = f"{settings.node}: {fit.model}"
    if fit.ok is not None:
        detail = f"{where} fits: {fit.detail}" if fit.ok else f"{where} does not fit: {fit.detail}"
        return CheckResult("fit", fit.ok, detail, "" if fit.ok else _remedy(settings, fit.remedy))
    if not fit.needed_bytes or memory_bytes is None:
        said = fit.detail if not fit.needed_bytes else f"{fit.detail}, and the host's could not be read"
        return CheckResult("fit", None, f"{where}: not known whether it fits: {said}")
    judged = fit_on_host(fit.needed_bytes, memory_bytes, fit.reserve_bytes, fit.share, fit.other_bytes)
    said = "fits" if judged.ok else "does not fit"
    return CheckResult(
        "fit", judged.ok, f"{where} {said}: {judged.detail}", "" if judged.ok else _remedy(settings, judged.remedy)
    )


def _remedy(settings: Settings, remedy: str) -> str:
    return f"{remedy}; `cluster models` shows what fits"
