"""Sekisho decides which pods are admitted to a Kubernetes cluster, and applies safe defaults to them.

The public surface for programs is what `__all__` names; it is documented in docs/cli.md and in `sekisho.library`:

    import sekisho

    policies = sekisho.load_policies("policies/", standard="baseline")
    for checked in sekisho.check(Path("deploy/"), policies):
        for violation in checked.violations:
            print(checked.title, violation.line, violation.finding.field, violation.finding.fix)
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sekisho.library import (
        Checked,
        Enforcement,
        Finding,
        Located,
        ManifestError,
        PolicyError,
        PolicySet,
        Problem,
        SekishoError,
        check,
        load_policies,
    )

__version__ = "0.2.0"

__all__ = [
    "Checked",
    "Enforcement",
    "Finding",
    "Located",
    "ManifestError",
    "PolicyError",
    "PolicySet",
    "Problem",
    "SekishoError",
    "__version__",
    "check",
    "load_policies",
]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """Import the engine at the first use, so that `sekisho --version` and pytest runs start fast."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from sekisho import library

        return getattr(library, name)
