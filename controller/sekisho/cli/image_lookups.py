"""Looking images up in registries, for commands that judge rules on signatures."""

import asyncio
import os
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from msgspec.structs import replace

from sekisho.cli import options
from sekisho.cli.authority_objects import ReadMore, authorities_of, nothing_more
from sekisho.controls.image_catalogs import Catalogs
from sekisho.images import Reference
from sekisho.images.evidence import ImageFacts, Unknown, evidence_key, tag_key
from sekisho.images.trust import Trust
from sekisho.manifests import Source, read_sources
from sekisho.policies import PolicySet, Problem
from sekisho.registry import CredentialsError, RegistryClient, Settings, matching, parse_config, tls_context
from sekisho.registry.addresses import parse_networks
from sekisho.registry.credentials import Entry
from sekisho.webhook.evidence import EvidenceStore
from sekisho.webhook.image_needs import needs_of
from sekisho.webhook.tags import Tags

_BATCH: Final = 64
"""Images that are looked up at the same time."""
_SECONDS: Final = 60.0
"""How long a batch may take; then an image counts as not verified."""
_LOOPBACK: Final = parse_networks(("127.0.0.0/8", "::1"))
"""The webhook must not connect to its own machine; a user may have a registry there."""


class ImageLookups:
    """The authorities that policies may name, and what registries hold beside images. A context manager."""

    def __init__(
        self,
        policies: PolicySet,
        sources: Iterable[Source],
        config: Path | None,
        ca_file: Path | None,
        read_more: ReadMore = nothing_more,
    ) -> None:
        """Look up with the authorities of a policy set.

        sources: have the Secrets and ConfigMaps that authorities refer to.
        read_more: reads those that the sources do not have.
        config: credentials; None for Docker's own file, if there is one.
        ca_file: further authorities for the certificates of registries; None for none.

        Ends the command with an error if a file cannot be used.
        """
        self.authorities = authorities_of(policies, sources, read_more)
        self._policies = policies
        self._registries = policies.registries
        self._predicates = policies.predicates
        self._settings = Settings(_LOOPBACK, _tls(ca_file))
        self._entries = _credentials(config)
        self._evidence: dict[str, ImageFacts | Unknown] = {}
        self._webhook_evidence: dict[str, ImageFacts | Unknown] = {}
        """The evidence about images of registries that the webhook would connect to."""
        self._digests: dict[Reference, str] = {}
        self._runner = asyncio.Runner()

    def __enter__(self) -> "ImageLookups":
        self._runner.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._runner.__exit__(kind, error, trace)

    def trust(self) -> Trust:
        """What the webhook would know now: it connects only to registries that administrators name."""
        return Trust(
            self.authorities,
            self._webhook_evidence,
            datetime.now(UTC),
            self._digests,
            self._registries,
            self._predicates,
        )

    def catalogs(self) -> Catalogs:
        """The catalogs now."""
        return self._policies.catalogs_at(lambda: datetime.now(UTC))

    def look_up(self, references: Iterable[Reference]) -> None:
        """Look up images, those with tags by the digests that the tags stand for now."""
        wanted = iter(dict.fromkeys(reference for reference in references if not self._is_known(reference)))
        while batch := list(islice(wanted, _BATCH)):
            self._runner.run(self._look_up(batch))

    def digest(self, reference: Reference) -> str | None:
        """The digest of an image that was looked up; None if its tag could not be resolved."""
        return reference.digest or self._digests.get(reference)

    def facts(self, reference: Reference) -> ImageFacts | Unknown:
        """The facts about an image that was looked up, or why they are unknown."""
        key = evidence_key(self._pinned(reference)) or tag_key(reference)
        return self._evidence.get(key) or Unknown("was not looked up", "look it up")

    def _is_known(self, reference: Reference) -> bool:
        return (evidence_key(reference) or tag_key(reference)) in self._evidence or reference in self._digests

    def _pinned(self, reference: Reference) -> Reference:
        return replace(reference, digest=self.digest(reference))

    async def _look_up(self, references: Sequence[Reference]) -> None:
        client = RegistryClient(self._settings, lambda *repository: matching(self._entries, *repository))
        needs = needs_of(lambda: self._policies, self.trust)
        evidence = EvidenceStore(client, lambda: self.authorities, lambda: datetime.now(UTC), needs=needs)
        tags = Tags(client)
        try:
            self._digests |= await tags.digests(references, _SECONDS)
            pinned = [one for reference in references if (one := self._pinned(reference)).digest is not None]
            evidence.start(pinned)
            await evidence.settled(pinned, _SECONDS)
            for reference in map(self._pinned, references):
                result = _result(reference, tags, evidence)
                self._keep(reference, result)
                for digest in result.platforms if isinstance(result, ImageFacts) else ():
                    platform_image = replace(reference, digest=digest)
                    self._keep(platform_image, _result(platform_image, tags, evidence))
        finally:
            await evidence.close()
            await client.close()

    def _keep(self, reference: Reference, result: ImageFacts | Unknown) -> None:
        self._evidence[_key(reference)] = result
        if reference.registry in self._registries:
            self._webhook_evidence[_key(reference)] = result


def _key(reference: Reference) -> str:
    return evidence_key(reference) or tag_key(reference)


def _result(reference: Reference, tags: Tags, evidence: EvidenceStore) -> ImageFacts | Unknown:
    known = tags.unknown(_key(reference)) if reference.digest is None else evidence.known(_key(reference))[0]
    return known or Unknown("was not looked up in time", "try again")


def objects_for_authorities(paths: Iterable[Path], context: Iterable[Source] = ()) -> list[Source]:
    """The texts that may have Secrets and ConfigMaps for authorities; what cannot be read was reported before."""
    return [*context, *read_sources([path for path in paths if path.exists()]).texts]


def _tls(ca_file: Path | None) -> Any:
    if ca_file is None:
        return None
    try:
        return tls_context(_read(ca_file))
    except ValueError as error:
        options.fail([Problem(str(ca_file), f"holds {error}")])


def _credentials(config: Path | None) -> tuple[Entry, ...]:
    file = config
    if file is None:
        folder = os.environ.get("DOCKER_CONFIG")
        file = Path(folder or Path.home() / ".docker") / "config.json"
        if not file.is_file():
            return ()
    try:
        return parse_config(_read(file).encode())
    except CredentialsError as error:
        options.fail([Problem(str(file), f"cannot be used: {error}")])


def _read(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except UnicodeDecodeError:
        options.fail([Problem(str(file), "is not UTF-8 text")])
    except OSError as error:
        options.fail([Problem(str(file), f"cannot be read: {error.strerror}")])
