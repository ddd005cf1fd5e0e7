"""Sphinx: the site of these pages, the tutorials as they run, and the reference from the docstrings. `make docs`."""

import sys
import warnings
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "extensions"))

project = "emnet"
author = "the emnet authors"
copyright = author
version = release = ""  # the pages are those of the checkout

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_gallery.gen_gallery",
    "docstrings",
    "links",
    "mathml",
]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
exclude_patterns = ["tutorials", "templates"]
html_extra_path: list[str] = []
templates_path = ["templates"]

# -- pages ------------------------------------------------------------------------------------------------------------

myst_enable_extensions = ["dollarmath", "amsmath", "deflist"]
myst_heading_anchors = 3

# -- reference --------------------------------------------------------------------------------------------------------

autosummary_generate = True
default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
maximum_signature_line_length = 88
add_module_names = False
toc_object_entries_show_parents = "hide"
nitpicky = True
nitpick_ignore = [("py:obj", "emnet.factors.base.S"), ("py:obj", "emnet.models.base.P")]  # type variables
nitpick_ignore_regex = [  # annotations name classes of other packages, whose pages are not to be had offline
    (r"py:class", r".*"),
    (r"py:.*", r"(?!emnet\.).*"),
]

# -- tutorials --------------------------------------------------------------------------------------------------------

sphinx_gallery_conf = {
    "examples_dirs": "tutorials",
    "gallery_dirs": "gallery",
    "filename_pattern": r"/\d_",
    "within_subsection_order": "FileNameSortKey",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "show_memory": False,
    "show_signature": False,
    "write_computation_times": False,
    "min_reported_time": 0,
    "plot_gallery": True,
    "matplotlib_animations": False,
    "image_srcset": ["2x"],
    "reset_modules": ("matplotlib",),
    "remove_config_comments": True,
    "reference_url": {},
    "doc_module": (),
    "backreferences_dir": None,
}
warnings.filterwarnings("error", category=DeprecationWarning, module="emnet")

# -- looks ------------------------------------------------------------------------------------------------------------

html_theme = "pydata_sphinx_theme"
html_title = "emnet"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_show_copyright = False
html_show_sphinx = False
html_theme_options = {
    "logo": {"text": "emnet"},
    "header_links_before_dropdown": 6,
    "navbar_align": "left",
    "navbar_end": ["theme-switcher"],
    "secondary_sidebar_items": {"[!g]**": ["page-toc"], "guides": ["page-toc"]},  # tutorials need the width
    "footer_start": [],
    "footer_end": [],
    "show_prev_next": True,
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
    "back_to_top_button": False,
}
html_sidebars = {"index": []}
