"""The objects of a rendered chart in one order and form, whatever Helm's version makes of blank lines: objects.py <RENDERED."""

import sys

import yaml

objects = [document for document in yaml.safe_load_all(sys.stdin) if document]
objects.sort(key=lambda o: (o["kind"], o["metadata"].get("namespace", ""), o["metadata"]["name"]))
yaml.safe_dump_all(objects, sys.stdout, sort_keys=False, width=120)
