"""`sekisho webhook` as a version that does not know the control `probes` yet. Run as a file, with its options."""

import sys
from collections.abc import Mapping

import sekisho.webhook.policies as module
from sekisho.cli.webhook import webhook
from sekisho.policies import PolicyError, Problem

if __name__ == "__main__":
    known = module.keep

    def keep(raw: bytes, kind: type, objects: Mapping[str, module.Kept]) -> tuple[module.Kept, bool]:
        """Deny what has the control, as strict decoding would."""
        if b'"probes":' in raw.partition(b'"spec":')[2]:
            raise PolicyError(Problem("spec.controls", "Object contains unknown field 'probes'"))
        return known(raw, kind, objects)

    setattr(module, "keep", keep)  # noqa: B010
    webhook(sys.argv[1:])
