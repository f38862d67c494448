"""Whether the declared model fits a host: the profile's word, or the host's own memory where the profile has none.

Pure.
"""

from __future__ import annotations

from deploys.settings import Settings
from facts.health.result import CheckResult

GIB = 1024**3


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
    left = memory_bytes - fit.reserve_bytes - fit.other_bytes
    others = f" and {_gib(fit.other_bytes)} for its other engines" if fit.other_bytes else ""
    has = f"the host has {_gib(memory_bytes)}, less {_gib(fit.reserve_bytes)} for the system{others}"
    if fit.needed_bytes <= left:
        return CheckResult("fit", True, f"{where} fits: it needs {_gib(fit.needed_bytes)}; {has}")
    short = f"it needs {_gib(fit.needed_bytes)}; {has}: {_gib(fit.needed_bytes - left)} too little"
    remedy = _remedy(settings, "take a smaller or a quantised model, fewer replicas, or more memory")
    return CheckResult("fit", False, f"{where} does not fit: {short}", remedy)


def _remedy(settings: Settings, remedy: str) -> str:
    return f"{remedy}; `cluster models` shows what fits"


def _gib(size: int) -> str:
    return f"{size / GIB:.1f} GiB"
