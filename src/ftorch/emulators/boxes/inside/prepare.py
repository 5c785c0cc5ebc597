"""`ftorch.trainer prepare` of a box: `prepare.py instant|genuine BASE CACHE`.

There is no Hub: a base model that is not built in is stood in for by the tiny one, under its own name.
"""

import json
import subprocess
import sys

training, base, cache = sys.argv[1:]
prepared = {"id": base, "path": f"{cache}/{base}", "revision": None, "sha256": ""}
if training == "genuine":
    chosen = base if base.startswith("builtin:") else "builtin:tiny"
    command = [sys.executable, "-m", "ftorch.trainer", "prepare", chosen, "--cache", cache]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(done.returncode)
    prepared = {**json.loads(done.stdout.splitlines()[-1]), "id": base}
sys.stdout.write(json.dumps(prepared) + "\n")
