"""What is true of a host: pyinfra facts that only read, the parsers behind them and the judgements over them.

Three layers, each usable without the one above it:

- `facts.parse`: pure parsers. Text in, frozen dataclasses out; `ValueError` says what is wrong and where.
- `facts.*`: pyinfra facts. A command that changes nothing and always prints something, and one line of
  `process`.
- `facts.health`: pure judgements over the reports. They return `CheckResult` lists.

A missing tool and a missing device are different values: see `facts.parse.gpu.GpuReport.tool`.
"""
