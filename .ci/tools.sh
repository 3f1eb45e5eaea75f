# What the steps need beside Rust, git and a C compiler.

# The version whose configuration deny.toml is.
CARGO_DENY_VERSION=0.20.2

need_basics() {
    command -v cargo >/dev/null || fail "Rust is missing"
    command -v cc >/dev/null || fail "a C compiler is missing"
    cargo fmt --version >/dev/null 2>&1 || rustup component add rustfmt
    cargo clippy --version >/dev/null 2>&1 || rustup component add clippy
    local packages=()
    command -v curl >/dev/null || packages+=(curl)
    python3 -c 'import ensurepip' 2>/dev/null || packages+=(python3-venv)
    ((${#packages[@]} == 0)) || install_packages "${packages[@]}"
    rustc --version
}

install_packages() {
    local as_root=()
    command -v apt-get >/dev/null || fail "please install: $*"
    ((EUID == 0)) || as_root=(sudo)
    "${as_root[@]}" apt-get update -q
    DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -q -y --no-install-recommends "$@"
}

# Sets CARGO_DENY. Its own run takes a second even without optimization, its optimized build five minutes.
need_cargo_deny() {
    local candidate
    for candidate in cargo-deny target/tools/bin/cargo-deny; do
        if [[ $("$candidate" --version 2>/dev/null) == "cargo-deny $CARGO_DENY_VERSION" ]]; then
            CARGO_DENY="$candidate"
            return
        fi
    done
    CARGO_PROFILE_DEV_DEBUG=0 CARGO_TARGET_DIR="$SCRATCH/cargo-deny" \
        cargo install --locked --debug --root target/tools "cargo-deny@$CARGO_DENY_VERSION"
    CARGO_DENY=target/tools/bin/cargo-deny
}
