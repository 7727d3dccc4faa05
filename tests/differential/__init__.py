"""The engine's Pod Security Standards against Kubernetes' own evaluator: `python -m tests.differential 1000000`.

fields lists the values that each field is tried at and generator makes pods of them; reference asks the evaluator (Go)
what Kubernetes thinks of a pod, comparison puts the engine's verdict beside it, and reduction makes a pod small on
which they differ.
"""
