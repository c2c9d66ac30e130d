"""The manual of the directives, written from the option table.

``python -m ovpn6.config.document`` prints docs/options.md.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator

from ovpn6.config.options import OPTIONS, Option, Scope, Side, Status

_PREFACE = """\
# Directives

Written from the option table (`python -m ovpn6.config.document`); do not edit.

A directive means the same in a configuration file (`verb 4`) and on the command line
(`--verb 4`). **Where** names the other places where it may stand: *block*, a `<connection>` block;
*client*, a file of `client-config-dir` or what a `client-connect` script writes; *pushed*, what a
server pushes. `<inline>` marks those whose value may be a block `<name>` in the file. Words in
brackets may be left out.
"""

_HELP_PREFACE = "Directives, in a file or after -- on the command line:\n"

_PLACES = ((Scope.CONNECTION, "block"), (Scope.CCD, "client"), (Scope.PUSH, "pushed"))


def options_page() -> str:
    """docs/options.md."""
    parts = [_PREFACE]
    for section in _sections():
        parts.append(f"\n## {section}\n")
        parts.extend(_table(section))
    return "\n".join(parts) + "\n"


def help_text() -> str:
    """What ``--help`` prints: every directive that does something."""
    lines = [_HELP_PREFACE]
    for section in _sections():
        rows = [row for row in _rows(section) if row.status is Status.SUPPORTED]
        rows = [row for row in rows if Scope.FILE in row.scopes or Scope.CCD in row.scopes]
        if rows:
            lines.append(f"{section}:")
            lines.extend(line for row in rows for line in _help_lines(row))
            lines.append("")
    return "\n".join(lines)


# --- helpers ------------------------------------------------------------------------------------


def _sections() -> list[str]:
    return list(dict.fromkeys(option.section for option in OPTIONS.values()))


def _rows(section: str) -> list[Option]:
    return [option for option in OPTIONS.values() if option.section == section]


def _table(section: str) -> Iterator[str]:
    rows = _rows(section)
    if all(row.status is not Status.SUPPORTED for row in rows):
        yield "| Directive | Asks for | Why nothing comes of it | What to do |"
        yield "|---|---|---|---|"
        for row in rows:
            text = "" if row.help.startswith("Not supported:") else row.help
            advice = row.advice or ("remove it" if row.status is Status.LEGACY else "")
            yield f"| `{row.name}` | {_cell(text)} | {_cell(row.reason)} | {_cell(advice)} |"
        return
    yield "| Directive | What it does | Side | Where |"
    yield "|---|---|---|---|"
    for row in rows:
        side = "" if row.side is Side.BOTH else row.side.value
        yield f"| {_usage(row)} | {_cell(row.help)} | {side} | {_where(row)} |"


def _usage(row: Option) -> str:
    return f"`{_cell(f'{row.name} {row.usage}'.strip())}`" + (" `<inline>`" if row.inline else "")


def _where(row: Option) -> str:
    return ", ".join(word for scope, word in _PLACES if scope in row.scopes)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "\\<") if "`" not in text else text


def _help_lines(row: Option) -> list[str]:
    head = f"  --{row.name} {row.usage}".rstrip()
    body = textwrap.wrap(row.help, width=66)
    if len(head) < 32:
        first, *rest = body or [""]
        return [f"{head:<32}{first}", *(f"{'':<32}{line}" for line in rest)]
    return [head, *(f"{'':<32}{line}" for line in body)]


if __name__ == "__main__":
    sys.stdout.write(options_page())
