"""Helm and the schemas of Kubernetes, in the virtual environment that `make chart` makes: a question a line on stdin.

It runs there as a program of its own, and knows nothing of the tests.
"""

import json
import sys

import kubernetes_validate
import promql_parser
from helm_python import parse_set_string
from helm_python.chart import Chart, lint
from helm_python.errors import HelmError


def render(chart, question):
    """What the templates make of values, by file."""
    try:
        chart.validate_schema(question["values"])
        return {"files": chart.render(question["values"], name=question["name"], namespace=question["namespace"])}
    except HelmError as error:
        return {"refused": str(error)}


def validate(question):
    """What the schemas of some versions of Kubernetes do not allow in an object."""
    found = []
    for version in question["versions"]:
        try:
            kubernetes_validate.validate(question["object"], version, strict=True)
        except kubernetes_validate.ValidationError as error:
            found.append(f"{version}: {'.'.join(map(str, error.path))}: {error.message}")
    return {"problems": found}


def parse(question):
    """Whether an expression is PromQL, told by what is wrong with it."""
    try:
        promql_parser.parse(question["expression"])
    except ValueError as error:
        return {"problem": str(error)}
    return {"problem": ""}


def main(path):
    """Answer until nobody asks any more."""
    with Chart.load(path) as chart:
        for line in sys.stdin:
            question = json.loads(line)
            match question["ask"]:
                case "render":
                    answer = render(chart, question)
                case "validate":
                    answer = validate(question)
                case "lint":
                    answer = lint(path, question["values"], strict=True)
                case "parse":
                    answer = parse(question)
                case "set":
                    answer = parse_set_string(question["expression"])
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
