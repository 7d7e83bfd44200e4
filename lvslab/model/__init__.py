"""What the user said, frozen: the lab of lab.yaml and the roles of roles/."""
