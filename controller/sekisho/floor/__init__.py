"""The floor: what the API server denies by itself, also while the webhook is gone."""

from sekisho.floor.generation import Floor, Missing, floor_of

__all__ = ["Floor", "Missing", "floor_of"]
