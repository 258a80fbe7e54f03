"""Advanced mode: every step of the workflow, in one column or two."""
