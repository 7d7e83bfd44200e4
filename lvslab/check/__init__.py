"""What proves the product: the checklist, the wire, the probes, and rules for artifacts."""
