"""The root of Sekisho's errors."""


class SekishoError(Exception):
    """The base of every error that Sekisho raises for its callers; its text is meant for people."""
