"""The single-leader process: certificates, caBundle and the status of policies."""
