"""Values and array maths. Knows NumPy, SciPy and scikit-image; no engine, file, viewer or Qt."""
