"""Sekisho, the checkpoint: decides which pods may enter a Kubernetes cluster, and dresses them with safe defaults."""

__version__ = "0.1.0"
