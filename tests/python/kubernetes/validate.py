"""Checks resources against Kubernetes's own schemas, as an API server of a version checks them strictly.

    python validate.py VERSION < RESOURCES

RESOURCES are JSON documents, a line each. For each a line is printed: `ok`, or what is wrong and where. Needs
the package `kubernetes-validate`, which has the schemas of all versions since 1.25.
"""

import json
import sys

import kubernetes_validate


def main():
    version = sys.argv[1]
    for line in sys.stdin:
        print(told(json.loads(line), version), flush=True)


def told(resource, version):
    try:
        used = kubernetes_validate.validate(resource, version, strict=True)
    except kubernetes_validate.ValidationError as error:
        place = ".".join(str(part) for part in error.absolute_path)
        return " ".join(f"{place}: {error.message}".split())
    except kubernetes_validate.SchemaNotFoundError as error:
        return error.message
    if used != version:
        return f"no schemas of {version}, only of {used}"
    return "ok"


if __name__ == "__main__":
    main()
