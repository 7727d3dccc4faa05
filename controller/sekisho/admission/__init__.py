"""Admission: a review in, a verdict, an answer out. Pure: no I/O, no clock, and no exception for a decoded review."""

from sekisho.admission.answer import Outcome, deny, mutate, validate
from sekisho.admission.defaults import Filled, Operation, fill
from sekisho.admission.denial import denial_message, warning_lines
from sekisho.admission.review import MalformedReviewError, Review, decode
from sekisho.admission.verdict import Violation, judge, judge_template
from sekisho.admission.waivers import Clock, Waived, apply_waivers, waiver_lines

__all__ = [
    "Clock",
    "Filled",
    "MalformedReviewError",
    "Operation",
    "Outcome",
    "Review",
    "Violation",
    "Waived",
    "apply_waivers",
    "decode",
    "denial_message",
    "deny",
    "fill",
    "judge",
    "judge_template",
    "mutate",
    "validate",
    "waiver_lines",
    "warning_lines",
]
