# Runs steps, each a function `step_NAME`, and says how long each took.

SUMMARY=()
CURRENT=""
SCRATCH="$(mktemp -d)"
# Processes that a step leaves running if it fails.
LEFT_RUNNING=()
# A command that takes down what a step has set up, for when it fails.
TAKE_DOWN=()

# run_steps ALL... -- [WANTED...]
run_steps() {
    local all=() name started
    while [[ $1 != -- ]]; do
        all+=("$1")
        shift
    done
    shift
    for name in "$@"; do
        [[ " ${all[*]} " == *" $name "* ]] || { echo "no step $name; there are: ${all[*]}" >&2; exit 2; }
    done
    trap finish EXIT
    # Functions called in a condition run without `set -e`: steps must stay plain commands.
    for name in "${all[@]}"; do
        if (($#)) && [[ " $* " != *" $name "* ]]; then continue; fi
        CURRENT="$name"
        started=$SECONDS
        echo "::: $name"
        "step_$name"
        SUMMARY+=("$(printf '%-14s ok      %5d s' "$name" $((SECONDS - started)))")
        CURRENT=""
    done
}

# A line for the summary.
remark() {
    SUMMARY+=("$(printf '%-14s %s' "$CURRENT" "$*")")
}

finish() {
    local code=$? process
    for process in "${LEFT_RUNNING[@]}"; do
        kill -9 "$process" 2>/dev/null || true
    done
    ((${#TAKE_DOWN[@]} == 0)) || "${TAKE_DOWN[@]}" || true
    rm -rf "$SCRATCH"
    if [[ -n $CURRENT ]]; then
        SUMMARY+=("$(printf '%-14s FAILED' "$CURRENT")")
    fi
    echo ":::"
    printf '%s\n' "${SUMMARY[@]}"
    echo "$((SECONDS / 60)) min $((SECONDS % 60)) s on $(nproc) cores"
    exit "$code"
}

fail() {
    echo "$*" >&2
    exit 1
}

# The shell block of the README that stands under the mark NAME, as it is printed.
readme_block() {
    awk -v mark="<!-- ci: $1 -->" '
        $0 == mark { wanted = 1; next }
        wanted && /^```/ { if (inside) { found = 1; exit } inside = 1; next }
        inside { print }
        END { if (!found) { print "README.md has no block " mark > "/dev/stderr"; exit 1 } }
    ' README.md
}
