"""Tests of the audit of what runs."""
