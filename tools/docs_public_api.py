"""Let the API reference of the site read this package as Python and Sphinx do."""

from __future__ import annotations

import re
from typing import Any

import griffe

_ROLE = re.compile(r":(?:attr|class|func|meth|mod):`~?\.?([\w.]+)`")


class PublicApi(griffe.Extension):
    """Show what ``api`` exports, and link what the roles in docstrings (``:func:``) name."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:  # noqa: ANN401
        """Change a package once it is read."""
        api = pkg["api"]

        def link(role: re.Match[str]) -> str:
            name = role[1].rpartition(".")[2]
            return f"[`{name}`][{api.path}.{name}]" if name in api.exports else f"`{name}`"

        def visit(thing: griffe.Object) -> None:
            if thing.docstring:
                thing.docstring.value = _ROLE.sub(link, thing.docstring.value)
            for member in thing.members.values():
                if not member.is_alias:
                    visit(member)

        visit(pkg)
        # `api.segment` is the function, where griffe takes it for the module that holds it.
        exported = {
            name: member[name] if (member := api.members[name]).is_module else member.final_target
            for name in api.exports
        }
        for name, target in exported.items():
            api.set_member(name, griffe.Alias(name, target, parent=api))
