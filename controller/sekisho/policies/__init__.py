"""Policies: their types, strict loading, matching and compilation. Pure: nothing here reads files or the clock."""

from sekisho.documents import Problem
from sekisho.policies.authorities import CompiledAuthority, ImageAuthority, compile_authority
from sekisho.policies.catalogs import ImageCatalog, compile_catalog
from sekisho.policies.compilation import CompiledPolicy, compile_policy
from sekisho.policies.compiled_defaults import Default
from sekisho.policies.loading import Policy, compile_any, decode, decode_policy
from sekisho.policies.plans import Plan, Step
from sekisho.policies.problems import PolicyError
from sekisho.policies.sets import PolicySet
from sekisho.policies.types import ClusterPodPolicy, Enforcement, PodPolicy
from sekisho.policies.waivers import CompiledWaiver, PolicyWaiver, compile_waiver

__all__ = [
    "ClusterPodPolicy",
    "CompiledAuthority",
    "CompiledPolicy",
    "CompiledWaiver",
    "Default",
    "Enforcement",
    "ImageAuthority",
    "ImageCatalog",
    "Plan",
    "PodPolicy",
    "Policy",
    "PolicyError",
    "PolicySet",
    "PolicyWaiver",
    "Problem",
    "Step",
    "compile_any",
    "compile_authority",
    "compile_catalog",
    "compile_policy",
    "compile_waiver",
    "decode",
    "decode_policy",
]
