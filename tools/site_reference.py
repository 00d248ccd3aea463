"The site's reference of commands and errors, read from the program itself."

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "ready_steady_go"


def commands():
    "The commands of `rsg`, in the order of its help."
    from typer.main import get_command

    from ready_steady_go.commands.cli import app
    names = []
    for name, command in get_command(app).commands.items():
        names += [name, *(f"{name} {inner}" for inner in getattr(command, "commands", ()))]
    return names


def help_of(*command):
    "Return what `rsg COMMAND --help` prints, 80 columns wide; of `rsg` itself, what `rsg --help-all` prints."
    asked = [sys.executable, "-m", "ready_steady_go", *command, "--help" if command else "--help-all"]
    env = os.environ | {"COLUMNS": "80", "TERMINAL_WIDTH": "80", "PYTHONIOENCODING": "utf-8"}
    return subprocess.run(asked, cwd=ROOT, env=env, capture_output=True, text=True, check=True).stdout.strip("\n")


def marked(text):
    "Return a help text with code marks around what is typed."
    return TYPED.sub(lambda found: f"`{found[0].rstrip()}`" + found[0][len(found[0].rstrip()):], " ".join(text.split()))


def option_lists(command, context):
    "Return the arguments and options of a command as Markdown: a table for each heading of its help."
    from ready_steady_go.commands.cli import PANELS, panel_of

    panels = {}
    for param in command.get_params(context):
        record = param.get_help_record(context)
        if not record or (context.parent and param.name == "help"): continue
        words = re.sub(r" <(list\[)?str\]?>$", lambda found: "..." if found[1] else "", record[0])
        variable = f" `{param.envvar}`" if param.envvar and not context.parent else ""
        panels.setdefault(panel_of(param), []).append(f"* - `{words}`\n  - {marked(record[1])}{variable}")
    order = ("Arguments", *PANELS, "Options")
    rows = {heading: "\n".join(panels[heading]) for heading in sorted(panels, key=order.index)}
    return [f"**{heading}**\n\n```{{list-table}}\n:class: options\n{found}\n```" for heading, found in rows.items()]


def command_section(words, command, context):
    "Return a command as Markdown: what it does, how it is typed, and its options."
    said = [paragraph for paragraph in (command.help or "").split("\n\n") if not paragraph.strip().startswith("For example:")]
    examples = re.findall(r"^ *For example: (.*)$", command.help or "", flags=re.M)
    usage = "\n".join([command.get_usage(context).removeprefix("Usage: "), *examples])
    return "\n\n".join([f"## {words}", *map(marked, said), f"```text\n{usage}\n```", *option_lists(command, context)])


def command_reference():
    "All commands as Markdown, in the order of the help."
    import click
    from typer.main import get_command

    from ready_steady_go.commands.cli import app

    main = get_command(app)
    whole = click.Context(main, info_name="rsg", terminal_width=80, max_content_width=80)
    parts = [command_section("rsg", main, whole)]
    for name in commands():
        command, context = main, whole
        for word in name.split():
            command = command.get_command(context, word)
            context = click.Context(command, info_name=word, parent=context)
        parts.append(command_section(f"rsg {name}", command, context))
    return "\n\n".join(parts)


def suites():
    "The suites that come with rsg, as the program lists them."
    asked = [sys.executable, "-m", "ready_steady_go", "suite", "--list"]
    listed = subprocess.run(asked, cwd=ROOT, env=os.environ | {"COLUMNS": "80"}, capture_output=True, text=True, check=True).stdout
    lines = [line for line in listed.strip().splitlines() if not line.startswith("rsg suite")]  # that the page says itself
    return "\n".join(["```text", *lines, "```"])


def modules():
    "The package's files with their syntax trees."
    files = sorted(p for p in PACKAGE.rglob("*.py") if p.name != "_modidx.py")
    return {p.relative_to(PACKAGE).with_suffix("").as_posix().replace("/", "."): ast.parse(p.read_text()) for p in files}


def texts_of(node, scope):
    "The strings that an expression can be, with a name in the place of what is filled in."
    if isinstance(node, ast.Constant): return [str(node.value)] if isinstance(node.value, str) else []
    if isinstance(node, ast.JoinedStr): return ["".join(piece(v, scope) for v in node.values).replace("……", "…")]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return [a + b for a in texts_of(node.left, scope) or ["…"] for b in texts_of(node.right, scope) or ["…"]]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult): return ["…"]
    if isinstance(node, ast.IfExp): return texts_of(node.body, scope) + texts_of(node.orelse, scope)
    if isinstance(node, ast.BoolOp): return [text for v in node.values for text in texts_of(v, scope)]
    if isinstance(node, ast.Name): return [text for v in assigned(node.id, scope) for text in texts_of(v, scope)]
    if isinstance(node, ast.Dict): return [text for key in node.keys for text in texts_of(key, scope)]  # a table: error, condition
    if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "next" and isinstance(node.args[0], ast.GeneratorExp):
        return texts_of(node.args[0].generators[0].iter.func.value, scope)  # next(text for text, broken in rules.items() if broken)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name): return returned(node.func.id, scope)
    return []


def piece(value, scope):
    "A part of an f-string as a reader sees it in a list of messages."
    if isinstance(value, ast.Constant): return str(value.value)
    inner = value.value
    if isinstance(inner, ast.Name) and inner.id in scope["constants"]: return str(scope["constants"][inner.id])
    names = [n.attr if isinstance(n, ast.Attribute) else n.id for n in ast.walk(inner) if isinstance(n, ast.Attribute | ast.Name)]
    simple = isinstance(inner, ast.Name | ast.Attribute) or (isinstance(inner, ast.BoolOp) and names)
    return f"<{names[0].lstrip('_')}>" if simple else "…"


def assigned(name, scope):
    "The values that a name gets in a function."
    for node in ast.walk(scope["function"]):
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == name for t in node.targets): yield node.value
        if isinstance(node, ast.NamedExpr) and node.target.id == name: yield node.value


def returned(name, scope):
    "The strings that a function of the module returns."
    function = scope["functions"].get(name)
    if function is None or scope["depth"] > 2: return []
    inner = scope | {"function": function, "depth": scope["depth"] + 1}
    values = (n.value for n in ast.walk(function) if isinstance(n, ast.Return) and n.value is not None)
    return [text for v in values for text in texts_of(v, inner)]


def raised(kinds=("UserError", "CannotWrite", "NothingToMeasure", "RuntimeError")):
    "(module, message) of each error that the program answers with one line."
    for module, tree in modules().items():
        functions = {n.name: n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)}
        set_once = [n for n in tree.body if isinstance(n, ast.Assign) and isinstance(n.value, ast.Constant)]
        constants = {n.targets[0].id: n.value.value for n in set_once if isinstance(n.targets[0], ast.Name)}
        seen = set()
        for function in functions.values():
            scope = {"function": function, "functions": functions, "constants": constants, "depth": 0}
            for node in ast.walk(function):
                call = node.exc if isinstance(node, ast.Raise) else None
                if not isinstance(call, ast.Call) or getattr(call.func, "id", None) not in kinds or not call.args: continue
                for text in texts_of(call.args[0], scope):
                    if (text := " ".join(text.split())) not in seen | {"", "…"}:
                        seen.add(text)
                        yield module, text


def finding_codes():
    "Return the codes of all findings that the package can make, each with the modules that make it."
    found = {}
    for module, tree in modules().items():
        for node in ast.walk(tree):
            for code in codes_at(node): found.setdefault(code, set()).add(module)
    return found


def codes_at(node):
    "Yield the codes at one node: `dict(code=...)`, `{\"code\": ...}`, `finding(\"...\")`, and the keys of a table that ends in `_RULES`."
    if isinstance(node, ast.Call):
        given = (k.value for k in node.keywords if k.arg == "code" and isinstance(k.value, ast.Constant))
        yield from (value.value for value in given if isinstance(value.value, str))
        first = node.args[0] if node.args else None
        if getattr(node.func, "id", None) in ("found", "finding") and isinstance(first, ast.Constant): yield first.value
    if isinstance(node, ast.Dict):
        yield from (v.value for k, v in zip(node.keys, node.values) if getattr(k, "value", None) == "code" and isinstance(v, ast.Constant))
    if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "").endswith("_RULES") and isinstance(node.value, ast.Call):
        yield from (k.arg for k in node.value.keywords if k.arg)


# Words of a remedy that are typed: commands, options and settings. Without code marks, the site would print -- as a dash.
TYPED = re.compile(r"(?:rsg \w+ |docker run |nvidia-smi )?(?<!\w)--?[a-z][\w-]*(?: (?:\d\w*|cpu))?|\brsg doctor\b|\b[A-Z_]+=\d+")
# Of the numbers and words that remedies name.
EXAMPLES = dict(
    longer="--n-seconds 30 to time it longer (for slow steps, --n-batches 12), or --soak 5m to time it until nothing changes",
    fewer="fewer GPUs with CUDA_VISIBLE_DEVICES",
)


def findings_table():
    "Return the table of all findings as Markdown."
    from ready_steady_go.truth.findings import FINDINGS

    lines = ["| code | severity | meaning | remedy |", "|---|---|---|---|"]
    for code, row in FINDINGS.items():
        meaning, remedy = (TYPED.sub(r"`\g<0>`", text) for text in (row.meaning, row.remedy.format(**EXAMPLES)))
        lines.append(f"| `{code}` | {row.severity} | {meaning} | {remedy} |")
    return "\n".join(lines)


def is_only_places(text):
    "True if nothing of a message is its own words: another message is listed in its place."
    return not re.sub(r"<[^>]*>|--[\w-]+|[…:;,. ]", "", text)


def error_reference():
    "All messages of one line, as Markdown: those that begin with an option, and the others."
    said = sorted({text.replace("`", "'") for _, text in raised() if not is_only_places(text)}, key=str.lower)
    about = [text for text in said if text.startswith(("--", "<option>"))]
    listed = lambda texts: "\n".join(f"* `{text}`" for text in texts)
    rest = [text for text in said if text not in about]
    return f"### About an option\n\n{listed(about)}\n\n### About a name, a file or the machine\n\n{listed(rest)}"
