"""Write the model card: the template's words with the scores of one run."""

from pathlib import Path
from string import Template

TEMPLATE = Path(__file__).parent / "model_card.md"


def write(scores: dict, path: Path) -> None:
    """Fill the template's `$names` from the scores of a finished run."""
    recalls = " | ".join(f"{name} {value:.2f}" for name, value in scores["diary_tenth"]["recall"].items())
    numbers = {
        f"{part}_{name}": f"{value:.3f}"
        for part, found in scores.items()
        if isinstance(found, dict)
        for name, value in found.items()
        if isinstance(value, float)
    }
    text = Template(TEMPLATE.read_text("utf-8"))
    path.write_text(
        text.substitute(numbers, recalls=recalls, megabytes=f"{scores['weights_bytes'] / 1e6:.1f}"), "utf-8"
    )
