"""One bound control a file. Panels arrange them; none of them holds state of its own."""
