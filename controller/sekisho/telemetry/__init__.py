"""What a process says of itself: logs, metrics, health, and the rates that bound them."""
