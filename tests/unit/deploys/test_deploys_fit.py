"""The judgement of fit on a host: the profile's word, the host's memory, and what is not known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from deploys.fit import fit_check
from deploys.settings import Settings
from hardware.geforce_pair import CLUSTER as GEFORCE_PAIR
from hardware.lab import lab
from hardware.planner.assumptions import MEMORY_SHARE

GIB = 1024**3
AWQ = "mistral-small-instruct-2409-awq"
Composed = Callable[..., dict[str, Settings]]


def test_the_profile_alone_tells_where_there_are_accelerators(composed: Composed) -> None:
    refused = fit_check(composed(GEFORCE_PAIR, model=AWQ, dtype="float16")["compute0"], None)
    assert refused is not None and refused.ok is False
    assert refused.detail.startswith("compute0: mistral-small-instruct-2409-awq does not fit: it needs ")
    assert 'mode="span"' in refused.remedy and "`cluster models`" in refused.remedy
    spans = fit_check(composed(GEFORCE_PAIR, model=AWQ, dtype="float16", mode="span")["compute1"], None)
    assert spans is not None and spans.ok is True


@pytest.mark.parametrize(("memory", "ok"), [(None, None), (2 * GIB, False), (64 * GIB, True)])
def test_the_hosts_memory_tells_where_the_profile_states_none(
    composed: Composed, memory: int | None, ok: bool | None
) -> None:
    check = fit_check(composed()["compute1"], memory)
    assert check is not None and check.ok is ok
    if ok is None:
        assert "could not be read" in check.detail
    if ok is False:
        assert "compute1: smollm2-135m-instruct does not fit" in check.detail and "too little" in check.detail


def test_one_byte_decides_and_the_other_engines_of_a_machine_count(composed: Composed) -> None:
    alone = composed(lab(3))["compute0"]
    shared = composed(lab(3), site={"shared_processors": True})["compute0"]
    assert alone.fit and shared.fit and alone.fit.other_bytes == 0
    assert shared.fit.other_bytes == 2 * shared.fit.needed_bytes
    for settings, engines in ((alone, 1), (shared, 3)):
        assert settings.fit is not None
        needed = engines * settings.fit.needed_bytes + settings.fit.reserve_bytes
        for memory, ok in ((needed, True), (needed - 1, False)):
            check = fit_check(settings, memory)
            assert check is not None and check.ok is ok


def test_no_engine_and_no_check_are_no_judgement(composed: Composed) -> None:
    found = composed(replicas=1)
    assert fit_check(found["control"], GIB) is None and fit_check(found["compute1"], GIB) is None
    assert fit_check(composed(check_fit=False)["compute0"], GIB) is None


def test_a_hubs_model_is_judged_when_the_hub_was_asked(composed: Composed) -> None:
    settings = composed(GEFORCE_PAIR, model="hub:somebody/something", dtype="float16")
    check = fit_check(settings["compute0"], 64 * GIB)
    assert check is not None and check.ok is None and "when the hub was asked" in check.detail
    limits: Any = settings["control"].model.limits
    assert limits["room_bytes"] + limits["other_bytes"] == int(12 * GIB * MEMORY_SHARE)
    assert limits["where"] == "a node"
    other = replace(settings["control"].model, limits={})
    assert other.limits == composed(GEFORCE_PAIR, model="hub:a/b", check_fit=False)["control"].model.limits
