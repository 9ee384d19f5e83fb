"""The ``kgen`` command: train a recipe, then sample, evaluate and export what it left. A file per subcommand."""

import click

from kgen.tools.command import Group
from kgen.tools.compare import compare
from kgen.tools.convert import convert
from kgen.tools.demo.command import demo
from kgen.tools.evaluate import evaluate
from kgen.tools.export import export
from kgen.tools.judge import judge
from kgen.tools.listing import list_presets, list_recipes
from kgen.tools.sample import sample
from kgen.tools.train import train
from kgen.tools.verify import verify


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="kgen")
def main():
    """Generative models in Keras 3.

    \b
    Examples:
      kgen recipes
      kgen train ddpm_digits
      kgen train vae_digits --data photos/ --image-size 32 --epochs 20 --out saved_models/vae_photos
      kgen sample saved_models/ddpm_digits -n 64 --labels 7 --out sevens.png
      kgen evaluate saved_models/ddpm_digits --data digits
      kgen export saved_models/ddpm_digits --out /srv/models/digits

    Add --debug to any command for a full traceback.
    """


for command in (list_recipes, list_presets, train, sample, evaluate, export, convert, compare, judge, demo, verify):
    main.add_command(command)


if __name__ == "__main__":
    main()
