"""What faults cost, without machines."""
