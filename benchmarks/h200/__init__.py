"""Measures decode and prefill of several model shapes on H200 GPUs and compares them with the planner's predictions."""
