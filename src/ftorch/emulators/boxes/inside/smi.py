"""`nvidia-smi -L` of a box: `smi.py GPU.json`."""

import json
import sys
from pathlib import Path

names = json.loads(Path(sys.argv[1]).read_text())["names"]
for number, name in enumerate(names):
    sys.stdout.write(f"GPU {number}: {name} (UUID: GPU-00000000-0000-0000-0000-{number:012d})\n")
sys.exit(0 if names else 9)
