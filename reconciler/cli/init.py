"""`access-reconciler init`: a first configuration and a copy of the policies."""

import shutil
from pathlib import Path
from typing import Annotated

import typer

from reconciler.cli.display import print_line
from reconciler.cli.exits import Output, OutputOption
from reconciler.cli.plain_text import print_json
from reconciler.core.errors import SettingsError
from reconciler.policies.standing import starter_policies
from reconciler.settings import settings_schema

CONFIGURATION = """\
# yaml-language-server: $schema=access-reconciler.schema.json
# access-reconciler: every setting is described in docs/settings.md. Nothing is taken away until a provider's mode says
# `quarantine` or `enforce`; start with `observe` and read the plans.
state_dir: state
policies: policies
roster:
  path: roster.csv
  default_timezone: UTC
  # columns: {worker_id: Employee Number, work_email: E-mail}
providers: {}
#  corp-aws:
#    type: aws_iam
#    mode: observe
#    reader: {region: us-east-1}
#    revoker: {region: us-east-1}
protected:
  principals: []
  #  - {provider: corp-aws, principal: emergency-admin}
"""


def init(
    directory: Annotated[Path, typer.Argument(help="Folder to set up; made when it is not there.")] = Path(),
    output: OutputOption = Output.TABLE,
) -> None:
    """Write a first configuration, its JSON Schema for editors, and a copy of the policies. Overwrites nothing.

    Example: access-reconciler init /etc/access-reconciler
    """
    directory.mkdir(parents=True, exist_ok=True)
    configuration = directory / "access-reconciler.yaml"
    if configuration.exists():
        raise SettingsError(f"{configuration} is there already", advice="choose another folder, or remove it first")
    schema = directory / "access-reconciler.schema.json"
    wrote = [schema, configuration]
    if not (directory / "policies").exists():
        shutil.copytree(starter_policies(), directory / "policies")
        wrote.insert(0, directory / "policies")
    schema.write_text(settings_schema(), encoding="utf-8")
    configuration.write_text(CONFIGURATION, encoding="utf-8")
    if output is Output.JSON:
        print_json({"config": str(configuration), "wrote": [str(path) for path in wrote]})
        return
    for path in wrote:
        print_line(f"wrote {path}")
    print_line("next: name your roster and providers in it, then run `access-reconciler doctor`")
