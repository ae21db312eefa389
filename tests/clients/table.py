"""Writes the README's table of clients from what the tests of clients have said.

    table.py README ROWS

ROWS is the directory where tests/it/clients.rs leaves the rows of the tests that passed. Ends
with status 1 where the table had to be changed: then it is to be committed.
"""

import sys
from pathlib import Path

BEGIN = "<!-- clients: tests/run writes this table -->\n"
END = "<!-- clients end -->\n"
HEAD = "| client | language | protocol | what is run |\n|---|---|---|---|\n"


def main(readme, rows):
    lines = [line.strip() for path in rows.iterdir() for line in path.read_text().splitlines()]
    lines.sort(key=lambda line: [cell.strip().lower() for cell in reversed(line.split("|")[1:3])])
    if not lines:
        sys.exit(f"{rows}: no test has left a row")
    text = readme.read_text()
    before, rest = text.split(BEGIN)
    _, behind = rest.split(END)
    table = HEAD + "".join(f"{line}\n" for line in lines)
    written = before + BEGIN + table + END + behind
    if written == text:
        return
    readme.write_text(written)
    sys.exit(f"{readme}: the table of clients was not as the tests have it; it is now")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
