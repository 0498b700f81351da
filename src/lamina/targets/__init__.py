"""Where data goes back to."""
