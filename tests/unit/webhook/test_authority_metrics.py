"""The metrics of ImageAuthorities."""

from datetime import timedelta

from sekisho.webhook.authority_metrics import authority_families
from tests.trustparts.looking_up import by_identity
from tests.trustparts.minted import CI, MintedSigstore
from tests.trustparts.sigstore import RELEASE
from tests.unit.images.signing import P256, keyed


def test_root_is_as_old_as_its_newest_part() -> None:
    keyless = by_identity("ci", MintedSigstore().trusted_root(), CI, RELEASE)
    assert keyless.keyless is not None
    newest = keyless.keyless.root.newest
    authorities = {"ci": keyless, "release": keyed("release", P256)}
    metrics = {family.name: family for family in authority_families(authorities, newest + timedelta(days=2))}
    samples = metrics["sekisho_image_authority_root_age_seconds"].metric().samples
    assert [(sample.labels, sample.value) for sample in samples] == [({"authority": "ci"}, 2 * 86400.0)]
