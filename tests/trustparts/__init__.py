"""The parts of the trust chain that Sekisho does not write, real and on loopback: registries, cosign, a Sigstore.

`build` makes the binaries. `registries` runs two kinds of OCI registry and fills them. `cosign` signs as users do.
`sigstore` runs Fulcio, Rekor and a timestamp server without internet. `minted` makes in Python what the real ones
cannot make. `fixtures` are for all tests (tests/conftest.py imports them).
"""
