import { Refusal } from "../../api/refusal.ts";
import { type ApiAnswer, type ApiClient, ApiError, type ApiRequest, messageOf } from "../../kubernetes/api/client.ts";
import { quote } from "../../runtime/fault.ts";
import { type ConfigMap, type Metadata, type NewObject, parseConfigMapOf, parseList, TOUCHED } from "./objects.ts";

/** The ConfigMaps of a namespace. What the API server says is turned into objects or refusals here. */

type Verb = "get" | "list" | "watch" | "create" | "update" | "patch" | "delete";

export interface ConfigMapsOptions {
  readonly client: ApiClient;
  readonly namespace: string;
  readonly random: (length: number) => Buffer;
  readonly sleep: (ms: number) => Promise<unknown>;
}

/** How often a call is made that may be made twice. */
const ATTEMPTS = 3;
const FIRST_PAUSE_MS = 200;
/** Longer than this nobody waits for here: who asked is told when to come again. */
const LONGEST_PAUSE_MS = 2000;

const METADATA_ONLY = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
const METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
const PAGE = 500;
const MOST_PAGES = 400;

/** Which object has to be there for a removal; both change when it is written again. */
export type Precondition = Pick<Metadata, "uid"> & Partial<Pick<Metadata, "resourceVersion">>;

export class ConfigMaps {
  readonly #options: ConfigMapsOptions;
  readonly #base: string;

  constructor(options: ConfigMapsOptions) {
    this.#options = options;
    this.#base = `/api/v1/namespaces/${options.namespace}/configmaps`;
  }

  /** @returns undefined: there is none @throws Refusal `state_unavailable`, `state_forbidden`, `damaged_state` */
  async get(name: string): Promise<ConfigMap | undefined> {
    const answer = await this.#call("get", name, { method: "GET", path: `${this.#base}/${name}` });
    if (answer.status === 404) return undefined;
    return understand("get", name, answer, (body) => parseConfigMapOf(name, body));
  }

  /** @returns false: there is one of this name */
  async create(object: NewObject): Promise<boolean> {
    const { name } = object.metadata;
    const answer = await this.#call("create", name, { method: "POST", path: this.#base, body: object });
    if (answer.status === 409) return false;
    understand("create", name, answer, (body) => parseConfigMapOf(name, body));
    return true;
  }

  /**
   * Sent once: it is for who calls to find out what became of it.
   *
   * @returns `replaced`; `conflict`: the object has another resourceVersion; `missing`; `unknown`: no answer, or one that
   *   does not say whether it was done, with the refusal to give then
   */
  async replace(object: NewObject): Promise<"replaced" | "conflict" | "missing" | { readonly unknown: Refusal }> {
    const { name } = object.metadata;
    try {
      const request = { method: "PUT", path: `${this.#base}/${name}`, body: object } as const;
      const answer = await this.#call("update", name, request, 1);
      if (answer.status === 409) return "conflict";
      if (answer.status === 404) return "missing";
      understand("update", name, answer, (body) => parseConfigMapOf(name, body));
      return "replaced";
    } catch (error) {
      if (error instanceof Refusal && error.code === "state_unavailable") return { unknown: error };
      throw error;
    }
  }

  /** Gives the object another resourceVersion. @returns undefined: there is none */
  async touch(name: string): Promise<ConfigMap | undefined> {
    const answer = await this.#patch(name, undefined);
    return answer === undefined ? undefined : understand("patch", name, answer, (body) => parseConfigMapOf(name, body));
  }

  /**
   * The same, if it has this one.
   *
   * @returns whether it had
   */
  async touchIf(name: string, resourceVersion: string): Promise<boolean> {
    const answer = await this.#patch(name, METADATA_ONLY, resourceVersion);
    if (answer === undefined || answer.status === 409) return false;
    understand("patch", name, answer, (body) => body);
    return true;
  }

  /** The same, without its contents in the answer. @returns false: there is none */
  async touchUnread(name: string): Promise<boolean> {
    const answer = await this.#patch(name, METADATA_ONLY);
    if (answer === undefined) return false;
    understand("patch", name, answer, (body) => body);
    return true;
  }

  /** @returns whether it was there, and was this one */
  async remove(name: string, precondition: Precondition): Promise<boolean> {
    const body = { apiVersion: "v1", kind: "DeleteOptions", preconditions: precondition };
    const answer = await this.#call("delete", name, { method: "DELETE", path: `${this.#base}/${name}`, body });
    if (answer.status === 404 || answer.status === 409) return false;
    understand("delete", name, answer, (parsed) => parsed);
    return true;
  }

  /** Metadata of all objects with these labels. A list that takes so long that its start is forgotten begins anew. */
  async list(selector: string): Promise<Metadata[]> {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const found = await this.#listOnce(selector);
      if (found !== undefined) return found;
    }
    throw unavailable("list", undefined, "410, again and again");
  }

  /**
   * What happens to one object from now on, until it ends: with the answer's end, or by the signal. It begins with the
   * object as it is: from no revision, as one can be forgotten before it is asked for.
   *
   * @param onEvent is waited for; the events say no more than that something happened
   */
  async watch(name: string, signal: AbortSignal, onEvent: () => Promise<void>): Promise<void> {
    const query = new URLSearchParams({
      watch: "1",
      fieldSelector: `metadata.name=${name}`,
      timeoutSeconds: String(WATCH_SECONDS),
    });
    // A connection can be gone without a word; the server ends every watch, so silence beyond its time is such a case.
    const limit = AbortSignal.any([signal, AbortSignal.timeout((WATCH_SECONDS + 5) * 1000)]);
    const answer = await this.#answer("watch", name, () =>
      this.#options.client.stream(`${this.#base}?${query.toString()}`, limit, async (line) => {
        const { type, object } = (line ?? {}) as { type?: unknown; object?: { code?: unknown } };
        if (type !== "ERROR") return onEvent();
        throw unavailable("watch", name, `an event of an error, ${quote(String(object?.code))}`);
      }),
    );
    understand("watch", name, answer, () => undefined);
  }

  async #listOnce(selector: string): Promise<Metadata[] | undefined> {
    const found: Metadata[] = [];
    let token = "";
    for (let pages = 0; pages < MOST_PAGES; pages++) {
      const query = new URLSearchParams({ labelSelector: selector, limit: String(PAGE) });
      if (token !== "") query.set("continue", token);
      const request = { method: "GET", path: `${this.#base}?${query.toString()}`, accept: METADATA_LIST } as const;
      const answer = await this.#call("list", undefined, request);
      if (answer.status === 410) return undefined;
      const page = understand("list", undefined, answer, parseList);
      found.push(...(page.items ?? []).map(({ metadata }) => metadata));
      token = page.metadata.continue ?? "";
      if (token === "") return found;
    }
    throw unavailable("list", undefined, `more than ${MOST_PAGES} pages`);
  }

  /** @returns undefined: there is no such object */
  async #patch(name: string, accept: string | undefined, resourceVersion?: string): Promise<ApiAnswer | undefined> {
    const touched = this.#options.random(8).toString("hex");
    const body = { metadata: { annotations: { [TOUCHED]: touched }, ...(resourceVersion && { resourceVersion }) } };
    const request = { method: "PATCH", path: `${this.#base}/${name}`, body, ...(accept && { accept }) } as const;
    // A touch with a condition that was carried out without an answer would fail the second time.
    const answer = await this.#call("patch", name, request, resourceVersion === undefined ? ATTEMPTS : 1);
    return answer.status === 404 ? undefined : answer;
  }

  async #call(verb: Verb, name: string | undefined, request: ApiRequest, attempts = ATTEMPTS): Promise<ApiAnswer> {
    for (let attempt = 1; ; attempt++) {
      let failure: Refusal;
      try {
        const answer = await this.#answer(verb, name, () => this.#options.client.call(request));
        if (answer.status !== 429 && answer.status < 500) return answer;
        failure = unavailable(verb, name, describe(answer), answer.retryAfterMs);
      } catch (error) {
        if (!(error instanceof Refusal) || error.code !== "state_unavailable") throw error;
        failure = error;
      }
      const pause = failure.retryAfterMs ?? this.#jitter(FIRST_PAUSE_MS * 2 ** attempt);
      if (attempt >= attempts || pause > LONGEST_PAUSE_MS) throw failure;
      await this.#options.sleep(pause);
    }
  }

  /** @throws Refusal in place of an ApiError */
  async #answer(verb: Verb, name: string | undefined, ask: () => Promise<ApiAnswer>): Promise<ApiAnswer> {
    try {
      return await ask();
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (error.kind === "no_account") throw forbidden(verb, name, error.message, error);
      throw unavailable(verb, name, error.message, undefined, error);
    }
  }

  /** From a half to the whole of it. */
  #jitter(ms: number): number {
    return ms * (0.5 + this.#options.random(1).readUInt8() / 510);
  }
}

/** How long the API server is asked to keep a watch, in seconds. */
const WATCH_SECONDS = 30;

/** @throws Refusal where the answer is not a success, or is not what was asked for */
function understand<T>(verb: Verb, name: string | undefined, answer: ApiAnswer, parse: (body: unknown) => T): T {
  const { status } = answer;
  if (status >= 200 && status < 300) {
    try {
      return parse(answer.body);
    } catch (cause) {
      throw unavailable(verb, name, "an answer that is not what the API of Kubernetes gives", undefined, cause);
    }
  }
  const got = describe(answer);
  // These are no rights that are missing, and a Role doesn't help.
  const isLimit = /exceeded quota|being terminated/.test(messageOf(answer));
  if (status === 401 || (status === 403 && !isLimit)) throw forbidden(verb, name, got);
  if (verb === "get" || verb === "list" || verb === "watch") throw unavailable(verb, name, got);
  throw new Refusal("state_not_written", "the Kubernetes API refuses to write the state, so it stays as it was", {
    where: placeOf(verb, name),
    got,
    hint: "look at the namespace: whether it is there to stay, its quota, its admission webhooks",
  });
}

function unavailable(
  verb: Verb,
  name: string | undefined,
  got: string,
  retryAfterMs?: number,
  cause?: unknown,
): Refusal {
  return new Refusal("state_unavailable", "the Kubernetes API, which has the state, does not give an answer", {
    where: placeOf(verb, name),
    got,
    hint: "it is tried again; look at the API server, and at network policies between it and the Coordinator",
    cause,
    ...(retryAfterMs !== undefined && { retryAfterMs }),
  });
}

function forbidden(verb: Verb, name: string | undefined, got: string, cause?: unknown): Refusal {
  return new Refusal("state_forbidden", "the Coordinator's service account may not do this on the Kubernetes API", {
    where: placeOf(verb, name),
    got,
    want: `the right to ${verb} configmaps in its namespace`,
    hint: "kubectl apply -f coordinator.yml, and give the pod its ServiceAccount as serviceAccountName",
    cause,
  });
}

function placeOf(verb: Verb, name: string | undefined): string {
  return `${verb} configmaps${name === undefined ? "" : `/${name}`}`;
}

function describe(answer: ApiAnswer): string {
  const message = messageOf(answer);
  return message === "" ? String(answer.status) : `${answer.status} ${quote(message)}`;
}
