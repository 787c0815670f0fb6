#!/bin/sh
# Install a requirements file into a virtual environment, making it first: install.sh PYTHON VENV REQUIREMENTS
# A file *.lock is installed as it is, with digests and torch from requirements-torch.lock.
set -eu
python=$1 venv=$2 requirements=$3
export PIP_DISABLE_PIP_VERSION_CHECK=1

fail() {
    echo >&2
    printf '%s\n' "$@" >&2
    exit 1
}

# uv, where it is there, takes seconds where pip takes minutes. It reads none of pip's settings, so it gets those of the
# environment; whatever it cannot do (a mirror in pip.conf, for instance) is left to pip.
install() {
    if command -v uv >/dev/null 2>&1; then
        UV_FIND_LINKS=${UV_FIND_LINKS-$(echo "${PIP_FIND_LINKS-}" | tr ' ' ,)} \
            UV_DEFAULT_INDEX=${UV_DEFAULT_INDEX-${PIP_INDEX_URL-}} UV_INDEX=${UV_INDEX-${PIP_EXTRA_INDEX_URL-}} \
            uv pip install --quiet --python "$venv/bin/python" "$@" && return
    fi
    # Compiling all of it takes a fifth of the time, and most of it is never imported.
    "$venv/bin/python" -m pip install --quiet --no-compile "$@"
}

install_lock() {
    # PyTorch's own index has the build without CUDA, unless pip was told of another place that has it.
    set -- --no-deps --require-hashes
    install "$@" --requirement requirements-torch.lock 2>/dev/null ||
        install "$@" --index-url "${TORCH_INDEX:-https://download.pytorch.org/whl/cpu}" \
            --requirement requirements-torch.lock || return
    install "$@" --requirement "$requirements"
}

# An environment whose interpreter has moved or was upgraded under it is made anew.
if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    command -v "$python" >/dev/null 2>&1 ||
        fail "There is no '$python' here. Install Python 3.11 or newer, or name yours: make run PYTHON=/path/to/python3"
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        fail "Python 3.11 or newer is needed; '$python' is $("$python" --version 2>&1)." \
            "Name a newer one: make run PYTHON=python3.11"
    echo "Making the environment in $venv ..."
    if command -v uv >/dev/null 2>&1 && uv venv --quiet --clear --seed --python "$python" "$venv" 2>/dev/null; then
        : # in a second instead of ten
    elif "$python" -c 'import ensurepip, venv' 2>/dev/null; then
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

echo "Installing $requirements (the first time downloads a few hundred MB; without uv it takes some minutes) ..."
began=$(date +%s)
case $requirements in
*.lock) install_lock ;;
*) install --requirement "$requirements" ;;
esac || fail "The installation failed; the lines above say why. Run make again: it goes on where it stopped."
echo "Installed in $(($(date +%s) - began)) s."
