"""Named immutable objects, somewhere."""
