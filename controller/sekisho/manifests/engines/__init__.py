"""Policies of other engines, translated into ours by what they say, not by their names."""
