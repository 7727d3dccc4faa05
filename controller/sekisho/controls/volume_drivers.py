"""Drivers of volumes, which several controls allow by name."""

from collections.abc import Callable, Sequence

from sekisho.controls.control import Check
from sekisho.findings import Finding, remove, words
from sekisho.pods import ContainerRef, Pod, Volume


def check_drivers(
    control: str, source: str, driver_of: Callable[[Volume], str | None], allowed: Sequence[str], none: str
) -> Check:
    """A check that each volume from a source has an allowed driver.

    source: of the volume, as the API spells it, such as `csi`.
    driver_of: gives the driver; None for a volume from another source.
    none: what is allowed where no driver is, in words.
    """
    in_words = words(allowed) if allowed else none

    def judge(pod: Pod, _containers: Sequence[ContainerRef]) -> list[Finding]:
        return [
            Finding.of(
                control,
                ("spec", "volumes", index, source, "driver"),
                driver,
                allowed=in_words,
                fix="use another kind of volume or an allowed driver",
                change=remove(("spec", "volumes", index, source)),
                about=volume,
            )
            for index, volume in enumerate(pod.spec.volumes or ())
            if (driver := driver_of(volume)) is not None and driver not in allowed
        ]

    return judge
