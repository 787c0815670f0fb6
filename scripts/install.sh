#!/bin/sh
# Install a requirements file into a virtual environment, making it first: install.sh PYTHON VENV REQUIREMENTS
set -eu
python=$1 venv=$2 requirements=$3
export PIP_DISABLE_PIP_VERSION_CHECK=1

fail() {
    echo >&2
    printf '%s\n' "$@" >&2
    exit 1
}

# An environment whose interpreter has moved or was upgraded under it is made anew.
if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    command -v "$python" >/dev/null 2>&1 ||
        fail "There is no '$python' here. Install Python 3.11 or newer, or name yours: make run PYTHON=/path/to/python3"
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        fail "Python 3.11 or newer is needed; '$python' is $("$python" --version 2>&1)." \
            "Name a newer one: make run PYTHON=python3.11"
    echo "Making the environment in $venv ..."
    if "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        "$python" -m venv --clear "$venv"
    elif "$python" -m pip --python "$python" --version >/dev/null 2>&1 && "$python" -c 'import venv' 2>/dev/null; then
        # Debian and Ubuntu keep ensurepip in a package of its own; the pip that is there does as well.
        "$python" -m venv --clear --without-pip "$venv"
        "$python" -m pip --python "$venv/bin/python" install --quiet pip
    else
        fail "'$python' cannot make a virtual environment. On Debian or Ubuntu:" \
            "    sudo apt-get install python3-venv" \
            "then run make again."
    fi
fi

echo "Installing $requirements (the first time downloads a few hundred MB and takes some minutes) ..."
began=$(date +%s)
"$venv/bin/python" -m pip install --quiet --requirement "$requirements" ||
    fail "The installation failed; the lines above say why. Run make again: it goes on where it stopped."
echo "Installed in $(($(date +%s) - began)) s."
