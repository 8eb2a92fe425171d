"""Learn the shipped bank from scikit-image's bundled pictures: python data/build.py

Builds the specs `natural` and `natural-colour` in runs/ and copies their dictionaries here, named by spec and size.
`camera` is in neither, so that the demo codes a picture the filters have not seen.
"""

from pathlib import Path

from cscopt.bank import Samples, Spec, build
from cscopt.bank.entry import read, save

HERE = Path(__file__).parent


def main() -> None:
    """Build what runs/ has not got, and copy it."""
    runs = HERE.parent / "runs"
    runs.mkdir(exist_ok=True)
    for name in ("natural", "natural-colour"):
        spec = Spec.read(HERE.parent / "specs" / f"{name}.yaml")
        bank = build(spec, runs / name, progress=True)
        for case in spec.cases(Samples.of(spec.data, spec.holdout)):
            short = f"{name}-{case.size}"
            provenance, dictionary = read(bank[case.name].path)
            told = provenance | {"name": short, "case": case.name}
            save(HERE / f"{short}.safetensors", dictionary.filters, told)


if __name__ == "__main__":
    main()
