import { quote } from "../runtime/fault.ts";
import { DIGEST_FORM, isDigest } from "./digest.ts";
import { ImageError } from "./problem.ts";

/**
 * Image references as Docker and containerd read them: the grammar of github.com/distribution/reference (reference.go,
 * regexp.go) and its rules for short names (normalize.go, ParseDockerRef).
 */

export interface ImageReference {
  /** `host` or `host:port` as it is written; `docker.io` where the reference names none. */
  readonly registry: string;
  readonly repository: string;
  /** `latest` where there is none. It says nothing where there is a digest. */
  readonly tag: string;
  readonly digest: string | undefined;
}

const HUB = "docker.io";
const MAX_REPOSITORY = 255;

const LABEL = "[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?";
const REGISTRY = new RegExp(String.raw`(?:${LABEL}(?:\.${LABEL})*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?`, "y");
const REGISTRY_FORM = "a registry, like registry.example.com:5000";
const PART = "[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*";
const REPOSITORY = new RegExp(`${PART}(?:/${PART})*`, "y");
const TAG = /[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}/y;

/** @throws ImageError malformed_reference, with the position */
export function parseReference(text: string): ImageReference {
  let at = 0;
  const refuse = (want: string): ImageError => malformed(text, at, want);
  const take = (pattern: RegExp, want: string): string => {
    pattern.lastIndex = at;
    const [taken] = pattern.exec(text) ?? [];
    if (taken === undefined) throw refuse(want);
    at += taken.length;
    return taken;
  };

  if (/^[0-9a-f]{64}$/.test(text)) throw refuse("a name, not the id of an image");
  const registry = namesRegistry(text) ? take(REGISTRY, REGISTRY_FORM) : undefined;
  // A port too large, a number that is no address.
  if (!URL.canParse(`https://${registry ?? HUB}/`)) throw malformed(text, 0, REGISTRY_FORM);
  if (registry !== undefined) take(/\//y, "the / after the registry");
  const path = take(REPOSITORY, "a repository: lower-case letters, digits, and . _ - between them");
  if (path.length > MAX_REPOSITORY) throw refuse(`a repository of at most ${MAX_REPOSITORY} characters`);
  let tag = "latest";
  const hasTag = text[at] === ":";
  if (hasTag) {
    at++;
    tag = take(TAG, "a tag: up to 128 letters, digits, and _ . - not at its start");
  }
  let digest: string | undefined;
  if (text[at] === "@") {
    at++;
    digest = text.slice(at);
    if (!isDigest(digest)) throw refuse(DIGEST_FORM);
  } else if (at < text.length) {
    throw refuse(hasTag ? "@DIGEST, or the end" : "a repository, then :TAG or @DIGEST");
  }

  const host = registry === undefined || registry === "index.docker.io" ? HUB : registry;
  return { registry: host, repository: host === HUB && !path.includes("/") ? `library/${path}` : path, tag, digest };
}

/** The full name, the same for all spellings of a reference: `docker.io/library/nginx:latest`. */
export function fullName({ registry, repository, tag, digest }: ImageReference): string {
  return `${registry}/${repository}${digest === undefined ? `:${tag}` : `@${digest}`}`;
}

/**
 * Pins a well-formed reference as it is spelt: `nginx:1.25` becomes `nginx:1.25@sha256:…`. One that has a digest stays:
 * it can't have resolved to another.
 */
export function withDigest(reference: string, digest: string): string {
  return reference.includes("@") ? reference : `${reference}@${digest}`;
}

/** `nginx/web` is a repository of Docker Hub; what looks like a host before the first slash is one. */
function namesRegistry(text: string): boolean {
  const slash = text.indexOf("/");
  if (slash === -1) return false;
  const first = text.slice(0, slash);
  return first === "localhost" || /[.:A-Z]/.test(first);
}

function malformed(text: string, at: number, want: string): ImageError {
  const what =
    at < text.length ? `${quote(String.fromCodePoint(text.codePointAt(at) ?? 0))} at character ${at + 1}` : "its end";
  return new ImageError("malformed_reference", `${what} of ${quote(text)}`, want, "correct the image's name");
}
