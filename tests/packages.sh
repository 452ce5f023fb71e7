# shellcheck shell=sh
# Sourced by what runs tests, in the root of the project: installs what they need and this machine lacks,
# from Debian, from npm by the package-lock.json files in tests, and from PyPI by the requirements.txt files in tests.
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

install_debian_packages() {
    if [ -n "$1" ]; then
        as_root=
        [ "$(id -u)" = 0 ] || as_root=sudo
        $as_root apt-get update
        # shellcheck disable=SC2086 # a list of words
        $as_root apt-get install -y --no-install-recommends $1
    fi
}
install_debian_packages "$missing"

install_npm_packages() (
    cd "$1"
    installed=node_modules/installed-lock.json # written last: what it names is complete
    if ! cmp -s package-lock.json "$installed"; then
        # npm 11 refuses a lock file without optional packages that were never published, as Taro names some.
        npm ci || npm install --no-save
        cp package-lock.json "$installed"
    fi
)
install_npm_packages tests/miniprogram
install_npm_packages tests/browser

install_python_packages() { # the requirements, and the directory of the virtual environment
    installed=$2/requirements.txt # written last, too
    if ! cmp -s "$1" "$installed"; then
        python3 -m venv --clear "$2"
        "$2/bin/pip" install --quiet --disable-pip-version-check --requirement "$1"
        cp "$1" "$installed"
    fi
}
install_python_packages tests/requirements.txt target/python

# For tests/slow.sh alone: the languages of the samples in examples/backend, and generators of clients.
install_compilers_and_generators() {
    missing=
    command -v javac >/dev/null || missing="$missing default-jdk-headless"
    [ -e /usr/share/java/jackson-databind.jar ] || missing="$missing libjackson2-databind-java"
    command -v go >/dev/null || missing="$missing golang-go"
    php --ri curl >/dev/null 2>&1 || missing="$missing php-cli php-curl"
    install_debian_packages "$missing"
    install_npm_packages tests/generated
    install_python_packages tests/generated/requirements.txt target/python-generators
}
