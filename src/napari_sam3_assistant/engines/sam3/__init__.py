"""What the SAM engines share."""
