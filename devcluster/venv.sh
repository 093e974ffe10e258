#!/bin/sh
# venv.sh PYTHON DIRECTORY: makes the virtual environment with everything of requirements.lock, and this project in it.
# Serves Debian's python3 without python3-venv too.
set -eu
python=$1
directory=$2

if [ -z "$python" ]; then
    echo "Python >= 3.11 is needed, and none was found in PATH. Install one, or name it: make venv PYTHON=/path/to/python3" >&2
    exit 1
fi

has() { "$python" -c "import $1" 2>/dev/null; }

if ! [ -x "$directory/bin/python" ] || ! "$directory/bin/python" -c 'import pip' 2>/dev/null; then
    rm -rf "$directory"
    if ! has ensurepip && ! has pip && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "Installing python3-venv with apt: this Python cannot make virtual environments. Usually takes about 20 s."
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends python3-venv >/dev/null
    fi
    echo "Making $directory with $("$python" --version)."
    if has ensurepip; then
        "$python" -m venv "$directory"
    elif has pip; then
        "$python" -m venv --without-pip "$directory"
        "$python" -m pip --python "$directory/bin/python" install --quiet pip
    else
        echo "$python cannot make virtual environments: it has neither ensurepip nor pip. On Debian: apt install python3-venv" >&2
        exit 1
    fi
fi

echo "Installing requirements.lock into $directory. Usually takes about a minute the first time."
"$directory/bin/python" -m pip install --quiet --disable-pip-version-check -r requirements.lock
"$directory/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
