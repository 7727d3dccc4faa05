"""Manifests, offline: reading them, checking them as the webhooks would, explaining and fixing them."""

from sekisho.custom_kinds import PodKinds
from sekisho.manifests.baseline import (
    Baseline,
    baseline_of,
    read_baseline,
    without_known,
    write_baseline,
)
from sekisho.manifests.checks import Checked, Checker, Checks, Ignored, Located, joined, with_unknown_as_problems
from sekisho.manifests.explanations import ControlResult, Explanation, explain
from sekisho.manifests.fixes import Fixed, fix_source
from sekisho.manifests.namespace_objects import objects_in
from sekisho.manifests.namespaces import Namespaces, labels_in, policies_reading_labels, read_namespace_labels
from sekisho.manifests.objects import JudgedObject, Manifest, judged_objects, read_objects, unjudged
from sekisho.manifests.policy_loading import load_policies, parse_policies, read_policies
from sekisho.manifests.sources import Sources, read_sources, sources_of
from sekisho.manifests.texts import Source

__all__ = [
    "Baseline",
    "Checked",
    "Checker",
    "Checks",
    "ControlResult",
    "Explanation",
    "Fixed",
    "Ignored",
    "JudgedObject",
    "Located",
    "Manifest",
    "Namespaces",
    "PodKinds",
    "Source",
    "Sources",
    "baseline_of",
    "explain",
    "fix_source",
    "joined",
    "judged_objects",
    "labels_in",
    "load_policies",
    "objects_in",
    "parse_policies",
    "policies_reading_labels",
    "read_baseline",
    "read_namespace_labels",
    "read_objects",
    "read_policies",
    "read_sources",
    "sources_of",
    "unjudged",
    "with_unknown_as_problems",
    "without_known",
    "write_baseline",
]
