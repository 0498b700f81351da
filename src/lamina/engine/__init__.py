"""What a backup program does, one verb a file; no database, no HTTP."""
