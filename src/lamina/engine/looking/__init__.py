"""What the verbs that look into snapshots share."""
