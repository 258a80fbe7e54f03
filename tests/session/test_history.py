"""Undo and redo over several levels."""

from napari_sam3_assistant.session.undo import History


def test_undo_and_redo_walk_the_states():
    history = History("a")
    history.push("b")
    history.push("c")

    assert (history.undo(), history.undo(), history.undo()) == ("b", "a", "a")
    assert (history.redo(), history.redo(), history.redo()) == ("b", "c", "c")


def test_a_new_state_drops_what_was_taken_back():
    history = History("a")
    history.push("b")
    history.undo()
    history.push("c")

    assert not history.can_redo
    assert history.undo() == "a"


def test_amend_puts_another_state_in_place():
    history = History("a")
    history.push("b")
    history.amend("B")

    assert history.current == "B"
    assert history.undo() == "a"


def test_the_oldest_states_are_dropped():
    history = History(0, limit=3)
    for state in (1, 2, 3):
        history.push(state)

    assert [history.undo() for _ in range(3)] == [2, 1, 1]


def test_states_that_take_too_much_room_are_dropped_but_for_the_latest():
    history = History(0, fits=lambda states: sum(states) <= 60)
    for state in (10, 20, 30, 1, 2, 3, 4):
        history.push(state)
    assert [history.undo() for _ in range(7)] == [3, 2, 1, 30, 20, 20, 20]

    for _ in range(5):
        history.redo()
    history.amend(40)
    assert [history.undo() for _ in range(6)] == [3, 2, 1, 30, 30, 30]

    for state in (70, 70, 70, 70, 70, 70):
        history.push(state)
    assert [history.undo() for _ in range(5)] == [70] * 5


def test_states_that_were_saved_are_gone_on_with():
    history = History("a", "b", "c", at=1)
    assert history.states == {0: "a", 1: "b", 2: "c"}
    assert history.current == "b"
    assert history.redo() == "c"
    history.push("d")
    assert history.states == {0: "a", 1: "b", 2: "c", 3: "d"}
    assert history.number == 3
