"""How long docs/start.md takes a newcomer: its commands, in its order, in a fresh environment and an empty folder."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
PAGE = REPOSITORY / "docs" / "start.md"
BLOCKS = re.compile(r"^```(bash|toml)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def main() -> None:
    text, rows = PAGE.read_text(encoding="utf-8").partition("## Your own folder")[0], []
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "ibsync"
        shutil.copytree(REPOSITORY, source, ignore=shutil.ignore_patterns(".git", "build", "__pycache__"))
        environment = Path(folder) / "venv"
        subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
        path = f"{environment / 'bin'}{os.pathsep}{os.environ['PATH']}"
        clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        for kind, content in BLOCKS.findall(text):
            if kind == "toml":
                (source / "plan.toml").write_text(content, encoding="utf-8")
                continue
            for command in content.splitlines():
                start = time.perf_counter()
                done = subprocess.run(
                    command, shell=True, cwd=source, env={**clean, "PATH": path}, capture_output=True, text=True
                )
                if done.returncode:
                    sys.exit(f"{command}\n{done.stdout}{done.stderr}")
                rows.append({"command": command, "wall_s": round(time.perf_counter() - start, 1)})
                print(f"{rows[-1]['wall_s']:7.1f} s  {command}", flush=True)
    made = {"date": datetime.now(UTC).date().isoformat(), "cpus": os.cpu_count(), "commands": rows}
    output = REPOSITORY / "benchmarks" / "results" / "start.json"
    output.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
