"""Everyday commands load no plotting library, no pandas and no torch, whatever they are asked for."""

import subprocess
import sys

import pytest

HEAVY = ("matplotlib", "pandas", "plotly", "pyarrow", "scipy", "torch", "transformers")
OLMOE = "examples/configs/olmoe-1b-7b.json"


@pytest.mark.parametrize(
    "command",
    [
        f"inspect {OLMOE}",
        f"inspect {OLMOE} --hardware H100 --json",
        "laws",
        "laws zhao2025",
        f"predict {OLMOE} --train-tokens 2T",
        "design --total-params 1B --train-tokens 20B --law zhao2025 --top 1",
        "design --total-params 1B --train-tokens 20B --law zhao2025 --top 1 --json",
        f"export {OLMOE} --format hf --out {{new}}",
    ],
)
def test_a_command_loads_nothing_heavy(command: str, tmp_path: object) -> None:
    words = command.format(new=f"{tmp_path}/new").split()
    script = (
        "import sys\nfrom moewright.cli import main\n"
        f"sys.argv = {['moewright', *words]!r}\n"
        "try:\n    main()\n"
        "except SystemExit as end:\n    assert not end.code\n"
        f"print('heavy:', *(name for name in {HEAVY!r} if name in sys.modules))"
    )
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert told.splitlines()[-1] == "heavy:"
