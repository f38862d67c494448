"""The base of every node alone: `cluster up --only compute_base`."""

from deploys.compute_base.deploy import compute_base

compute_base()
