"""The program of docs/how-to/use-the-ice-agent.md runs as it is printed there."""

import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "use-the-ice-agent.md"


def test_the_program_of_the_page_connects_two_agents() -> None:
    (program,) = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    body = program.split("\n\n", 1)[1].splitlines()
    assert len([line for line in body if line]) <= 36, "thirty lines, more or less"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Path(remote=") == 2
