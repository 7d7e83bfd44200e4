"""lab.yaml and role.yaml."""
