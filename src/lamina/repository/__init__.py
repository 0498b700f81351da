"""The deduplicating, encrypted format on top of any storage."""
