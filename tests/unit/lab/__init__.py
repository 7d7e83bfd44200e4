"""The running lab, without machines."""
