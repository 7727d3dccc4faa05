"""Policies: their types, strict loading, matching and compilation."""

from sekisho.policies.compilation import CompiledPolicy, Default, Plan, PolicySet, Step, compile_policy
from sekisho.policies.documents import Document, DocumentError, parse_path, read_documents
from sekisho.policies.loading import decode_policy, parse_policies, read_policies
from sekisho.policies.problems import PolicyError, Problem
from sekisho.policies.types import ClusterPodPolicy, Enforcement

__all__ = [
    "ClusterPodPolicy",
    "CompiledPolicy",
    "Default",
    "Document",
    "DocumentError",
    "Enforcement",
    "Plan",
    "PolicyError",
    "PolicySet",
    "Problem",
    "Step",
    "compile_policy",
    "decode_policy",
    "parse_path",
    "parse_policies",
    "read_documents",
    "read_policies",
]
