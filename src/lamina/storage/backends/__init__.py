"""The places a repository can lie in: one file a place, found by plug-in name."""
