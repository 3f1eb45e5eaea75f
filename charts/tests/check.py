"""What golden files would not show: check.py MONITORING DEFAULT-WITHOUT-KEEP WATCH-NAMESPACES, each a rendered chart.

Definitions, alerts and dashboards are those of their files; every object has its labels, none a namespace that is not its
release's or a watched one; roles give nothing by `*`, and with watched namespaces nothing of the cluster.
"""

import json
import sys
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CLUSTER_WIDE = {"ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition"}


def main():
    monitoring, without_keep, watching = (
        [document for document in yaml.safe_load_all(Path(file).read_text()) if document] for file in sys.argv[1:]
    )
    definitions_are_the_files(monitoring, keep=True)
    definitions_are_the_files(without_keep, keep=False)
    alerts_are_the_files(monitoring)
    dashboards_are_the_files(monitoring)
    for chart in (monitoring, without_keep, watching):
        for document in chart:
            belongs(document)
            restrained(document)
    cluster_wide = [document["kind"] for document in watching if document["kind"] in CLUSTER_WIDE]
    assert not cluster_wide, f"with watchNamespaces: {cluster_wide}"
    namespaces = {document["metadata"]["namespace"] for document in watching if document["kind"] == "Role"}
    assert namespaces == {"cmq-system", "shop", "billing"}, namespaces


def definitions_are_the_files(chart, keep):
    rendered = {d["metadata"]["name"]: d for d in chart if d["kind"] == "CustomResourceDefinition"}
    files = [yaml.safe_load(file.read_text()) for file in (ROOT / "crds/manifests").glob("*.yaml")]
    assert sorted(rendered) == sorted(file["metadata"]["name"] for file in files)
    for file in files:
        definition = rendered[file["metadata"]["name"]]
        assert definition["spec"] == file["spec"], f"{file['metadata']['name']} is not what crds/manifests has"
        annotations = definition["metadata"].get("annotations", {})
        assert annotations == ({"helm.sh/resource-policy": "keep"} if keep else {}), annotations


def alerts_are_the_files(chart):
    rendered = [d["spec"] for d in chart if d["kind"] == "PrometheusRule"]
    files = [file for file in sorted((ROOT / "charts/cmq/files/rules").glob("*.yaml")) if not file.stem.endswith("_test")]
    assert rendered == [yaml.safe_load(file.read_text()) for file in files]


def dashboards_are_the_files(chart):
    rendered = {}
    for document in chart:
        if document["kind"] == "ConfigMap":
            rendered.update(document["data"])
    files = list((ROOT / "charts/cmq/files/dashboards").glob("*.json"))
    assert sorted(rendered) == sorted(file.name for file in files)
    for file in files:
        assert json.loads(rendered[file.name]) == json.loads(file.read_text()), file.name


def belongs(document):
    metadata = document["metadata"]
    where = f"{document['kind']} {metadata['name']}"
    for label in ("name", "instance", "component"):
        assert f"app.kubernetes.io/{label}" in metadata["labels"], f"{where}: label {label}"
    if document["kind"] in CLUSTER_WIDE:
        assert "namespace" not in metadata, where
    else:
        assert metadata["namespace"] in ("cmq-system", "shop", "billing"), where


def restrained(document):
    for rule in document.get("rules", []) if document["kind"] in ("Role", "ClusterRole") else []:
        for part in ("apiGroups", "resources", "verbs"):
            assert "*" not in rule[part], rule
        assert not {"escalate", "bind", "impersonate"} & set(rule["verbs"]), rule
        if "secrets" in rule["resources"]:
            assert not {"list", "watch"} & set(rule["verbs"]), rule


main()
