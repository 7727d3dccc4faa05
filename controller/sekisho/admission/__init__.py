"""Admission: a review in, a verdict, an answer out. Pure: no I/O, no clock, and no exception for a decoded review."""

from sekisho.admission.answer import Outcome, mutate, refuse, validate
from sekisho.admission.defaults import Filled, Operation, fill
from sekisho.admission.denial import denial_message, warning_lines
from sekisho.admission.review import MalformedReviewError, Review, decode
from sekisho.admission.verdict import Violation, judge, judge_template
from sekisho.admission.waivers import Clock, Waived, lift, waiver_lines

__all__ = [
    "Clock",
    "Filled",
    "MalformedReviewError",
    "Operation",
    "Outcome",
    "Review",
    "Violation",
    "Waived",
    "decode",
    "denial_message",
    "fill",
    "judge",
    "judge_template",
    "lift",
    "mutate",
    "refuse",
    "validate",
    "waiver_lines",
    "warning_lines",
]
