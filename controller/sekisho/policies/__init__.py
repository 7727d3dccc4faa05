"""Policies: their types, strict loading, matching and compilation."""

from sekisho.policies.compilation import CompiledPolicy, compile_policy
from sekisho.policies.defaults import Default
from sekisho.policies.documents import Document, DocumentError, parse_path, read_documents
from sekisho.policies.loading import Policy, decode, decode_policy, parse_policies, read_policies
from sekisho.policies.problems import PolicyError, Problem
from sekisho.policies.sets import Plan, PolicySet, Step
from sekisho.policies.types import ClusterPodPolicy, Enforcement, PodPolicy
from sekisho.policies.waivers import CompiledWaiver, PolicyWaiver, compile_waiver

__all__ = [
    "ClusterPodPolicy",
    "CompiledPolicy",
    "CompiledWaiver",
    "Default",
    "Document",
    "DocumentError",
    "Enforcement",
    "Plan",
    "PodPolicy",
    "Policy",
    "PolicyError",
    "PolicySet",
    "PolicyWaiver",
    "Problem",
    "Step",
    "compile_policy",
    "compile_waiver",
    "decode",
    "decode_policy",
    "parse_path",
    "parse_policies",
    "read_documents",
    "read_policies",
]
