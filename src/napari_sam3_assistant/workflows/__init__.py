"""The sequences of engine calls that make results: generators, given an engine and a request."""
