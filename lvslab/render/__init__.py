"""The model as text: pure functions, the model in, text out."""

from lvslab.render.asserts import assert_script
from lvslab.render.everything import everything
from lvslab.render.keepalived import keepalived_conf
from lvslab.render.lab_texts import lab_texts
from lvslab.render.machine_files import role_files
from lvslab.render.seeds import bake_seed, node_seed, role_user_data
from lvslab.render.texts import RenderedFile, Seed

__all__ = [
    "RenderedFile",
    "Seed",
    "assert_script",
    "bake_seed",
    "everything",
    "keepalived_conf",
    "lab_texts",
    "node_seed",
    "role_files",
    "role_user_data",
]
