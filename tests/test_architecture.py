"""The packages import each other in one direction, and the face starts fast because it imports late."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
LINT = "from importlinter.cli import lint_imports_command; lint_imports_command()"


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_packages_stand_only_on_those_above_them() -> None:
    linter = run(sys.executable, "-c", LINT, "--no-cache")
    assert linter.returncode == 0, linter.stdout + linter.stderr
    assert "2 kept, 0 broken" in linter.stdout


def test_the_contract_is_able_to_fail(tmp_path: Path) -> None:
    """A package that imports downwards breaks the same kind of contract."""
    for name, text in {"upper": "", "lower": "import upper\n"}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(text)
    config = tmp_path / "contract.toml"
    config.write_text('[tool.importlinter]\nroot_packages = ["upper", "lower"]\n'
                      '[[tool.importlinter.contracts]]\nname = "layers"\ntype = "layers"\nlayers = ["upper", "lower"]\n')
    command = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {LINT}"
    linter = run(sys.executable, "-c", command, "--no-cache", "--config", str(config))
    assert linter.returncode == 1, linter.stdout + linter.stderr


def test_help_needs_no_torch() -> None:
    code = "import sys; from headcount.cli import app; print(sorted({'torch', 'pandas', 'matplotlib'} & set(sys.modules)))"
    assert run(sys.executable, "-c", code).stdout.strip() == "[]"
