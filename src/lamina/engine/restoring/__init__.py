"""Restore trees."""
