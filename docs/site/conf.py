"The settings with which Sphinx builds the site: stored outputs are shown, nothing is run, nothing is fetched."

import configparser
from pathlib import Path

# the sources are copied to _docs/source, two folders below the top
settings = configparser.ConfigParser()
settings.read(Path(__file__).resolve().parents[2] / "settings.ini")
about = settings["DEFAULT"]

project = about["title"]
author = about["author"]
copyright = about["copyright"]
release = about["version"]
language = "en"

extensions = ["myst_nb"]
nb_execution_mode = "off"
nb_ipywidgets_js = {}  # they would come from somebody else's server
nb_merge_streams = True
myst_heading_anchors = 4

html_theme = "furo"
html_title = project
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_search_scorer = str(Path(__file__).resolve().parent / "_static" / "scorer.js")
html_favicon = "_static/favicon.svg"
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_theme_options = {"source_repository": about["git_url"], "source_branch": about["branch"], "top_of_page_buttons": []}
# Names in code blocks are no Python, and a lexer that stumbles over one is not worth a red build.
highlight_language = "text"
