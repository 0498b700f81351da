"""Check a repository: what is read, what is known of it then, and what is written down."""
