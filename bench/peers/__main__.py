"""`python -m bench.peers`: run the peers one after another and print what each came to."""

import argparse
import json
import sys
from dataclasses import asdict, fields

from bench.load import Result
from bench.peers import PEERS, PeerFailed, run_peer

COLUMNS = tuple(field.name for field in fields(Result))


def peer_name(given: str) -> str:
    """Return the name, if a peer has it."""
    if given not in PEERS:
        raise argparse.ArgumentTypeError(f"no peer {given!r}; known: {', '.join(PEERS)}")
    return given


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description=__doc__)
    names = ", ".join(PEERS)
    parser.add_argument(
        "peer", nargs="*", type=peer_name, default=list(PEERS), metavar="PEER", help=f"of: {names}"
    )
    parser.add_argument("--seconds", type=float, default=20, help="for each load (default 20)")
    parser.add_argument(
        "--plan", default="", help="loads instead of the usual, such as sat64,sat1000,low"
    )
    parser.add_argument("--json", action="store_true", help="one JSON line a result")
    return parser.parse_args()


def row(values: list[object]) -> str:
    """Return one line of the table."""
    return "".join(
        f"{value!s:<15}" if n < 2 else f"{value!s:>14}" for n, value in enumerate(values)
    )


def main() -> int:
    """Return 0, or 1 if a peer failed; the others are run all the same."""
    given = arguments()
    failed = False
    if not given.json:
        print(row(list(COLUMNS)))
    for name in given.peer:
        try:
            results = run_peer(
                name, tuple(filter(None, given.plan.split(","))), seconds=given.seconds
            )
        except PeerFailed as error:
            print(error, file=sys.stderr)
            failed = True
            continue
        for result in results:
            values = asdict(result)
            print(json.dumps(values) if given.json else row(list(values.values())), flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
