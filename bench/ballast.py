"""Fills a database that nobody serves with grants that nobody uses: rows beside the one that a benchmark calls with.

    ballast.py DATABASE COUNT

They bear no word of the keeper's, so none of them would yield a lease; a gateway holds them in its directory like any
other. A thousandth of them belong to the very task that calls, the others to tasks of their own, a hundred to each.
"""

import binascii
import os
import random
import sqlite3
import sys

BASE32 = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
EACH = 100


def identifier(prefix):
    value = int.from_bytes(os.urandom(16), "big") & ~(0xF << 76 | 0x3 << 62) | 0x7 << 76 | 0x2 << 62
    return prefix + "".join(BASE32[value >> place * 5 & 31] for place in reversed(range(26)))


def reference():
    core = "".join(random.choices(BASE62, k=32))
    rest, check = binascii.crc32(core.encode()), ""
    for _ in range(6):
        rest, digit = divmod(rest, 62)
        check = BASE62[digit] + check
    return f"nlr_{core}{check}"


def copies(database, table, change, count):
    database.row_factory = sqlite3.Row
    row = dict(database.execute(f"SELECT * FROM {table} ORDER BY rowid DESC LIMIT 1").fetchone())
    names = ", ".join(row)
    marks = ", ".join("?" for _ in row)
    rows = (list({**row, **change(number)}.values()) for number in range(count))
    database.executemany(f"INSERT INTO {table} ({names}) VALUES ({marks})", rows)


def main(path, count):
    database = sqlite3.connect(path)
    tasks = [identifier("task_") for _ in range(count // EACH)]
    copies(database, "task", lambda number: {"task_id": tasks[number], "name": None}, len(tasks))
    copies(
        database,
        "task_grant",
        lambda number: {"grant_id": identifier("grt_"), "reference": reference()}
        | ({} if number % 1000 == 0 else {"task_id": tasks[number % len(tasks)]}),
        count,
    )
    database.commit()


main(sys.argv[1], int(sys.argv[2]))
