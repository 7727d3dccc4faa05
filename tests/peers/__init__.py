"""What other admission controllers' policies are here, and how many of their own cases agree."""
