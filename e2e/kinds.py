#!/usr/bin/env python3
"""One verdict everywhere: every case of crds/tests/cases, put to the API server and to `cmq-broker check`.

    e2e/kinds.py --broker target/release/cmq-broker      # the cluster of KUBECONFIG; needs kubectl

Applies crds/manifests. Objects are only tried (`--dry-run=server`), but for the first half of each change, which lives in a
namespace of its own until the end. What a Queue or Broker looks like once the server has filled in its defaults must pass the check
as well.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CASES = ROOT / "crds/tests/cases"
NAMESPACE = "cmq-kinds"
DEFINITIONS = ["crd/queues.cmq.dev", "crd/brokers.cmq.dev"]
# Cases send their dead letters there; the check looks for it, a cluster reports it in the status.
LETTERS = "apiVersion: cmq.dev/v1alpha1\nkind: Queue\nmetadata: {name: letters}\nspec: {brokerRef: {name: other}}\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--broker", required=True, help="the program cmq-broker")
    program = parser.parse_args().broker
    kubectl("apply", "--server-side", "--force-conflicts", "-f", str(ROOT / "crds/manifests"), must=True)
    kubectl("wait", "--for=condition=Established", "--timeout=30s", *DEFINITIONS, must=True)
    kubectl("create", "namespace", NAMESPACE, must=True)
    differences = []
    try:
        count = objects(program, differences)
        changes_count = changes(program, differences)
    finally:
        kubectl("delete", "namespace", NAMESPACE, "--wait=false")
    for difference in differences:
        print(difference, end="\n\n", file=sys.stderr)
    print(f"{count} objects, {changes_count} changes, {len(differences)} differences")
    sys.exit(bool(differences))


def objects(program, differences):
    """Puts every object to both judges."""
    count = 0
    for path in sorted(CASES.glob("*valid.yaml")):
        for text in path.read_text().split("\n---\n"):
            count += 1
            wanted = not path.stem.endswith("invalid")
            code, answer, refusal = kubectl("create", "--dry-run=server", "-o", "json", "-f", "-", text=text)
            verdict, fields, report = check(program, text)
            if [code == 0, verdict] != [wanted, wanted]:
                differences.append(f"{case(path, text)}\nserver: {refusal or 'taken'}\ncheck: {report}")
            elif not wanted and not names_one_of(fields, refusal):
                differences.append(f"{case(path, text)}\nat another field\nserver: {refusal}\ncheck: {report}")
            elif wanted:
                verdict, _, report = check(program, answer)
                if not verdict:
                    differences.append(f"{case(path, text)}\nas the server completes it: {answer}\ncheck: {report}")
    return count


def changes(program, differences):
    """Makes the first object of each pair, and tries to replace it by the second."""
    path = CASES / "changes.yaml"
    texts = path.read_text().split("\n---\n")
    for before, after in zip(texts[::2], texts[1::2], strict=True):
        expected = re.findall(r"^# (.*)$", before, re.MULTILINE)[-1]
        code, _, refusal = kubectl("create", "-n", NAMESPACE, "-f", "-", text=before)
        if code:
            differences.append(f"{case(path, before)}\nserver: {refusal}")
            continue
        code, _, refusal = kubectl("replace", "--dry-run=server", "-n", NAMESPACE, "-f", "-", text=after)
        if (code == 0) != (expected == "taken"):
            differences.append(f"{case(path, after)}\nexpected: {expected}\nserver: {refusal or 'taken'}")
        elif code and not names_one_of([expected.split(": ")[0]], refusal):
            differences.append(f"{case(path, after)}\nat another field: {expected}\nserver: {refusal}")
        for text in (before, after):
            verdict, _, report = check(program, text)
            if not verdict:
                differences.append(f"{case(path, text)}\ncheck: {report}")
    return len(texts) // 2


def names_one_of(fields, refusal):
    """Whether the server names one of these fields. For rules about the whole object it has no path, and their text names it."""
    whole = "".join(line for line in refusal.splitlines() if "<nil>" in line)
    return any(f"{field}:" in refusal or f'"{field}"' in refusal or field in whole for field in fields)


def check(program, text):
    """The broker's verdict, the fields that it names, and its whole report."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "case.yaml").write_text(text)
        if "letters" in text:
            Path(folder, "letters.yaml").write_text(LETTERS)
        done = subprocess.run([program, "check", "--output", "json", folder], capture_output=True, text=True)
    report = json.loads(done.stdout)
    [found] = report["paths"]
    return report["ok"], [problem["field"] for problem in found["problems"]], done.stdout + done.stderr


def case(path, text):
    fields = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    kind, name = (re.search(rf"{key}: *([^\s}},]+)", fields).group(1) for key in ("kind", "name"))
    return f"{path.name}: {kind} {name}"


def kubectl(*arguments, text=None, must=False):
    """Exit code, output, and what kubectl complains of."""
    done = subprocess.run(["kubectl", *arguments], input=text, capture_output=True, text=True)
    if must and done.returncode:
        sys.exit(f"kubectl {' '.join(arguments)}: {done.stderr}")
    return done.returncode, done.stdout, done.stderr.strip()


main()
