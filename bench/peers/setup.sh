#!/bin/sh
# Install the peers that the benchmark compares with: setup.sh [PEER ...]; without names, all.
#
# Each gets a virtual environment of its own under bench/.peers/ (ignored by git), so that no
# peer's versions bend another's, or ours. Restate's server is a native binary from its npm
# package. The raw loops need nothing. About 550 MB in all; running it again is cheap.
# Needs python3 (3.11 or later; PYTHON=... names another) and, for Restate, npm.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
into=$(dirname "$here")/.peers
restate_server=1.7.12

peers=${*:-langgraph dbos eventsourcing restate faust quix}
case " $peers " in
    *" restate "*) command -v npm > /dev/null || {
        echo "setup.sh: restate's server needs npm: install it (apt-get install npm)," \
            "or name the others: setup.sh langgraph dbos eventsourcing faust quix" >&2
        exit 2
    } ;;
esac

echo "installing $peers: some minutes the first time (all are about 550 MB)"
mkdir -p "$into"
for peer in $peers; do
    if [ ! -f "$here/requirements/$peer.txt" ]; then
        echo "setup.sh: no peer '$peer'; known: langgraph dbos eventsourcing restate faust quix" >&2
        exit 2
    fi
    echo "$peer: virtual environment"
    [ -x "$into/$peer/bin/python" ] || "${PYTHON:-python3}" -m venv "$into/$peer"
    "$into/$peer/bin/python" -m pip install --quiet --disable-pip-version-check \
        --requirement "$here/requirements/$peer.txt"
    if [ "$peer" = restate ]; then
        echo "restate: server $restate_server"
        # A prefix without a package.json of its own would make npm climb to a folder above.
        mkdir -p "$into/restate-server"
        echo '{"private": true}' > "$into/restate-server/package.json"
        npm install --prefix "$into/restate-server" --no-package-lock --no-fund --no-audit \
            --loglevel=error "@restatedev/restate-server@$restate_server"
    fi
done
echo "ready: python -m bench.peers"
