"""Says before anything runs what a model will do on a cluster, and after a run what held it back.

Pure, standard library only; bytes, seconds, FLOPs. The way through: `configuration` reads a config.json into an
`architecture.Model`; `tensors` lists what it is made of; `memory` says what a rank holds; `work` says what a step moves
and computes; `rates` says how fast the hardware does that, from a calibration or a datasheet; `timing` puts both
together; `placement` enumerates; `plan` decides; `explain` looks back. docs/planning.md has the formulas.
"""
