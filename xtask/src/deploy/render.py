"""Renders the chart with Helm and validates what comes out.

Prints one JSON object: `problems`, a list of sentences; `charts`, the documents
of each values file; `files`, the YAML files of the folder deploy as values. The
rest is judged by whoever reads it.
"""

import functools
import json
import pathlib
import sys

import helm_python as helm
import jsonschema
import kubernetes_validate
import kubernetes_validate.utils
import yaml

# It reads megabytes of definitions for each document.
kubernetes_validate.utils.schema_contents = functools.cache(kubernetes_validate.utils.schema_contents)

# Those that get fixes today, and one before.
KUBERNETES = ["1.32", "1.33", "1.34", "1.35", "1.36", "1.37"]
WARNING = 2

root = pathlib.Path(sys.argv[1])
here = pathlib.Path(__file__).parent
deploy = root / "deploy"
chart_folder = deploy / "helm/postrider"
problems = []


def kinds():
    """Kinds that Kubernetes has not, with the schema of what we use of them."""
    schemas = [json.loads(path.read_text()) for path in sorted((here / "kinds").glob("*.json"))]
    key = lambda schema: tuple(schema["properties"][name]["const"] for name in ("apiVersion", "kind"))
    return {key(schema): jsonschema.Draft202012Validator(schema) for schema in schemas}


def validate(document, of, others):
    """Says what is wrong with one document, for each version of Kubernetes."""
    name = f"{of}: {document.get('kind')} {document.get('metadata', {}).get('name')}"
    other = others.get((document.get("apiVersion"), document.get("kind")))
    if other is not None:
        for error in other.iter_errors(document):
            problems.append(f"{name}: {error.json_path}: {error.message}")
        return
    for version in KUBERNETES:
        try:
            kubernetes_validate.validate(document, version, strict=True)
        except kubernetes_validate.SchemaNotFoundError:
            problems.append(f"{name}: Kubernetes {version} has no such kind")
        except kubernetes_validate.ValidationError as error:
            path = ".".join(str(step) for step in error.path)
            problems.append(f"{name}: Kubernetes {version}: {path}: {error.message}")


def documents(rendered):
    for text in (text for name, text in rendered.items() if not name.endswith("NOTES.txt")):
        yield from (document for document in yaml.safe_load_all(text) if document)


def names_are_unique(found, of):
    seen = set()
    for document in found:
        name = (document["apiVersion"], document["kind"], document["metadata"]["name"])
        if name in seen:
            problems.append(f"{of}: there are two of {' '.join(name)}")
        seen.add(name)


def render(values, **step):
    # Loaded anew each time: a dependency that is switched off is gone from the chart for good.
    with helm.Chart.load(chart_folder) as chart:
        return chart.render(values, name="postrider", namespace="mail", **step)


def charts():
    others, rendered, valid = kinds(), {}, set()
    of_files = [(path.name, yaml.safe_load(path.read_text())) for path in sorted(chart_folder.glob("values*.yaml"))]
    variants = yaml.safe_load((here / "variants.yaml").read_text())
    for name, values in of_files + sorted(variants.items()):
        for step in ({"is_install": True}, {"is_upgrade": True, "revision": 2}):
            found = list(documents(render(values, **step)))
            for document in found:
                # Most documents come again with the next values.
                text = json.dumps(document, sort_keys=True)
                if text not in valid:
                    validate(document, name, others)
                    valid.add(text)
            names_are_unique(found, name)
        rendered[name] = found
        for message in helm.lint(chart_folder, values, strict=True)["messages"]:
            if message["severity"] >= WARNING:
                problems.append(f"{name}: {message['path']}: {message['error']}")
    refused()
    return rendered


def refused():
    """Values that have to be refused, with what Helm has to say of them."""
    for case in yaml.safe_load((here / "refused.yaml").read_text()):
        values, because = case["values"], case["because"]
        try:
            render(values)
            problems.append(f"values are not refused: {json.dumps(values)}")
        except helm.HelmError as error:
            if because not in str(error):
                problems.append(f"{json.dumps(values)} is refused, but not because of {because}: {error}")


def files():
    paths = [path for path in deploy.rglob("*.yaml") if not path.is_relative_to(chart_folder / "templates")]
    paths = [path for path in paths if "templates" not in path.parts]
    return {str(path.relative_to(root)): yaml.safe_load(path.read_text()) for path in sorted(paths)}


result = {"charts": charts(), "files": files(), "problems": problems}
json.dump(result, sys.stdout)
