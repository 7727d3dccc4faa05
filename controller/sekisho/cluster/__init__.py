"""Access to the Kubernetes API: the client, reflectors, Leases, owners and Events."""
