"""The dock widgets: Qt lives here and nowhere else. This file imports nothing."""
