"""Rules for seeds: the ISO volume and the cloud-init texts on it."""
