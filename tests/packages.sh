# shellcheck shell=sh
# Sourced by what runs tests, in the root of the project: installs what they need and this machine lacks,
# from Debian, from npm by the package-lock.json files in tests, and from PyPI by tests/requirements.txt.
PATH="$PATH:/usr/sbin" # where nginx is
missing=
command -v cc >/dev/null || missing="$missing gcc libc6-dev" # for aws-lc and jemalloc, which are C
command -v make >/dev/null || missing="$missing make" # for jemalloc
command -v prlimit >/dev/null || missing="$missing util-linux" # for the full disk
command -v nginx >/dev/null || missing="$missing nginx" # for the gateways
command -v caddy >/dev/null || missing="$missing caddy"
command -v redis-server >/dev/null || missing="$missing redis-server" # for the shared store
command -v nutcracker >/dev/null || missing="$missing nutcracker" # twemproxy, in front of it
command -v haproxy >/dev/null || missing="$missing haproxy" # the same
command -v node >/dev/null || missing="$missing nodejs" # for the client in a Mini Program
command -v npm >/dev/null || missing="$missing npm" # for the build tools of Mini Programs
command -v promtool >/dev/null || missing="$missing prometheus" # checks the metrics and the rules
command -v chromium >/dev/null || command -v google-chrome >/dev/null || missing="$missing chromium" # for the page
[ -e /usr/share/fonts/truetype/wqy ] || missing="$missing fonts-wqy-microhei" # so that its Chinese can be read
python3 -c 'import ensurepip, venv' 2>/dev/null || missing="$missing python3 python3-venv" # for schemathesis and an SDK

if [ -n "$missing" ]; then
    as_root=
    [ "$(id -u)" = 0 ] || as_root=sudo
    $as_root apt-get update
    # shellcheck disable=SC2086 # a list of words
    $as_root apt-get install -y --no-install-recommends $missing
fi

install_npm_packages() (
    cd "$1"
    installed=node_modules/installed-lock.json # written last: what it names is complete
    if ! cmp -s package-lock.json "$installed"; then
        npm ci
        cp package-lock.json "$installed"
    fi
)
install_npm_packages tests/miniprogram
install_npm_packages tests/browser

installed=target/python/requirements.txt # written last, too
if ! cmp -s tests/requirements.txt "$installed"; then
    python3 -m venv --clear target/python
    target/python/bin/pip install --quiet --disable-pip-version-check --requirement tests/requirements.txt
    cp tests/requirements.txt "$installed"
fi
