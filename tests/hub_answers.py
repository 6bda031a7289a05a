"""What the hub's stand-in (`hub_standin`) answers: the addresses of the hub's interface, and of the storage behind it."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import socket
import urllib.parse
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import yaml
from hub_repositories import LARGE, LARGE_SIZE, Commit, Repo, Request, blob_id, front_matter, is_large, pointer

if TYPE_CHECKING:
    from hub_standin import Hub


class Server(ThreadingHTTPServer):
    """One of the two servers; `host` is `hub` or `storage`."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, hub: Hub, host: str) -> None:
        self.hub = hub
        self.host = host
        self._connections: set[socket.socket] = set()
        super().__init__(("127.0.0.1", 0), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed leaves a broken connection; that is no error of the server."""

    def stop(self) -> None:
        """Close the server and what is open."""
        self.shutdown()
        self.server_close()
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Refused(Exception):
    """An answer other than the one that was asked for, with the headers that the client reads."""

    def __init__(self, status: int, message: str, code: str = "") -> None:
        self.status = status
        self.headers = {"X-Error-Message": message, **({"X-Error-Code": code} if code else {})}
        self.body = json.dumps({"error": message}).encode()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, format: str, *arguments: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._answer()

    do_HEAD = do_POST = do_PUT = do_GET

    # -- what every request goes through ---------------------------------------------------------------------------

    def _answer(self) -> None:
        split = urllib.parse.urlsplit(self.path)
        self.hub = self.server.hub
        self.route = split.path
        self.query = dict(urllib.parse.parse_qsl(split.query))
        self.body = self._read_body()
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.hub.requests.append(Request(self.server.host, self.command, self.route, self.query, headers))
        try:
            if not self._failing(self.route):
                (self._from_storage if self.server.host == "storage" else self._from_hub)()
        except _Refused as refused:
            self._send(refused.body, "application/json", status=refused.status, headers=refused.headers)

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _send(
        self, body: bytes, content_type: str, *, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": content_type, "Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _json(self, data: Any, headers: Mapping[str, str] | None = None) -> None:
        self._send(json.dumps(data).encode(), "application/json; charset=utf-8", headers=headers)

    def _failing(self, path: str) -> bool:
        """Answer with what a fault says, if one hits `path`."""
        fault = self.hub.fault_of(path, {"html", "missing", "error", "redirect"})
        if fault is None:
            return False
        if fault.kind == "html":
            self._send(b"<!doctype html><title>Log in</title>", "text/html; charset=utf-8")
        elif fault.kind == "redirect":
            self._send(b"", "text/plain", status=302, headers={"Location": fault.to})
        elif fault.kind == "missing":
            raise _Refused(404, "Entry not found", "EntryNotFound")
        else:
            raise _Refused(fault.status, "Something went wrong")
        return True

    # -- who may do what -------------------------------------------------------------------------------------------

    def _known(self) -> bool:
        """Whether the request carries a token of this hub; an unknown one is refused."""
        kind, _, token = self.headers.get("Authorization", "").partition(" ")
        if not kind:
            return False
        if kind != "Bearer" or token not in self.hub.tokens:
            raise _Refused(401, "Invalid credentials in Authorization header")
        return True

    def _repo(self, kind: str, name: str) -> Repo:
        known = self._known()
        repo = self.hub.repos.get((kind, name))
        if repo is None or (repo.private and not (known and repo.accepted)):
            message = "Repository not found" if known else "Invalid username or password."
            raise _Refused(404 if known else 401, message, "RepoNotFound")
        return repo

    def _commit(self, repo: Repo, revision: str) -> Commit:
        commit = repo.find(revision)
        if commit is None:
            raise _Refused(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return commit

    # -- the hub ---------------------------------------------------------------------------------------------------

    def _from_hub(self) -> None:
        for pattern, method in _ROUTES:
            if found := re.fullmatch(pattern, self.route):
                parts = {name: urllib.parse.unquote(value or "") for name, value in found.groupdict().items()}
                return method(self, **parts)
        raise _Refused(404, f"Nothing answers to {self.command} {self.route}")

    def _whoami(self) -> None:
        if not self._known():
            raise _Refused(401, "Invalid username or password.")
        token = {"displayName": "test", "role": "write"}
        self._json({"type": "user", "name": "tester", "auth": {"type": "access_token", "accessToken": token}})

    def _harnesses(self) -> None:
        self._json({"standardEnvVars": [], "harnesses": {}})

    def _validate(self) -> None:
        content = json.loads(self.body)["content"]
        try:
            front_matter({"README.md": content.encode()})
        except yaml.YAMLError as error:
            body = json.dumps({"errors": [{"message": str(error)}], "warnings": []}).encode()
            return self._send(body, "application/json", status=400)
        self._json({"errors": [], "warnings": []})

    def _info(self, kind: str, name: str, revision: str) -> None:
        repo = self._repo(kind, name)
        commit = self._commit(repo, revision or "main")
        metadata = front_matter(commit.files)
        self._json(
            {
                "_id": "0" * 24,
                "id": repo.name,
                "modelId": repo.name,
                "author": repo.name.partition("/")[0],
                "sha": commit.id,
                "lastModified": "2026-01-01T00:00:00.000Z",
                "createdAt": "2026-01-01T00:00:00.000Z",
                "private": repo.private,
                "gated": "manual" if repo.gated else False,
                "disabled": False,
                "downloads": 0,
                "likes": 0,
                "tags": metadata.get("tags") or [],
                "pipeline_tag": metadata.get("pipeline_tag"),
                "library_name": metadata.get("library_name"),
                "cardData": metadata or None,
                "siblings": [self._sibling(path, content) for path, content in commit.files.items()],
            }
        )

    def _sibling(self, path: str, content: bytes) -> dict[str, Any]:
        if "blobs" not in self.query:
            return {"rfilename": path}
        sibling: dict[str, Any] = {"rfilename": path, "size": len(content), "blobId": blob_id(content)}
        if is_large(path, content):
            text = pointer(content)
            digest = self.hub.digest(path, content)
            sibling["blobId"] = blob_id(text)
            sibling["lfs"] = {"sha256": digest, "size": len(content), "pointerSize": len(text)}
        return sibling

    def _entry(self, path: str, content: bytes) -> dict[str, Any]:
        entry: dict[str, Any] = {"type": "file", "path": path, "size": len(content), "oid": blob_id(content)}
        if is_large(path, content):
            text = pointer(content)
            entry["oid"] = blob_id(text)
            entry["lfs"] = {
                "oid": self.hub.digest(path, content),
                "size": len(content),
                "pointerSize": len(text),
            }
        return entry

    def _tree(self, kind: str, name: str, revision: str, folder: str) -> None:
        commit = self._commit(self._repo(kind, name), revision)
        inside = f"{folder}/" if folder else ""
        paths = [path for path in commit.files if path.startswith(inside)]
        if self.query.get("recursive", "").lower() == "true":
            entries = [self._entry(path, commit.files[path]) for path in paths]
        else:
            tops = dict.fromkeys(inside + path.removeprefix(inside).partition("/")[0] for path in paths)
            entries = [
                self._entry(top, commit.files[top])
                if top in commit.files
                else {"type": "directory", "path": top, "size": 0, "oid": blob_id(top.encode())}
                for top in tops
            ]
        limit, start = int(self.query.get("limit", 1000)), int(self.query.get("cursor", 0))
        headers = {}
        if len(entries) > start + limit:
            query = urllib.parse.urlencode({**self.query, "cursor": start + limit})
            headers["Link"] = f'<{self.hub.url}{urllib.parse.quote(self.route)}?{query}>; rel="next"'
        self._json(entries[start : start + limit], headers)

    def _paths_info(self, kind: str, name: str, revision: str) -> None:
        commit = self._commit(self._repo(kind, name), revision)
        if self.headers.get("Content-Type", "").startswith("application/json"):
            paths = json.loads(self.body)["paths"]
        else:
            paths = urllib.parse.parse_qs(self.body.decode()).get("paths", [])
        self._json([self._entry(path, commit.files[path]) for path in paths if path in commit.files])

    def _refs(self, kind: str, name: str) -> None:
        repo = self._repo(kind, name)

        def listed(start: str) -> list[dict[str, str]]:
            refs = [(ref, commit) for ref, commit in repo.refs.items() if ref.startswith(start)]
            return [{"name": ref.removeprefix(start), "ref": ref, "targetCommit": commit} for ref, commit in refs]

        requests = listed("refs/pr/") if self.query.get("include_prs") else []
        branches, tags = listed("refs/heads/"), listed("refs/tags/")
        self._json({"branches": branches, "tags": tags, "converts": [], "pullRequests": requests})

    # -- files -----------------------------------------------------------------------------------------------------

    def _resolve(self, kind: str, name: str, revision: str, path: str) -> None:
        repo = self._repo(kind.strip("/") or "models", name)
        commit = self._commit(repo, revision)
        headers = {"X-Repo-Commit": commit.id, "Accept-Ranges": "bytes"}
        if repo.gated and path != "README.md" and not (self._known() and repo.accepted):
            message = f"Access to model {name} is restricted."
            raise _Refused(403 if self._known() else 401, message, "GatedRepo")
        if self._failing(path):
            return
        content = commit.files.get(path)
        if content is None:
            refused = _Refused(404, "Entry not found", "EntryNotFound")
            refused.headers |= headers
            raise refused
        if not is_large(path, content):
            return self._bytes(path, content, {**headers, "ETag": f'"{blob_id(content)}"'})
        digest = self.hub.digest(path, content)
        query = urllib.parse.urlencode({"path": path, "commit": commit.id, "repo": f"{repo.kind}/{name}"})
        location = f"{self.hub.storage_url}/objects/{digest}?{query}"
        linked = {"X-Linked-ETag": f'"{digest}"', "X-Linked-Size": str(len(content)), "Location": location}
        self._send(b"", "text/plain", status=302, headers={**headers, **linked})

    def _from_storage(self) -> None:
        if self.command == "PUT":
            self.hub.uploaded[self.route.rpartition("/")[2]] = self.body
            return self._send(b"", "text/plain")
        kind, _, name = self.query.get("repo", "").partition("/")
        repo, path = self.hub.repos.get((kind, name)), self.query.get("path", "")
        if repo is None or path not in repo.commits[self.query["commit"]].files:
            raise _Refused(404, "No such object")
        if not self._failing(path):
            self._bytes(path, repo.commits[self.query["commit"]].files[path], {"Accept-Ranges": "bytes"})

    def _bytes(self, path: str, content: bytes, headers: dict[str, str]) -> None:
        """Hand out a file, or the range of it that was asked for, in the way that a fault says."""
        fault = None
        if self.command == "GET":
            fault = self.hub.fault_of(path, {"corrupt", "truncated", "short", "slow", "unsaid", "endless", "whole"})
        kind = fault.kind if fault else ""
        if kind == "corrupt":
            content = content[:-1] + bytes([content[-1] ^ 1])
        elif kind == "short":
            content = content[: len(content) // 2]
        status, part = 200, content
        if "Range" in self.headers and kind != "whole":
            status, part, headers["Content-Range"] = _ranged(content, self.headers["Range"])
        headers["Content-Length"] = str(len(part))
        if not fault or kind not in {"truncated", "slow", "unsaid", "endless"}:
            return self._send(part, "application/octet-stream", status=status, headers=headers)
        if kind in {"unsaid", "endless"}:
            headers.pop("Content-Length")
        self.send_response(status)
        for header, value in {"Content-Type": "application/octet-stream", **headers}.items():
            self.send_header(header, value)
        self.end_headers()
        half = len(part) // 2
        self.wfile.write(part[:half])
        if kind == "slow":
            fault.release.wait(60)
            self.wfile.write(part[half:])
            return
        while kind == "endless":  # until the client leaves
            self.wfile.write(part)
        self.close_connection = True

    # -- changes ---------------------------------------------------------------------------------------------------

    def _writable(self, kind: str, name: str, *, pull_request: bool) -> Repo:
        repo = self._repo(kind, name)
        if not self._known():
            raise _Refused(401, "Invalid username or password.")
        if not repo.writable and not pull_request:
            raise _Refused(403, "Forbidden: pass `create_pr=1` as a query parameter to create a Pull Request")
        return repo

    def _preupload(self, kind: str, name: str, revision: str) -> None:
        repo = self._writable(kind, name, pull_request="create_pr" in self.query)
        there = self._commit(repo, revision).files
        answers = []
        for file in json.loads(self.body)["files"]:
            path = file["path"]
            mode = "lfs" if path.endswith(LARGE) or file["size"] > LARGE_SIZE else "regular"
            old = self._entry(path, there[path])["oid"] if path in there else None
            answers.append({"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": old})
        self._json({"files": answers})

    def _lfs_batch(self, kind: str, name: str) -> None:
        self._writable(kind.strip("/") or "models", name, pull_request=True)
        objects = []
        for each in json.loads(self.body)["objects"]:
            upload = {"href": f"{self.hub.storage_url}/upload/{each['oid']}", "header": {}}
            verify = {"href": f"{self.hub.url}/lfs/verify", "header": {}}
            objects.append({**each, "actions": {"upload": upload, "verify": verify}})
        self._json({"transfer": "basic", "objects": objects})

    def _lfs_verify(self) -> None:
        asked = json.loads(self.body)
        content = self.hub.uploaded.get(asked["oid"], b"")
        if (hashlib.sha256(content).hexdigest(), len(content)) != (asked["oid"], asked["size"]):
            raise _Refused(422, "The upload is not what it says")
        self._json({})

    def _make_commit(self, kind: str, name: str, revision: str) -> None:
        pull_request = "create_pr" in self.query
        repo = self._writable(kind, name, pull_request=pull_request)
        base = self._commit(repo, revision)
        lines = [json.loads(line) for line in self.body.splitlines() if line.strip()]
        header = next(line["value"] for line in lines if line["key"] == "header")
        if header.get("parentCommit", base.id) != base.id:
            raise _Refused(412, "A commit has happened since. Please refresh and try again.")
        ref = next((each for each in (f"refs/heads/{revision}", revision) if each in repo.refs), "refs/heads/main")
        if pull_request:
            number = len(repo.pull_requests) + 1
            ref = f"refs/pr/{number}"
            details = {"num": number, "title": header["summary"], "description": header["description"]}
            repo.pull_requests.append({**details, "base": base.id})
        commit = repo.commit(ref, base.id, self._changes(lines), header["summary"])
        prefix = "" if kind == "models" else f"{kind}/"
        answer = {"success": True, "commitOid": commit.id, "hookOutput": ""}
        answer["commitUrl"] = f"{self.hub.url}/{prefix}{name}/commit/{commit.id}"
        if pull_request:
            answer["pullRequestUrl"] = f"{self.hub.url}/{prefix}{name}/discussions/{number}"
        self._json(answer)

    def _changes(self, lines: list[dict[str, Any]]) -> dict[str, bytes | None]:
        changes: dict[str, bytes | None] = {}
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                changes[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                if value["oid"] not in self.hub.uploaded:
                    raise _Refused(400, f"The object {value['oid']} was not uploaded")
                changes[value["path"]] = self.hub.uploaded[value["oid"]]
            elif line["key"] == "deletedFile":
                changes[value["path"]] = None
        return changes

    def _discussions(self, kind: str, name: str) -> None:
        repo = self._repo(kind, name)
        found = [self._discussion(repo, each) for each in repo.pull_requests]
        self._json({"count": len(found), "start": 0, "discussions": found})

    def _discussion_details(self, kind: str, name: str, number: str) -> None:
        repo = self._repo(kind, name)
        if int(number) > len(repo.pull_requests):
            raise _Refused(404, "Discussion not found")
        details = self._discussion(repo, repo.pull_requests[int(number) - 1])
        changes = {"base": "refs/heads/main", "mergeCommitId": None}
        self._json({**details, "changes": changes, "filesWithConflicts": [], "events": [], "diff": ""})

    def _discussion(self, repo: Repo, request: dict[str, Any]) -> dict[str, Any]:
        return {
            "num": request["num"],
            "title": request["title"],
            "author": {"name": "tester"},
            "createdAt": "2026-01-01T00:00:00.000Z",
            "status": "open",
            "isPullRequest": True,
            "repo": {"name": repo.name, "type": repo.kind.removesuffix("s")},
        }


def _ranged(content: bytes, asked: str) -> tuple[int, bytes, str]:
    """Status, bytes and `Content-Range` of an answer to a `Range` header."""
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", asked)
    if found is None or not (found[1] or found[2]):
        raise _Refused(400, f"The range {asked} cannot be read")
    size = len(content)
    start = int(found[1]) if found[1] else max(0, size - int(found[2]))
    end = min(int(found[2]), size - 1) if found[1] and found[2] else size - 1
    if start >= size:
        refused = _Refused(416, "The range is outside the file")
        refused.headers["Content-Range"] = f"bytes */{size}"
        raise refused
    return 206, content[start : end + 1], f"bytes {start}-{end}/{size}"


_API = r"/api/(?P<kind>models|datasets)/(?P<name>[^/]+(?:/[^/]+)?)"
_WEB = r"/(?P<kind>(?:datasets/)?)(?P<name>[^/]+/[^/]+)"
_REVISION = r"(?P<revision>[^/]+)"

_ROUTES: list[tuple[str, Callable[..., None]]] = [
    (r"/api/whoami-v2", _Handler._whoami),
    (r"/api/agent-harnesses", _Handler._harnesses),
    (r"/api/validate-yaml", _Handler._validate),
    (rf"{_API}/tree/{_REVISION}(?:/(?P<folder>.+))?", _Handler._tree),
    (rf"{_API}/paths-info/{_REVISION}", _Handler._paths_info),
    (rf"{_API}/refs", _Handler._refs),
    (rf"{_API}/preupload/{_REVISION}", _Handler._preupload),
    (rf"{_API}/commit/{_REVISION}", _Handler._make_commit),
    (rf"{_API}/discussions", _Handler._discussions),
    (rf"{_API}/discussions/(?P<number>\d+)", _Handler._discussion_details),
    (rf"{_API}(?:/revision/{_REVISION})?", _Handler._info),
    (rf"{_WEB}/resolve/{_REVISION}/(?P<path>.+)", _Handler._resolve),
    (rf"{_WEB}\.git/info/lfs/objects/batch", _Handler._lfs_batch),
    (r"/lfs/verify", _Handler._lfs_verify),
]
