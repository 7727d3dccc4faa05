"""The serving process: reviews come in over TLS, verdicts go out."""
