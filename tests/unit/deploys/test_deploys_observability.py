"""What observability declares: nothing by itself, and what an inventory asks for on each kind of host."""

from __future__ import annotations

import json

import pytest

from deploys import roles
from deploys.compute_base import firewall
from deploys.environment import ray_node
from deploys.observability import declared
from deploys.services.systemd import Systemd
from deploys.vllm.declared import serve_configuration
from hardware.model import ProfileError
from inventories.composition import chosen
from tests.conftest import Composed


@pytest.mark.parametrize("managed", [True, False])
def test_by_itself_there_is_nothing_of_it(composed: Composed, managed: bool) -> None:
    for here in composed(managed=managed).values():
        assert declared.services(here) == () and declared.programs(here) == () and declared.files(here) == ()
        assert not {service.name for service in roles.services(here)} & set(declared.NAMES)
        assert "otlp" not in json.dumps(serve_configuration(here))
        assert not any(name.startswith("OTEL_") for name in ray_node(here))
        assert "4318" not in firewall.text(here)


def test_metrics_on_hosts_with_systemd(composed: Composed) -> None:
    found = composed(site={"telemetry": "metrics"})
    for name, here in found.items():
        services = {service.name: service for service in declared.services(here)}
        assert set(services) == {declared.NODE_EXPORTER, *({declared.PROMETHEUS} if here.is_control else ())}
        for service in services.values():
            (port,) = service.ports
            assert f"--web.listen-address={here.network.address}:{port}" in service.command, (
                "the cluster's address only"
            )
            assert (port, port) in firewall.closed_ports(here)
            assert Systemd("cluster").text(service).count("ExecStart=") == 1
        assert ("prometheus" in declared.packages(here)) == here.is_control, name
    control = next(here for here in found.values() if here.is_control)
    jobs = {
        job["job_name"]: job["static_configs"] for job in declared.prometheus_configuration(control)["scrape_configs"]
    }
    assert {entry["labels"]["node"] for entry in jobs["node"]} == set(found)
    assert {target for entry in jobs["vllm"] for target in entry["targets"]} == {
        f"{here.network.address}:{port}"
        for here in found.values()
        if here.runs_engine
        for port in range(here.ray.ports.engine_first, here.ray.ports.engine_last + 1)
    }


@pytest.mark.parametrize("managed", [True, False])
def test_traces_go_from_the_engines_to_the_control_node(composed: Composed, managed: bool) -> None:
    found = composed(managed=managed, site={"telemetry": "traces"})
    control = next(here for here in found.values() if here.is_control)
    (receiver,) = [service for service in roles.services(control) if service.name == declared.TRACES]
    address, port, file = receiver.command[-3:]
    assert (address, file) == (control.network.address, declared.spans_file(control))
    engine = serve_configuration(control)["applications"][0]["args"]["llm_config"]["engine_kwargs"]
    assert engine["otlp_traces_endpoint"] == f"http://{address}:{port}/v1/traces"
    for name, here in found.items():
        if here.runs_engine:
            assert f"cluster.node={name}" in ray_node(here)["OTEL_RESOURCE_ATTRIBUTES"]
        if not here.is_control:
            assert declared.spans_file(here) == ""
    names = {service.name for here in found.values() for service in declared.services(here)}
    assert names == ({declared.TRACES} | ({declared.PROMETHEUS, declared.NODE_EXPORTER} if managed else set()))
    written = {file.path for file in roles.programs(control)}
    assert any(path.endswith("otlp_receiver.py") for path in written)


def test_an_experiment_may_choose_traces_for_its_time(composed: Composed) -> None:
    """The record that an experiment leaves for as long as it deploys; the models stay as the inventory has them."""
    before = composed()
    name = next(iter(before.values())).cluster
    chosen.write(name, chosen.Chosen(telemetry="traces"))
    after = composed()
    assert {here.observability.kind for here in after.values()} == {"traces"}
    assert [here.applications[0].model for here in after.values()] == [
        here.applications[0].model for here in before.values()
    ]
    chosen.write(name, chosen.Chosen(telemetry="everything"))
    with pytest.raises(ProfileError, match="'everything'; give none, metrics or traces"):
        composed()
    assert chosen.forget(name)
    assert {here.observability.kind for here in composed().values()} == {"none"}
