"""What a prune consists of."""
