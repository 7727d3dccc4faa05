#!/bin/sh
# Run in CI after the image was pushed and signed, where catalog.yaml is in Git: ./certify.sh REGISTRY/REPOSITORY@DIGEST
set -eu
cosign verify --key release.pub --insecure-ignore-tlog=true "$1"
sekisho catalog add catalog.yaml "$1" --valid-days 90
git diff --quiet catalog.yaml || git commit --quiet --message "Certify $1" catalog.yaml
