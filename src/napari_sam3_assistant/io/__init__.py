"""Reading and writing files. Knows file formats; no engine, viewer or Qt."""
