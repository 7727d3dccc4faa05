"""The engine's Pod Security Standards against Kubernetes' own evaluator: `python -m tests.differential 1000000`.

`fields` lists the values that each field is tried at, and `generator` makes pods of them. `reference` gets the verdict
of the evaluator, which is in Go, and `comparison` puts the engine's beside it. `reduction` makes a pod small on which
they differ.
"""
