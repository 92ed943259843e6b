import type { Secret } from "../runtime/secret.ts";
import { parseChallenges } from "./challenge.ts";
import type { CredentialSource } from "./credentials.ts";
import { isDigest } from "./digest.ts";
import type { Answer } from "./exchange.ts";
import { isLoopback, mayLeadTo } from "./loopback.ts";
import { MANIFEST_TYPES, refuseType } from "./manifest.ts";
import { ImageError } from "./problem.ts";
import { unexpectedStatus } from "./status.ts";
import { authorize } from "./token.ts";
import type { Transport } from "./transport.ts";

/**
 * One registry, by the OCI Distribution Specification 1.1 ("Pull"). Nothing that it says is trusted: whoever asks by a
 * digest compares the bytes with it.
 */
export interface RegistryOptions {
  readonly transport: Transport;
  readonly credentials: CredentialSource;
}

/** 4 MiB is what registries accept as a manifest ("Pushing Manifests"). */
const MAX_MANIFEST = 4 * 1024 * 1024;
const MAX_REDIRECTS = 5;
const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);

interface Request {
  readonly method: "GET" | "HEAD";
  readonly repository: string;
  /** Below the repository. */
  readonly path: string;
  readonly accept: string;
  readonly most: number;
}

export class Registry {
  readonly #host: string;
  readonly #base: URL;
  readonly #options: RegistryOptions;
  /** By repository: what was accepted there before. */
  readonly #authorizations = new Map<string, Secret>();

  /** @param host as in ImageReference */
  constructor(host: string, options: RegistryOptions) {
    this.#host = host;
    const secure = new URL(`https://${host === "docker.io" ? "registry-1.docker.io" : host}/`);
    this.#base = isLoopback(secure) ? new URL(`http://${host}/`) : secure;
    this.#options = options;
  }

  /** What a tag stands for, which only the registry can know. Undefined where it does not say; then look at the bytes. */
  async digestOf(repository: string, tag: string): Promise<string | undefined> {
    const answer = await this.#ask(manifestQuestion("HEAD", repository, tag));
    const digest = answer.headers["docker-content-digest"];
    return typeof digest === "string" && isDigest(digest) ? digest : undefined;
  }

  /** @param name a tag or a digest */
  async manifest(repository: string, name: string): Promise<Buffer> {
    const { headers, body } = await this.#ask(manifestQuestion("GET", repository, name));
    refuseType(headers["content-type"] ?? "", this.#host);
    return body;
  }

  /** @param most bytes */
  async blob(repository: string, digest: string, most: number): Promise<Buffer> {
    const { body } = await this.#ask({ method: "GET", repository, path: `blobs/${digest}`, accept: "*/*", most });
    return body;
  }

  async #ask(question: Request): Promise<Answer> {
    const { repository } = question;
    let { answer, url, isAtHome } = await this.#follow(question, this.#authorizations.get(repository));
    // Only the registry itself may ask for credentials, not where it leads us.
    if (answer.status === 401 && isAtHome) {
      const { credentials, transport } = this.#options;
      const challenges = parseChallenges(answer.headers["www-authenticate"] ?? "");
      const known = await credentials(this.#host, repository);
      const authorization = await authorize(challenges, this.#base, repository, known, transport);
      this.#authorizations.set(repository, authorization);
      ({ answer, url } = await this.#follow(question, authorization));
    }
    if (answer.status !== 200) throw unexpectedStatus(url, answer.status);
    return answer;
  }

  async #follow(
    { method, repository, path, accept, most }: Request,
    authorization: Secret | undefined,
  ): Promise<{ readonly answer: Answer; readonly url: URL; readonly isAtHome: boolean }> {
    let url = new URL(`v2/${repository}/${path}`, this.#base);
    let isAtHome = true;
    for (let redirects = 0; redirects <= MAX_REDIRECTS; redirects++) {
      // Whoever was led elsewhere has nothing to show any more, also on the way back.
      isAtHome &&= url.origin === this.#base.origin;
      const shown = isAtHome && authorization !== undefined ? { authorization: authorization.reveal().toString() } : {};
      const answer = await this.#options.transport.send({ method, url, headers: { accept, ...shown }, most });
      if (!REDIRECTS.has(answer.status)) return { answer, url, isAtHome };
      const { location } = answer.headers;
      const next = location === undefined ? null : URL.parse(location, url);
      if (next === null || !mayLeadTo(next, this.#base)) {
        throw ImageError.invalid(`${url.host} redirects to where nobody follows`, "a redirect to an https URL");
      }
      url = next;
    }
    throw ImageError.invalid(`${this.#base.host} redirects more than ${MAX_REDIRECTS} times`, "an answer");
  }
}

function manifestQuestion(method: "GET" | "HEAD", repository: string, name: string): Request {
  return { method, repository, path: `manifests/${name}`, accept: MANIFEST_TYPES.join(", "), most: MAX_MANIFEST };
}
