"""The oldest release of each dependency that pyproject.toml allows, as constraints of pip: a `name==version` a line."""

import re
import sys
import tomllib
from pathlib import Path

project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
extras = [project["optional-dependencies"][name] for name in sys.argv[1:]]
for line in [*project["dependencies"], *(line for extra in extras for line in extra)]:
    name, version = re.match(r"([\w.-]+)(?:\[[\w,]+\])?>=([\w.]+)", line).groups()
    sys.stdout.write(f"{name}=={version}\n")
