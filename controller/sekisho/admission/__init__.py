"""Admission: a review in, a verdict, an answer out. Pure: no I/O, no clock, and no exception for a decoded review."""

from sekisho.admission.answer import DENIALS, Decision, Outcome, errored, mutate, validate, written_at, written_by_owner
from sekisho.admission.context import Clock, Context
from sekisho.admission.defaults import fill
from sekisho.admission.denial import denial_message, warning_lines
from sekisho.admission.evaluation import NOT_VERIFIED, Evaluation, Form, evaluate
from sekisho.admission.patch import Addition, Filled
from sekisho.admission.pod_defaults import NO_OBJECTS, NamespaceObjects, ServiceAccount
from sekisho.admission.pod_resources import LimitRange, LimitRangeItem, limit_range
from sekisho.admission.review import MalformedReviewError, Review, decode, decode_head
from sekisho.admission.time_checks import CheckTime, UnjudgedError
from sekisho.admission.verdict import Violation, denying, judge, policies_of, with_enforcement
from sekisho.admission.waivers import Waived, waiver_lines
from sekisho.findings import ManyFindingsError

__all__ = [
    "DENIALS",
    "NOT_VERIFIED",
    "NO_OBJECTS",
    "Addition",
    "CheckTime",
    "Clock",
    "Context",
    "Decision",
    "Evaluation",
    "Filled",
    "Form",
    "LimitRange",
    "LimitRangeItem",
    "MalformedReviewError",
    "ManyFindingsError",
    "NamespaceObjects",
    "Outcome",
    "Review",
    "ServiceAccount",
    "UnjudgedError",
    "Violation",
    "Waived",
    "decode",
    "decode_head",
    "denial_message",
    "denying",
    "errored",
    "evaluate",
    "fill",
    "judge",
    "limit_range",
    "mutate",
    "policies_of",
    "validate",
    "waiver_lines",
    "warning_lines",
    "with_enforcement",
    "written_at",
    "written_by_owner",
]
