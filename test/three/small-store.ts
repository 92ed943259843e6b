import { execFileSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import { closeSync, existsSync, fsyncSync, mkdirSync, openSync, readFileSync, writeSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer } from "node:https";
import { join } from "node:path";
import { buffer } from "node:stream/consumers";

/**
 * A small store that is real: ConfigMaps of one namespace, by the calls of the Kubernetes API that the Coordinator makes,
 * over TLS, with every change appended to a file and synced before it is answered. It stands in for etcd and kube-apiserver
 * where those are missing, and it is neither: it has one node, no RBAC, no admission, and its watch sends only that
 * something changed. A process of its own, so that it can be killed and paused:
 *
 *     node small-store.ts FOLDER ADDRESS PORT
 *
 * FOLDER has server.crt, server.key and token; the changes are in `changes`.
 */

interface Metadata {
  readonly name: string;
  readonly uid: string;
  readonly resourceVersion: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
}
interface ConfigMap {
  readonly metadata: Metadata;
  readonly binaryData?: Readonly<Record<string, string>>;
  readonly immutable?: boolean;
}
type Given = Partial<Omit<ConfigMap, "metadata">> & { readonly metadata?: Partial<Metadata> };
/** Undefined: it was removed. */
type Change = { readonly name: string; readonly object?: ConfigMap };

class Objects {
  readonly #objects = new Map<string, ConfigMap>();
  readonly #file: number;
  readonly #watchers = new Set<(change: Change) => void>();
  #revision = 0;

  constructor(path: string) {
    const text = existsSync(path) ? readFileSync(path, "utf8") : "";
    // What was not written to its end was never answered.
    for (const line of text.slice(0, text.lastIndexOf("\n") + 1).split("\n")) if (line !== "") this.#keep(parse(line));
    this.#file = openSync(path, "a");
    if (text !== "" && !text.endsWith("\n")) writeSync(this.#file, "\n");
  }

  get(name: string): ConfigMap | undefined {
    return this.#objects.get(name);
  }

  list(): ConfigMap[] {
    return [...this.#objects.values()].toSorted((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1));
  }

  put(name: string, { metadata, ...content }: Given, before: ConfigMap | undefined): ConfigMap {
    const resourceVersion = String(this.#revision + 1);
    const uid = before?.metadata.uid ?? randomUUID();
    const object = { ...content, metadata: { ...metadata, name, uid, resourceVersion } };
    this.#change({ name, object });
    return object;
  }

  remove(name: string): void {
    this.#change({ name });
  }

  watch(watcher: (change: Change) => void): () => void {
    this.#watchers.add(watcher);
    return () => this.#watchers.delete(watcher);
  }

  get revision(): string {
    return String(this.#revision);
  }

  #change(change: Change): void {
    writeSync(this.#file, `${JSON.stringify(change)}\n`);
    fsyncSync(this.#file);
    this.#keep(change);
    for (const watcher of this.#watchers) watcher(change);
  }

  #keep({ name, object }: Change): void {
    this.#revision++;
    if (object === undefined) this.#objects.delete(name);
    else this.#objects.set(name, object);
  }
}

function parse(line: string): Change {
  try {
    return JSON.parse(line) as Change;
  } catch {
    // Torn by a full disk; it was never answered.
    return { name: "" };
  }
}

class Failure extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

function answer(
  objects: Objects,
  method: string,
  name: string | undefined,
  query: URLSearchParams,
  body: Given,
): object {
  const before = name === undefined ? undefined : objects.get(name);
  if (method === "GET" && name === undefined) {
    const wanted = (query.get("labelSelector") ?? "").split(",").map((pair) => pair.split("="));
    const items = objects
      .list()
      .filter(({ metadata }) => wanted.every(([label = "", value]) => metadata.labels?.[label] === value))
      .map(({ metadata }) => ({ metadata }));
    return { kind: "List", metadata: { resourceVersion: objects.revision }, items };
  }
  if (method === "POST") {
    const created = body.metadata?.name ?? "";
    if (objects.get(created) !== undefined) throw new Failure(409, "it exists");
    return objects.put(created, body, undefined);
  }
  if (name === undefined || before === undefined) throw new Failure(404, "not found");
  const version = body.metadata?.resourceVersion;
  if (version !== undefined && version !== before.metadata.resourceVersion) throw new Failure(409, "it has changed");
  if (method === "GET") return before;
  if (method === "PUT") return objects.put(name, body, before);
  if (method === "PATCH") {
    const annotations = { ...before.metadata.annotations, ...body.metadata?.annotations };
    return objects.put(name, { ...before, metadata: { ...before.metadata, annotations } }, before);
  }
  const { preconditions } = body as { preconditions?: Partial<Metadata> };
  const { uid, resourceVersion } = preconditions ?? {};
  if (uid !== undefined && uid !== before.metadata.uid) throw new Failure(409, "it is another one");
  if (resourceVersion !== undefined && resourceVersion !== before.metadata.resourceVersion) {
    throw new Failure(409, "it has changed");
  }
  objects.remove(name);
  return { kind: "Status", status: "Success" };
}

async function handle(objects: Objects, token: string, request: IncomingMessage, response: ServerResponse) {
  const reply = (status: number, value: object): void => {
    response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(value));
  };
  try {
    if (request.headers.authorization !== `Bearer ${token}`) throw new Failure(401, "who is that?");
    const url = new URL(request.url ?? "", "https://store");
    const [, name] = /\/configmaps(?:\/([^/]+))?$/.exec(url.pathname) ?? [];
    const text = (await buffer(request)).toString();
    const body = (text === "" ? {} : JSON.parse(text)) as Given;
    if (url.searchParams.get("watch") === "1") {
      watch(objects, url.searchParams, response);
      return;
    }
    const made = answer(objects, request.method ?? "", name, url.searchParams, body);
    reply(request.method === "POST" ? 201 : 200, { kind: "ConfigMap", apiVersion: "v1", ...made });
  } catch (error) {
    const status = error instanceof Failure ? error.status : 500;
    reply(status, { kind: "Status", status: "Failure", code: status, message: String(error) });
  }
}

function watch(objects: Objects, query: URLSearchParams, response: ServerResponse): void {
  const [, name = ""] = (query.get("fieldSelector") ?? "").split("metadata.name=");
  response.writeHead(200, { "content-type": "application/json" });
  const send = (object: ConfigMap | undefined): void => {
    const type = object === undefined ? "DELETED" : "MODIFIED";
    response.write(`${JSON.stringify({ type, object: { metadata: object?.metadata ?? {} } })}\n`);
  };
  const present = objects.get(name);
  if (present?.metadata.resourceVersion !== query.get("resourceVersion")) send(present);
  const stop = objects.watch((change) => change.name === name && send(change.object));
  const timer = setTimeout(() => response.end(), Number(query.get("timeoutSeconds") ?? "60") * 1000);
  response.on("close", () => {
    clearTimeout(timer);
    stop();
  });
}

/** @returns the token that it wants */
export function prepareSmallStore(folder: string, address: string): string {
  mkdirSync(folder, { recursive: true });
  const token = randomUUID();
  const file = (name: string): string => join(folder, name);
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
  const names = ["-addext", `subjectAltName=IP:${address}`, "-days", "30", "-subj", "/CN=store"];
  const output = ["-keyout", file("server.key"), "-out", file("server.crt")];
  execFileSync("openssl", ["req", "-x509", ...key, ...names, ...output], { stdio: "pipe" });
  const handle = openSync(file("token"), "w", 0o600);
  writeSync(handle, token);
  closeSync(handle);
  return token;
}

if (import.meta.main) {
  const [folder = "", address = "", port = ""] = process.argv.slice(2);
  const objects = new Objects(join(folder, "data", "changes"));
  const token = readFileSync(join(folder, "token"), "utf8");
  const read = (name: string): string => readFileSync(join(folder, name), "utf8");
  createServer({ key: read("server.key"), cert: read("server.crt") }, (request, response) => {
    void handle(objects, token, request, response);
  }).listen(Number(port), address, () => process.stdout.write("ready\n"));
}
