"""Where a stream is cut into chunks."""
