"""What talks to the Kubernetes API: the client, reflectors, Leases, owners and Events."""
