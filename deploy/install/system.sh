#!/usr/bin/env bash
# Installs the Debian packages that the assistant and its tests need, those that are missing only.
# Called by `make install`. With nothing missing it does nothing, and asks for no password.
# Usage: system.sh PYTHON           (the interpreter that .venv will be made from)
#        system.sh PYTHON kafka     (what the tests need beside: Java and Maven for a local Kafka, …)
set -euo pipefail
python=$1
part=${2:-assistant}

missing=()
need() { # PACKAGE COMMAND...: the package is missing when the command fails
    local package=$1
    shift
    "$@" >/dev/null 2>&1 || missing+=("$package")
}

if [ "$part" = kafka ]; then
    need default-jre-headless command -v java
    need maven command -v mvn
    need openssl command -v openssl # certificates of a secured broker
    need curl command -v curl # the calls of docs/webchat.md are made with it
    need docker-compose command -v docker-compose # the tests have it judge docker-compose.yml
else
    need python3 command -v "$python"
    need python3-venv "$python" -c "import ensurepip, venv"
    need g++ command -v g++ # g++, cmake and ninja compile llama.cpp
    need cmake command -v cmake
    need ninja-build command -v ninja
    need libgomp1 ls "/usr/lib/$(uname -m)-linux-gnu/libgomp.so.1" # llama.cpp's threads
    need git command -v git
    need chromium ls /usr/bin/chromium # the page tests drive it
    need fonts-wqy-microhei bash -c "fc-list :lang=zh | grep -q ." # else it draws boxes for Chinese
fi

if [ ${#missing[@]} -gt 0 ]; then
    if ! command -v apt-get >/dev/null; then
        echo "missing: ${missing[*]}. There is no apt-get here: install them your system's way." >&2
        exit 1
    fi
    sudo=()
    if [ "$(id -u)" -ne 0 ]; then
        if ! command -v sudo >/dev/null; then
            echo "missing: ${missing[*]}. As root: apt-get install ${missing[*]}" >&2
            exit 1
        fi
        sudo=(sudo)
    fi
    echo "  Debian packages: installing ${missing[*]}"
    log=$(mktemp)
    trap 'rm -f "$log"' EXIT
    if ! { "${sudo[@]}" apt-get update &&
        "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive \
            apt-get install --yes --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        echo "apt-get could not install: ${missing[*]}" >&2
        exit 1
    fi
fi

if ! "$python" -c "import sys; sys.exit(sys.version_info < (3, 11))"; then
    echo "$("$python" --version) is too old: Python 3.11 or newer is needed." >&2
    echo "Name another one: make install PYTHON=/path/to/python3.11" >&2
    exit 1
fi
