"""A toy W&B server for tests: the protocol of the real client, on loopback, with faults on demand. Standard library only.

    python tests/wandb_server.py [--delay SECONDS]    # prints its address and serves until stdin closes

It changes values as the real one does: None and NaN vanish from a summary, 2.0 becomes 2, long lists become a few numbers.
"""

import argparse
import json
import math
import re
import sys
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

KEY = "0123456789abcdef0123456789abcdef01234567"  # the right form, but not a real key
VIEWER = dict(id="VXNlcjox", entity="toy", username="toy", name="toy", email="toy@example.invalid", flags="{}", admin=False, photoUrl="")
VIEWER |= dict(teams=dict(edges=[]), apiKeys=dict(edges=[]))


def changed(value):
    "Return a summary's value as it comes back."
    if isinstance(value, dict): return {k: changed(v) for k, v in value.items() if v is not None and v == v}
    if isinstance(value, list) and len(value) > 32: return dict(_type="list", min=min(value), max=max(value), len=len(value))
    if isinstance(value, float) and math.isfinite(value) and value == int(value): return int(value)
    return value


def looked_up(run, name):
    "Return the value of a run that a filter names."
    first, _, rest = name.partition(".")
    if first == "config": return run["config"].get(rest.removesuffix(".value"), {}).get("value")
    if first == "summary_metrics": return run["summaryMetrics"].get(rest)
    return run.get(dict(display_name="displayName", jobType="jobType", job_type="jobType").get(name, name))


def fits(run, filters):
    "Return True if a run passes MongoDB-like filters."
    for name, wanted in (filters or {}).items():
        if name in ("$and", "$or"):
            if not (all if name == "$and" else any)(fits(run, f) for f in wanted): return False
            continue
        value = looked_up(run, name)
        values = value if isinstance(value, list) else [value]
        choice = wanted["$in"] if isinstance(wanted, dict) else [wanted]
        if not set(values) & set(choice): return False
    return True


class Server(ThreadingHTTPServer):
    "Projects with runs, and the requests that came in."

    daemon_threads, request_queue_size = True, 256

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.projects, self.views, self.deleted, self.lock = {}, {}, set(), threading.RLock()
        # operation or "*": a status, or a list of them, one for each request; "hang"; "drop"; "lose"; or a function of the handler
        self.faults = {}
        self.delay, self.requests, self.seen, self.keep = 0.0, [], [], False
        self.gone = threading.Event()

    @property
    def url(self): return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request, address): pass  # a client that was killed

    def fault(self, name):
        "Note a request and return its fault, or None."
        with self.lock:
            self.requests.append(name)
            wrong = self.faults.get(name, self.faults.get("*"))
            if isinstance(wrong, list): wrong = wrong.pop(0) if wrong else None
        return wrong

    def runs(self, entity, project):
        return self.projects.setdefault((entity or "toy", project), {})

    def put(self, entity, project, id, config=(), summary=(), state="finished", **more):
        "Add a run to a project."
        with self.lock:
            runs, number = self.runs(entity, project), len(self.projects[entity, project])
            runs[id] = dict(name=id, id=f"run:{id}", state=state, config={k: dict(value=v) for k, v in dict(config).items()}) | dict(
                summaryMetrics=changed(dict(summary)), displayName=id, group=None, jobType=None, tags=[], upserts=0, history=0, rows=[],
                createdAt=f"2026-01-01T{number // 3600 % 24:02}:{number // 60 % 60:02}:{number % 60:02}Z",
            ) | more  # fmt: skip
            return runs[id]

    # GraphQL
    def UpsertBucket(self, entity=None, project=None, name=None, config=None, summaryMetrics=None, **v):
        if (entity or "toy", project, name) in self.deleted: return 409
        runs = self.runs(entity, project)
        new = name not in runs
        run = self.put(entity or "toy", project, name, state="running") if new else runs[name]
        run["upserts"] += 1
        if config: run["config"] |= json.loads(config)
        for theirs, ours in dict(groupName="group", jobType="jobType", displayName="displayName", tags="tags").items():
            if v.get(theirs) is not None: run[ours] = v[theirs]
        where = dict(id="p:1", name=project, entity=dict(id="e:1", name=entity or "toy"))
        about = dict(description=None, sweepName=None, historyLineCount=0, config=json.dumps(run["config"]), project=where)
        bucket = {k: run[k] for k in ("id", "name", "displayName")} | about
        return dict(upsertBucket=dict(bucket=bucket, inserted=new))

    def node(self, run, full):
        "A run as the client reads it."
        plain = dict.fromkeys(("sweepName", "commit", "heartbeatAt", "description", "notes", "historyKeys", "systemMetrics"))
        node = plain | {k: run[k] for k in ("name", "id", "state", "displayName", "group", "jobType", "tags", "createdAt")}
        node |= dict(readOnly=False, historyLineCount=run["history"], projectId="1", user=dict(name="toy", username="toy"))
        if full: node |= dict(config=json.dumps(run["config"]), summaryMetrics=json.dumps(run["summaryMetrics"]))
        return node

    def Runs(self, query, project, entity, filters=None, cursor=None, perPage=50, order=None, **v):
        if (entity, project) not in self.projects: return dict(project=None)
        found = [r for r in self.runs(entity, project).values() if fits(r, json.loads(filters or "{}"))]
        if order and order.startswith("-"): found.reverse()
        start, full = int(cursor or 0), "summaryMetrics" in query
        page = found[start : start + perPage]
        edges = [dict(node=self.node(r, full), cursor=str(start + i)) for i, r in enumerate(page, 1)]
        info = dict(endCursor=str(start + len(page)), hasNextPage=start + len(page) < len(found))
        about = dict(internalId="1", runCount=len(found), readOnly=False)
        return dict(project=about | dict(runs=dict(edges=edges, pageInfo=info)))

    def Run(self, query, project, entity, name, **v):
        run = self.runs(entity, project).get(name)
        return dict(project=dict(run=run and self.node(run, "summaryMetrics" in query)))

    def View(self, entityName, name, viewName, **v):
        if (entityName, name) not in self.projects: return dict(project=None)
        view = self.views.get((entityName, name, viewName))
        return dict(project=dict(allViews=dict(edges=[dict(node=view)] if view else [])))

    def UpsertView2(self, entityName, projectName, name, displayName, spec, id=None, **v):
        key, new = (entityName, projectName, name), id is None
        if not new and self.views.get(key, {}).get("id") != id: return 404
        self.views[key] = dict(id=id or f"view:{len(self.views)}", name=name, displayName=displayName, spec=spec)
        return dict(upsertView=dict(view=self.views[key], inserted=new))

    def graphql(self, name, query, variables):
        "Return the answer to an operation: data, a status, or None for an unknown operation."
        with self.lock:
            if name in ("UpsertBucket", "View", "UpsertView2"): return getattr(self, name)(**variables)
            if name in ("Runs", "Run"): return getattr(self, name)(query, **variables)
            if name == "ServerFeaturesQuery": return dict(serverInfo=dict(features=[]))
            if name == "RunResumeStatus": return dict(model=None)
            if name == "CreateRunFiles":
                files = [dict(name=f, uploadUrl=f"{self.url}/upload/{f}") for f in variables["files"]]
                return dict(createRunFiles=dict(runID=variables["run"], uploadHeaders=[], files=files))
            if "viewer" in query: return dict(viewer=VIEWER, serverInfo=dict(features=[]))

    def stream(self, entity, project, id, body):
        "Keep what a run streams: its summary, and that it is finished."
        with self.lock:
            run = self.runs(entity, project).get(id)
            if run is None: return
            files = body.get("files", {})
            rows = files.get("wandb-history.jsonl", {}).get("content", [])
            run["history"] += len(rows)
            run["rows"] += map(json.loads, rows)
            summary = files.get("wandb-summary.json", {}).get("content")
            if summary and self.faults.get("summary") != "lose": run["summaryMetrics"] = changed(json.loads(summary[-1]))
            if body.get("complete"): run["state"] = "failed" if body.get("exitcode") else "finished"


class Handler(BaseHTTPRequestHandler):
    "The HTTP side of the server."

    protocol_version, disable_nagle_algorithm, wbufsize = "HTTP/1.1", True, -1

    def log_message(self, *args): pass

    def answer(self, body, status=200):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_POST(self):
        server, body = self.server, self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if server.keep: server.seen.append(f"{self.command} {self.path}\n{self.headers}".encode() + body)
        time.sleep(server.delay)
        ask = json.loads(body) if self.path == "/graphql" else {}
        name = (re.findall(r"(?:query|mutation)\s+(\w+)", ask.get("query", "")) or [self.path.split("/")[1]])[0]
        name = "stream" if self.path.endswith("/file_stream") else name
        if self.path.startswith("/sdk"): return self.answer({}, 404)
        wrong = server.fault(name)
        if wrong == "hang": server.gone.wait(300)
        if wrong in ("hang", "drop"): self.close_connection = True; return
        if callable(wrong): return wrong(self)
        if isinstance(wrong, int): return self.answer(dict(errors=[dict(message=f"fault {wrong}")]), wrong)
        if name == "stream":
            entity, project, id = map(unquote, self.path.split("/")[2:5])
            server.stream(entity, project, id, json.loads(body))
            return self.answer(dict(exitcode=None, limits={}))
        if self.path != "/graphql": return self.answer({})
        data = server.graphql(name, ask["query"], ask.get("variables") or {})
        if data == 404: return self.answer(dict(errors=[dict(message="no such view")]), 404)
        if data == 409: return self.answer(dict(errors=[dict(message="run was previously created and deleted; try a new run name")]), 409)
        self.answer(dict(data=data) if data is not None else dict(errors=[dict(message=f"{name}: unknown here")]))

    do_PUT = do_GET = do_POST


@contextmanager
def serving():
    "Serve in a thread."
    server = Server()
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try: yield server
    finally: server.gone.set(), server.shutdown(), server.server_close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--delay", type=float, default=0.0, help="seconds added to each request")
    with serving() as server:
        server.delay = parser.parse_args().delay
        print(server.url, flush=True)
        for line in sys.stdin:  # one JSON object a line: runs to put there, or an empty one to ask how many requests there were
            if ask := json.loads(line): server.put(**ask)
            else: print(json.dumps(dict(requests=len(server.requests))), flush=True)
