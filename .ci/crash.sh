# The kill loop in a short form; CONTRIBUTING.md has the long one.

step_crash() {
    local loop=target/debug/kill-loop
    # The tests were built with planted faults, so this builds nothing after `test`.
    cargo test --locked --workspace --no-run --quiet
    cargo build --locked --release -p cmq-broker

    echo "--- killed under load"
    "$loop" --broker target/release/cmq-broker --kills 10
    if [[ ! -w /dev/fuse ]]; then
        remark "loss of power NOT tried: no /dev/fuse"
        return
    fi
    echo "--- power cut under load"
    "$loop" --broker target/release/cmq-broker --forget --kills 5
    echo "--- the same without the commit's sync: the loop must find the loss"
    CMQ_TEST_COMMIT_SYNC=off "$loop" --broker target/debug/cmq-broker --forget --kills 5 --expect-loss
}
