"""What both SAM 3 engines share."""
