"""The lab on a cluster that a school already has: one lab, or one for each student."""
