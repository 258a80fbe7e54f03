"""Changes of the bytes of a file, as a disk or a stranger makes them."""

from hypothesis import strategies as st

CHANGES = st.lists(
    st.one_of(
        st.tuples(st.just("cut"), st.floats(0, 1)),
        st.tuples(st.just("set"), st.floats(0, 1), st.integers(0, 255)),
        st.tuples(st.just("start"), st.integers(0, 600), st.integers(0, 255)),
        st.tuples(st.just("zero"), st.floats(0, 1), st.integers(1, 200)),
    ),
    min_size=1,
    max_size=4,
)


def damage(content, change):
    """Return the bytes of a file after one of them."""
    kind, place, *value = change
    at = place if kind == "start" else int(place * len(content))
    if kind == "cut":
        return content[:at]
    if kind == "zero":
        return content[:at] + bytes(value[0]) + content[at + value[0] :]
    return content[:at] + bytes(value) + content[at + 1 :]
