import { z } from "zod/mini";
import { AttestAnswer, AttestRequest, Capabilities, HistoryAnswer, Problem } from "../../api/http/answers.ts";
import { PERMIT_HEADER } from "../../api/http/permit.ts";
import { SetAnswer, SetRequest } from "../../api/http/set.ts";
import { VERSION } from "../../runtime/version.ts";
import { PATHS, type Operation, type Path } from "./router.ts";

/**
 * The OpenAPI document of the HTTP API (OpenAPI 3.1, whose schemas are those of JSON Schema 2020-12): of the schemas that
 * answers are checked by, and the paths that are served. Tests compare it with what the server answers.
 */

const SCHEMAS = { AttestRequest, AttestAnswer, HistoryAnswer, SetRequest, SetAnswer, Capabilities, Problem } as const;

interface Described {
  readonly summary: string;
  readonly request?: keyof typeof SCHEMAS;
  /** Of status 200: its media type, and its schema; undefined: the bytes that have the digest. */
  readonly answer: readonly [type: string, schema: keyof typeof SCHEMAS | undefined];
  /** Whether a header says why the body should be read. */
  readonly permit?: true;
  /** Beside those that every path has. */
  readonly statuses: readonly number[];
}

/** Of every operation: no request, another expectation, too much at once. */
const EVERYWHERE = [400, 417, 429] as const;

const DOCUMENT = { answer: ["application/json", undefined], statuses: [304, 404, 503] } as const;

const OPERATIONS: Readonly<Record<Operation, Described>> = {
  attest: {
    summary: "Evidence that was made after the nonce, and what it is bound to.",
    request: "AttestRequest",
    answer: ["application/json", "AttestAnswer"],
    statuses: [408, 413, 415, 503],
  },
  history: {
    summary: "The transitions that an answer to `attest` names by digest.",
    answer: ["application/json", "HistoryAnswer"],
    statuses: [503],
  },
  manifests: { summary: "A manifest of the history in force, byte for byte.", ...DOCUMENT },
  policies: {
    summary: "The initdata document with the policy of a pod, byte for byte.",
    ...DOCUMENT,
    answer: ["application/toml", undefined],
  },
  annexes: { summary: "An annex of the history in force, byte for byte.", ...DOCUMENT },
  set: {
    summary: "Makes a change of the manifest that workload owners have signed, or leaves it pending for more of them.",
    request: "SetRequest",
    answer: ["application/json", "SetAnswer"],
    permit: true,
    statuses: [403, 408, 409, 411, 413, 415, 503],
  },
  capabilities: {
    summary: "What this Coordinator is, and whether it can attest. Nobody vouches for it.",
    answer: ["application/json", "Capabilities"],
    statuses: [503],
  },
  openapi: { summary: "This document.", answer: ["application/json", undefined], statuses: [] },
};

const MEANINGS: Readonly<Record<number, string>> = {
  200: "what was asked for",
  204: "which methods a page of another origin may use",
  304: "the bytes are those that the client has",
  400: "malformed_request; of a change invalid_manifest, policy_mismatch and others",
  403: "permit_missing, channel_required, or the change lacks the leave of owners: bad_signature, not_owner and others",
  404: "unknown_digest: the history in force names no such document",
  408: "request_too_slow",
  409: "conflict: something else came into force",
  411: "length_required",
  413: "request_too_large: the body was not read; of a change history_too_large, too_many_pending",
  415: "unsupported_media_type",
  417: "unsupported_expectation",
  429: "too_many_requests: after Retry-After there may be room",
  503: "not now: no_manifest, needs_recovery, stale_state, history_forked, state_changed, or no evidence can be had",
};

export function openApiDocument(): Record<string, unknown> {
  return {
    openapi: "3.1.0",
    jsonSchemaDialect: "https://json-schema.org/draft/2020-12/schema",
    info: {
      title: "HTTP attestation API of the Coordinator",
      version: VERSION,
      description:
        "What a deployment enforces, and which keys it has. It does not prove who is at the other end of the HTTP connection.",
      license: { name: "Apache-2.0", identifier: "Apache-2.0" },
    },
    paths: Object.fromEntries((Object.keys(PATHS) as Path[]).map((path) => [path, pathItem(path)])),
    components: {
      schemas: Object.fromEntries(Object.entries(SCHEMAS).map(([name, schema]) => [name, schemaOf(schema)])),
    },
  };
}

function pathItem(path: Path): Record<string, unknown> {
  const { method, operation } = PATHS[path];
  const { summary, request, answer, permit, statuses } = OPERATIONS[operation];
  const own = [200, ...EVERYWHERE, ...statuses].map((status) => [status, responseOf(status, answer)] as const);
  const responses = { ...Object.fromEntries(own), default: { description: "a fault", content: PROBLEM } };
  const digest = { type: "string", pattern: "^[0-9a-f]{64}$" };
  return {
    ...(path.includes("{digest}")
      ? { parameters: [{ name: "digest", in: "path", required: true, description: "SHA-256", schema: digest }] }
      : {}),
    [method.toLowerCase()]: {
      operationId: operation,
      summary,
      ...(permit === undefined ? {} : { parameters: [PERMIT] }),
      ...(request === undefined
        ? {}
        : { requestBody: { required: true, content: { "application/json": { schema: ref(request) } } } }),
      responses,
    },
    options: {
      operationId: `${operation}Options`,
      summary: "What a browser asks before a page of another origin may ask.",
      responses: { 204: { description: MEANINGS[204] } },
    },
  };
}

function responseOf(status: number, [type, schema]: Described["answer"]): Record<string, unknown> {
  const description = MEANINGS[status];
  if (status === 304) return { description };
  if (status === 200) return { description, content: { [type]: schema === undefined ? {} : { schema: ref(schema) } } };
  const retry = { "Retry-After": { schema: { type: "integer", minimum: 1 }, description: "seconds" } };
  return { description, ...(status === 429 || status === 503 ? { headers: retry } : {}), content: PROBLEM };
}

const PROBLEM = { "application/problem+json": { schema: ref("Problem") } } as const;

const PERMIT = {
  name: PERMIT_HEADER,
  in: "header",
  required: true,
  description:
    "SHA-256 of the manifest in hexadecimal, then key and signature of one of the owners who signed in base64, with spaces between",
  schema: { type: "string", pattern: "^[0-9a-f]{64} [A-Za-z0-9+/]+=* [A-Za-z0-9+/]+=*$" },
} as const;

function ref(name: keyof typeof SCHEMAS): { readonly $ref: string } {
  return { $ref: `#/components/schemas/${name}` };
}

function schemaOf(schema: z.core.$ZodType): unknown {
  const { $schema: _dialect, ...rest } = z.toJSONSchema(schema, { target: "draft-2020-12", io: "input" });
  return rest;
}
