"""A street: network namespaces with a path from each to the street's own, so that what is cut is a network and no program.

    street.py --probe    tells whether one can be made here, by making one
    street.py COUNT      makes so many, and keeps them until its standard input ends

It runs in a network namespace of its own. Where it is not root it runs in a namespace of users as well, and whoever enters
one of the others enters that too. Standard input is a Unix socket. The first message says, as JSON, who lives in each
namespace ("pid": a process that can be entered) and where the doors at its other end are ("doors": "ADDRESS:PORT"); with it
come the doors themselves, sockets that listen. Who holds them answers here what is asked in there, although nothing else
leads from there to anywhere. A door has a cable of its own:

    cut N DOOR     pulls the cable of a door of the Nth; nobody is told
    heal N DOOR    plugs it in again

each answered by one byte when it is done. All addresses are loopback ones, as plain HTTP asks for.
"""

import json
import signal
import socket
import subprocess
import sys

DOORS = ["provider", "database", "resource"]


def run(*words, inside=None):
    enter = [] if inside is None else ["nsenter", f"--net=/proc/{inside.pid}/ns/net"]
    subprocess.run([*enter, *words], check=True, stdout=sys.stderr)


def loopback_is_elsewhere(inside=None):
    """127.0.0.1 stays here, and its neighbours may be at the other end of a cable."""
    run("ip", "link", "set", "lo", "up", inside=inside)
    run("sh", "-c", "echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet", inside=inside)
    run("ip", "route", "del", "local", "127.0.0.0/8", "dev", "lo", "table", "local", inside=inside)


def cable(door, number):
    return f"{DOORS[door]}{number}", f"127.{77 + door}.{number}"


def home(number):
    """One namespace, with a cable and a door at the other end for each thing that is needed in there."""
    within = subprocess.Popen(["unshare", "--net", "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    # It answers once it is inside.
    within.stdin.write(b"\n")
    within.stdin.flush()
    within.stdout.readline()
    loopback_is_elsewhere(within)
    doors = []
    for door in range(len(DOORS)):
        name, network = cable(door, number)
        run("ip", "link", "add", name, "type", "veth", "peer", "name", f"to-{door}", "netns", str(within.pid))
        run("ip", "addr", "add", f"{network}.1/24", "dev", name)
        run("ip", "link", "set", name, "up")
        run("ip", "addr", "add", f"{network}.2/24", "dev", f"to-{door}", inside=within)
        run("ip", "link", "set", f"to-{door}", "up", inside=within)
        doors.append(socket.create_server((f"{network}.1", 0), backlog=64))
    return within, doors


def main():
    is_probe = sys.argv[1] == "--probe"
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    loopback_is_elsewhere()
    homes = [home(number + 1) for number in range(1 if is_probe else int(sys.argv[1]))]
    if is_probe:
        return
    told = [
        {"pid": within.pid, "doors": ["{}:{}".format(*door.getsockname()) for door in doors]} for within, doors in homes
    ]
    with socket.socket(fileno=0) as line:
        every = [door.fileno() for _, doors in homes for door in doors]
        socket.send_fds(line, [json.dumps(told).encode()], every)
        for _, doors in homes:
            for door in doors:
                door.close()
        for words in map(str.split, line.makefile()):
            name, _ = cable(int(words[2]), int(words[1]))
            run("ip", "link", "set", name, {"cut": "down", "heal": "up"}[words[0]])
            line.sendall(b".")


# Its namespaces go with it: whoever waits inside ends with its standard input, which is ours.
main()
