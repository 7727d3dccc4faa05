"""Admission: a review in, a verdict, an answer out. Pure: no I/O, no clock, and no exception for a decoded review."""

from sekisho.admission.answer import Outcome, mutate, refuse, validate
from sekisho.admission.defaults import Filled, Operation, fill
from sekisho.admission.denial import denial_message, warning_lines
from sekisho.admission.review import MalformedReviewError, Review, decode
from sekisho.admission.verdict import Violation, judge, judge_template

__all__ = [
    "Filled",
    "MalformedReviewError",
    "Operation",
    "Outcome",
    "Review",
    "Violation",
    "decode",
    "denial_message",
    "fill",
    "judge",
    "judge_template",
    "mutate",
    "refuse",
    "validate",
    "warning_lines",
]
