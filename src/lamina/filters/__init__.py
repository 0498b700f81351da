"""Reversible transforms of one chunk's bytes."""
