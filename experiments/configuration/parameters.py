"""The parameters of an experiment: name, type, bounds, what each says. Pure. Seconds, tokens, requests a second.

The names are those of the document that asked for experiments, so that its words work here; what it has no name for
follows its prefixes. Values stand in layers/base.yaml, not here.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

Whole = Annotated[int, Meta(ge=1)]
Count = Annotated[int, Meta(ge=0)]
Seconds = Annotated[float, Meta(ge=0)]
SomeSeconds = Annotated[float, Meta(gt=0)]
Rate = Annotated[float, Meta(gt=0)]
Arrivals = Literal["closed", "constant", "poisson", "bursts", "trace"]


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything that an experiment is told."""

    model_id: Annotated[
        str | None, Meta(description="The model to ask, a name of `cluster models`; null: the cluster's default model.")
    ]
    exp_type_identifier: Annotated[
        str,
        Meta(
            pattern="^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?$",
            description="What kind of experiment it is: the first part of its id, small letters, digits and '-'.",
        ),
    ]
    exp_description: Annotated[str, Meta(description="What it is for, in a sentence; stands in the report.")]
    exp_global_data_parallelism: Annotated[
        Whole | None, Meta(description="Replicas of the model; null: as many as the cluster has.")
    ]
    engine_dtype: Annotated[
        str | None, Meta(description="Data type that the model computes in; null: as the inventory serves it.")
    ]
    engine_enforce_eager: Annotated[
        bool | None, Meta(description="Without compiling the model; null: as the inventory serves it.")
    ]
    engine_arguments: Annotated[
        dict[str, Any] | None, Meta(description="The engine's own arguments; null: as the inventory serves it.")
    ]
    custom: Annotated[
        dict[str, Any], Meta(description="Keys of your own: kept in the bundle and shown in the report, else unused.")
    ]

    llm_benchmark_iterations: Annotated[Whole, Meta(description="How often the whole list of load steps is run.")]
    llm_benchmark_duration: Annotated[SomeSeconds, Meta(description="Seconds of each load step, after its warm-up.")]
    llm_benchmark_requests: Annotated[
        Whole | None, Meta(description="A step ends after so many requests, if its seconds are not over before.")
    ]
    llm_benchmark_arrivals: Annotated[
        Arrivals,
        Meta(
            description="closed: each worker asks when it has its answer. constant, poisson, bursts: requests are sent "
            "when they are due, whatever became of earlier ones. trace: at the times of a file."
        ),
    ]
    llm_benchmark_target_qps_values: Annotated[
        list[Rate], Meta(description="Requests a second; a load step for each (constant, poisson, bursts).")
    ]
    llm_benchmark_concurrent_workers: Annotated[
        list[Whole],
        Meta(description="closed: how many ask at once; a load step for each."),
    ]
    llm_benchmark_burstiness: Annotated[
        Rate | None, Meta(description="bursts: 1 is Poisson, less comes in thicker bursts; null: the load's own.")
    ]
    llm_benchmark_trace: Annotated[
        str | None, Meta(description="trace: a timed trace in `vllm bench`'s format, from the naming file's folder on.")
    ]
    llm_benchmark_trace_unit_seconds: Annotated[
        SomeSeconds, Meta(description="trace: seconds of the unit of its times.")
    ]
    llm_benchmark_trace_block_tokens: Annotated[Whole, Meta(description="trace: tokens of each of its hash ids.")]
    llm_benchmark_warm_up: Annotated[
        Seconds, Meta(description="Seconds before each step's measured ones, whose requests are marked as warm-up.")
    ]
    llm_benchmark_prompt_tokens: Annotated[
        Whole | str, Meta(description="Length of prompts, in tokens: 128, uniform:64-256, lognormal:256,0.5, ...")
    ]
    llm_benchmark_output_tokens: Annotated[Whole | str, Meta(description="Length of answers, in the same words.")]
    llm_benchmark_turns: Annotated[Whole | str, Meta(description="Turns of each conversation, in the same words.")]
    llm_benchmark_prefix_tokens: Annotated[Count, Meta(description="Tokens that prompts of one group begin with.")]
    llm_benchmark_prefix_groups: Annotated[Count, Meta(description="Groups of prompts with one beginning; 0: none.")]
    llm_benchmark_checked_every: Annotated[
        Count,
        Meta(description="Each so many requests the golden question, so that answers are judged meanwhile; 0: never."),
    ]
    llm_benchmark_timeout: Annotated[SomeSeconds, Meta(description="Seconds after which a request counts as hung.")]
    llm_benchmark_seed: Annotated[Count, Meta(description="The same seed makes the same prompts, lengths and times.")]
    llm_benchmark_slo_ttft_ms: Annotated[
        Rate | None, Meta(description="Goodput: time to first token, at most, in milliseconds.")
    ]
    llm_benchmark_slo_itl_ms: Annotated[
        Rate | None, Meta(description="Goodput: time between tokens, at most, in milliseconds (mean of a request).")
    ]
    llm_benchmark_slo_e2el_ms: Annotated[
        Rate | None, Meta(description="Goodput: end to end, at most, in milliseconds.")
    ]

    chaos_experiment_scenario: Annotated[
        list[str], Meta(description="Faults that are there together, by their names in deploys/faults; none: [].")
    ]
    chaos_anomaly_injection_start: Annotated[
        Seconds, Meta(description="Seconds after the load's first measured request that faults begin.")
    ]
    chaos_anomaly_injection_duration: Annotated[
        SomeSeconds, Meta(description="Seconds that faults last; the hosts heal then though nobody tells them.")
    ]
    chaos_anomaly_injection_target_nodes: Annotated[
        list[str],
        Meta(description="Compute nodes that are hit; [any]: one, drawn with llm_benchmark_seed; [all]: all of them."),
    ]
    chaos_anomaly_injection_target_container: Annotated[
        str | None,
        Meta(
            description="The process or service that is hit, where a fault asks for one; it takes a container's place."
        ),
    ]
    chaos_anomaly_injection_claims: Annotated[
        list[str],
        Meta(description="What the result may be read as; a claim about another layer than the fault's is refused."),
    ]
    chaos_anomaly_injection_parameters: Annotated[
        dict[str, dict[str, Any]], Meta(description="Fault -> its own parameters.")
    ]

    telemetry_enabled: Annotated[bool, Meta(description="Collect metrics, logs, traces and flows.")]
    telemetry_interval_seconds: Annotated[SomeSeconds, Meta(description="Seconds between two readings of metrics.")]


NAMES: tuple[str, ...] = Parameters.__struct_fields__
TYPES: dict[str, Any] = {field.name: field.type for field in msgspec.structs.fields(Parameters)}
# What may be written as one value where a list is meant.
LISTS = frozenset(
    {
        "llm_benchmark_target_qps_values",
        "llm_benchmark_concurrent_workers",
        "chaos_experiment_scenario",
        "chaos_anomaly_injection_target_nodes",
        "chaos_anomaly_injection_claims",
    }
)
# Words of that document that mean something on Kubernetes alone, and what has their place on hosts.
KUBERNETES_ONLY = {
    "ray_service_cpu_per_pod": "an engine has its node's processors",
    "ray_service_gpu_per_pod": "an engine has its node's GPUs, as the inventory's profile counts them",
    "ray_service_memory_per_pod": "an engine's memory is planned (`cluster plan`), and set in the inventory",
}


def says(name: str) -> str:
    """What a parameter is for, in a sentence."""
    kind = TYPES[name]
    found = [meta.description for meta in getattr(kind, "__metadata__", ()) if getattr(meta, "description", None)]
    return str(found[-1]) if found else ""


def schema() -> dict[str, Any]:
    """JSON schema of files of experiments and suites, for editors. A value may stand in any layer: none is required."""
    _, components = msgspec.json.schema_components([Parameters], ref_template="#/$defs/{name}")
    parameters = dict(components["Parameters"])
    parameters.pop("required", None)
    for name in LISTS:
        whole = dict(parameters["properties"][name])
        said = whole.pop("description", "")
        parameters["properties"][name] = {"anyOf": [whole, whole["items"]], "description": said}
    several = {
        "type": "object",
        "additionalProperties": {"type": "array", "minItems": 1},
        "propertyNames": {"enum": list(NAMES)},
        "description": "Parameter -> values: an experiment for each, or for each combination.",
    }
    # With `for_each` an identifier may name what it is spread out over, in braces.
    identifier = {**parameters["properties"]["exp_type_identifier"], "pattern": "^[a-z0-9{][a-z0-9{}_-]*$"}
    own = {**parameters["properties"], "exp_type_identifier": identifier, "for_each": several}
    one = {**parameters, "properties": own}
    suite = {
        "type": "object",
        "required": ["experiments"],
        "additionalProperties": False,
        "properties": {
            "description": {"type": "string"},
            "parameters": {"$ref": "#/$defs/Parameters"},
            "experiments": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/Experiment"}},
        },
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "An experiment, or a suite of experiments, of `cluster experiment`",
        "if": {"required": ["experiments"]},
        "then": {"$ref": "#/$defs/Suite"},
        "else": {"$ref": "#/$defs/Experiment"},
        "$defs": {**components, "Parameters": parameters, "Experiment": one, "Suite": suite},
    }
