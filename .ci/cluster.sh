# The core areas of e2e on a real cluster, which this machine can run without Docker where ../shared/cluster is.

step_cluster() {
    local cluster="$PWD/../shared/cluster/cluster"
    if [[ ! -x $cluster ]]; then
        remark "NOT run: no ../shared/cluster; e2e/run makes a kind cluster"
        return
    fi
    need_venv
    .venv/bin/pip install --quiet --requirement e2e/clients/python/requirements.txt
    PYTHONDONTWRITEBYTECODE=1 .venv/bin/python -m unittest discover e2e/clients/python
    "$cluster" up
    TAKE_DOWN=("$cluster" down)
    (
        eval "$("$cluster" env)"
        on_cluster "$cluster" --core
        e2e/kinds.py --broker target/release/cmq-broker
    )
    "$cluster" down
    TAKE_DOWN=()
    remark "kind NOT tried: needs Docker"
}

# on_cluster CLUSTER ARGUMENTS...: the suite on a cluster that is up.
on_cluster() {
    local cluster="$1"
    e2e/run --current --load "$cluster image" --client-runner "$cluster exec" --client-node node-1 \
        --growing-class standard --fixed-class fixed \
        --node-stop "$cluster"' stop-node "${NODE#node-}"' --node-start "$cluster"' start-node "${NODE#node-}"' \
        --node-isolate "$cluster"' isolate-node "${NODE#node-}"' --node-rejoin "$cluster"' rejoin-node "${NODE#node-}"' \
        "${@:2}"
}
