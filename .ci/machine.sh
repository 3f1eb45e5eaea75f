# A broker on a real small volume, on damaged files, and under a clock that jumps. What a machine cannot do is skipped with a remark.

step_machine() {
    cargo build --locked --release -p cmq-broker
    try_on_machine "full disk" e2e/machine/full_disk.py
    try_on_machine "damaged files" e2e/machine/damage.py
    try_on_machine "clock jumps" e2e/machine/clock_jumps.py
}

# try_on_machine WHAT SCRIPT: the script exits with 3 where the machine cannot do it.
try_on_machine() {
    local code=0
    python3 "$2" --broker target/release/cmq-broker || code=$?
    case $code in
        0) ;;
        3) remark "$1 NOT tried" ;;
        *) fail "$1: exit code $code" ;;
    esac
}
