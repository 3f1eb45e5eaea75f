# Alert rules and dashboards are what Prometheus takes. That they ask only for metrics that exist is in broker/tests/metrics.rs.

# Sets PROMTOOL. Unpacked, not installed: the package would start a Prometheus.
need_promtool() {
    local unpacked=target/tools/prometheus/usr/bin/promtool
    PROMTOOL="$(command -v promtool || true)"
    if [[ -z $PROMTOOL && ! -x $unpacked ]]; then
        command -v apt-get >/dev/null || fail "please install promtool, a part of Prometheus"
        (cd "$SCRATCH" && apt-get download -q prometheus) || {
            install_packages dpkg
            (cd "$SCRATCH" && apt-get download -q prometheus)
        }
        mkdir -p target/tools/prometheus
        dpkg-deb -x "$SCRATCH"/prometheus_*.deb target/tools/prometheus
    fi
    PROMTOOL="${PROMTOOL:-$unpacked}"
}

# The expressions of a dashboard as recording rules, which promtool can check.
expressions_as_rules() {
    python3 - "$1" <<'END'
import json, sys

def expressions(value):
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "expr":
                yield inner.replace("$__rate_interval", "5m")
            yield from expressions(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from expressions(inner)

rules = [{"record": f"expression:{at}", "expr": text} for at, text in enumerate(expressions(json.load(open(sys.argv[1]))))]
print(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
END
}

step_monitoring() {
    local dashboard
    need_promtool
    "$PROMTOOL" check rules charts/cmq/files/rules/broker.yaml
    "$PROMTOOL" test rules charts/cmq/files/rules/broker_test.yaml
    for dashboard in charts/cmq/files/dashboards/*.json; do
        expressions_as_rules "$dashboard" >"$SCRATCH/expressions.yaml"
        "$PROMTOOL" check rules "$SCRATCH/expressions.yaml"
    done
}
