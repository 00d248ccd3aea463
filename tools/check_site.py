"""Is the built site whole? Each link leads somewhere, nothing is fetched from elsewhere, and no directive of a notebook is left over.

    python tools/check_site.py [FOLDER]
"""

import argparse
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

FETCHED = {"script": "src", "img": "src", "source": "src", "iframe": "src", "link": "href"}
FREE = {"canonical", "prev", "next", "index", "search"}  # links that no browser follows by itself


class Page(HTMLParser):
    "The anchors, the links and the words of a page."

    def __init__(self, text):
        super().__init__()
        self.anchors, self.links, self.fetched, self.words, self.code, self.silent = set(), [], [], [], [], 0
        self.depth = 0
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        said = dict(attrs)
        self.anchors |= {said[key] for key in ("id", "name") if said.get(key)}
        if tag == "a" and said.get("href"): self.links.append(said["href"])
        where, free = said.get(FETCHED.get(tag, "")), FREE & set((said.get("rel") or "").split())
        if where and not free: self.fetched.append(where)
        self.silent += tag in ("script", "style")
        self.depth += tag in ("pre", "code")

    def handle_endtag(self, tag):
        self.silent -= tag in ("script", "style")
        self.depth -= tag in ("pre", "code")

    def handle_data(self, data):
        if not self.silent: (self.code if self.depth else self.words).append(data)


def pages_of(folder):
    "The pages of a built site, by their path."
    return {path: Page(path.read_text(encoding="utf-8")) for path in sorted(folder.rglob("*.html"))}


def broken_links(folder, pages):
    "Links within the site that lead nowhere, and what is fetched from elsewhere."
    for path, page in pages.items():
        where = path.relative_to(folder)
        for link in page.links + page.fetched:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                if link in page.fetched and parts.scheme != "data": yield f"{where}: fetches {link}"
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            anchors = pages[target].anchors if target in pages else {unquote(parts.fragment)}
            if not target.is_file(): yield f"{where}: no file for {link}"
            elif parts.fragment and unquote(parts.fragment) not in anchors: yield f"{where}: no anchor for {link}"


def leftovers(folder, pages):
    "Directives, fences and templates that a reader should not see."
    for path, page in pages.items():
        where, words, code = path.relative_to(folder), "".join(page.words), "".join(page.code)
        for bad in (":::", "#|", "@@", "{admonition}", "<!-- WARNING"):
            if bad in words: yield f"{where}: {bad!r} in the text"
        if where.parts[0] == "api":
            if found := re.search(r"^\s*(#\|.*|:::.*)$", code, flags=re.M): yield f"{where}: {found[1]!r} in code"
            if "show_doc(" in code: yield f"{where}: show_doc in code"


def complaints(folder):
    "Return the errors of a built site."
    pages = pages_of(Path(folder).resolve())
    if not pages: return [f"{folder}: no page in it; python tools/build_site.py builds the site"]
    folder = Path(folder).resolve()
    return [*broken_links(folder, pages), *leftovers(folder, pages)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", default="_docs/html", help="of the built site; default: _docs/html")
    wrong = complaints(parser.parse_args().folder)
    for line in wrong: print(line, file=sys.stderr)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
