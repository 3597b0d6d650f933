"""Copies the one chain of a database that nobody serves: chains that a keeper keeps, and that are not due.

    chains.py COUNT DATABASE                   a file of SQLite's
    chains.py COUNT postgres://ADDRESS PSQL    a database of PostgreSQL's, by that program

A copy is a chain with its family, the head, the attempt that brought it, and a connection. Its secrets are those of the
original, sealed to it: nobody opens them, since nothing of a copy is ever presented. The last ten characters of its ids
are its number, which `nightlatch-bench-keeper` knows.
"""

import sqlite3
import subprocess
import sys

# The columns in which a copy is not the original; `{}` is the original's, as text.
NUMBERED = "substr({0}, 1, length({0}) - 10) || {number}"
NAMED = "{0} || '-' || {number}"
CHANGED = {
    "chain": {"chain_id": NUMBERED, "family_id": NUMBERED, "account": NAMED, "due_at": "{0} + 86400000 + n"},
    "family": {"family_id": NUMBERED, "chain_id": NUMBERED},
    "generation": {"family_id": NUMBERED, "attempt_id": NUMBERED},
    "attempt": {"attempt_id": NUMBERED, "chain_id": NUMBERED, "family_id": NUMBERED},
    "connection": {"connection_id": NUMBERED, "chain_id": NUMBERED, "name": NAMED},
}
# Which rows are the original's.
ORIGINAL = {
    "chain": "",
    "family": "",
    "generation": "WHERE number = (SELECT head FROM family)",
    "attempt": "WHERE attempt_id = (SELECT attempt_id FROM generation WHERE number = (SELECT head FROM family))",
    "connection": "",
}


def copies(table, columns, numbers, number):
    changed = CHANGED[table]
    cells = ", ".join(changed.get(name, "{0}").format(f"original.{name}", number=number) for name in columns)
    original = f"(SELECT * FROM {table} {ORIGINAL[table]}) AS original"
    return f"INSERT INTO {table} ({', '.join(columns)}) SELECT {cells} FROM {original}, {numbers}"


def sqlite(count, path):
    database = sqlite3.connect(path)
    # Whoever opens it next finds one file; until then a crash would only cost the copies.
    database.execute("PRAGMA synchronous = OFF")
    numbers = (
        f"(WITH RECURSIVE up(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM up WHERE n + 1 < {count}) SELECT n FROM up)"
    )
    # What names the original is read before there are copies of it.
    for table in reversed(CHANGED):
        columns = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
        database.execute(copies(table, columns, numbers, "printf('%010d', n)"))
    broken = database.execute("PRAGMA foreign_key_check").fetchone()
    if broken:
        sys.exit(f"a copy of `{broken[0]}` points nowhere")
    database.commit()
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def postgres(count, address, psql):
    def ask(*commands):
        words = [psql, address, "-qAtX", "-v", "ON_ERROR_STOP=1"]
        for command in commands:
            words += ["-c", command]
        return subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout

    numbers = f"generate_series(0, {count} - 1) AS numbers(n)"
    inserts = []
    for table in reversed(CHANGED):
        named = f"SELECT column_name FROM information_schema.columns WHERE table_name = '{table}' ORDER BY ordinal_position"
        inserts.append(copies(table, ask(named).split(), numbers, "lpad(n::text, 10, '0')"))
    # In one transaction its keys may be missing until its end.
    unchecked = "SET session_replication_role = replica"
    ask(unchecked, "SET synchronous_commit = off", "BEGIN", *inserts, "COMMIT", "VACUUM ANALYZE", "CHECKPOINT")


if sys.argv[2].startswith("postgres://"):
    postgres(int(sys.argv[1]), *sys.argv[2:])
else:
    sqlite(int(sys.argv[1]), sys.argv[2])
