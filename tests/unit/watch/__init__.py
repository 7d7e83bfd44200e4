"""The live picture of the running lab."""
