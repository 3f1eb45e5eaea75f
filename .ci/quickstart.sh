# The broker, started and used as the README says, then by the SDK with every check that it allows.

ADMIN=http://127.0.0.1:9326
CLIENT=http://127.0.0.1:9324
# A broker that is built is ready at once; a minute is for a machine that is busy.
READY_WITHIN_S=60

step_quickstart() {
    local port keys="$SCRATCH/keys.yaml"
    for port in 9324 9326; do
        ! (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null || fail "port $port is in use"
    done
    cargo build --locked --release -p cmq-broker
    export CMQ_DATA_DIR="$SCRATCH/data"

    start_broker readme_block serve
    readme_block sdk | bash -euxo pipefail | tee "$SCRATCH/sdk"
    grep -q '^received .* one espresso$' "$SCRATCH/sdk"
    readme_block curl | bash -euxo pipefail | tee "$SCRATCH/curl"
    [[ $(grep -c '"code":0' "$SCRATCH/curl") == 4 ]] || fail "a call by curl was refused"
    readme_block metrics | bash -euxo pipefail | tee "$SCRATCH/metrics"
    grep -q 'action="SendMessage",api="cmq",code="0"} 2$' "$SCRATCH/metrics"

    echo "--- the SDK, without signatures"
    .venv/bin/pip install --quiet --requirement e2e/clients/python/requirements.txt
    .venv/bin/python e2e/clients/python/smoke.py "$CLIENT"

    echo "--- stop and start: what was sent is there"
    call SendMessage -d queueName=orders -d msgBody=kept
    stop_broker
    start_broker readme_block serve
    call ReceiveMessage -d queueName=orders | grep '"msgBody":"kept"'
    stop_broker

    echo "--- the SDK, with signatures"
    printf -- '- id: AKIDexample\n  secret: not-a-secret\n' >"$keys"
    export CMQ_ACCESS_KEYS="$keys"
    start_broker readme_block serve
    unset CMQ_ACCESS_KEYS
    .venv/bin/python e2e/clients/python/smoke.py "$CLIENT" --secret-id AKIDexample --secret-key not-a-secret
    call ListQueue | grep '"code":4'
    stop_broker
    unset CMQ_DATA_DIR
}

# start_broker COMMAND...: starts what the command prints, and waits until it is ready. Sets BROKER.
start_broker() {
    local until=$((SECONDS + READY_WITHIN_S)) script
    script="$("$@")"
    # The shell becomes cargo and cargo the broker, so this is the broker's process.
    bash -c "exec $script" &
    BROKER=$!
    LEFT_RUNNING=("$BROKER")
    until curl -sf "$ADMIN/readyz" >/dev/null; do
        kill -0 "$BROKER" || fail "the broker ended instead of serving"
        ((SECONDS < until)) || fail "the broker is not ready after $READY_WITHIN_S s"
        sleep 0.1
    done
}

# Asks the broker to stop, which it must do with success.
stop_broker() {
    kill -TERM "$BROKER"
    wait "$BROKER"
    LEFT_RUNNING=()
}

# call ACTION [CURL OPTIONS...]
call() {
    curl -sS "$CLIENT/v2/index.php" -d Action="$1" "${@:2}"
    echo
}
