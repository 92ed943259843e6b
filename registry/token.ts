import { z } from "zod";
import { Secret } from "../runtime/secret.ts";
import type { Challenge } from "./challenge.ts";
import type { Credentials } from "./credentials.ts";
import type { Answer } from "./exchange.ts";
import { parseJson } from "./json.ts";
import { mayLeadTo } from "./loopback.ts";
import { ImageError } from "./problem.ts";
import { denied, unexpectedStatus } from "./status.ts";
import type { Transport } from "./transport.ts";

/**
 * What a registry accepts in the header Authorization, from its challenge: Basic (RFC 7617), or a token that a token
 * service gives out for it (distribution.github.io/distribution/spec/auth/token, and /oauth for identity tokens).
 *
 * Credentials go to the realm that the registry itself names, over TLS, and nowhere else. That is what they are for; a
 * hostile registry can have them sent wherever it wants, but they are its own.
 */

/** Tokens of Azure and AWS have some kilobytes. */
const MAX_TOKEN_ANSWER = 256 * 1024;

const TOKEN_ANSWER = z.object({ token: z.string().optional(), access_token: z.string().optional() });

/**
 * @param base of the registry that asks
 * @returns the header's value
 * @throws ImageError
 */
export async function authorize(
  challenges: readonly Challenge[],
  base: URL,
  repository: string,
  credentials: Credentials | undefined,
  transport: Transport,
): Promise<Secret> {
  const bearer = challenges.find(({ scheme }) => scheme === "bearer");
  if (bearer !== undefined) return fetchToken(bearer, base, repository, credentials, transport);
  if (!challenges.some(({ scheme }) => scheme === "basic")) {
    throw ImageError.invalid(
      `${base.host} answers status 401 and asks for nothing known`,
      "a challenge Bearer or Basic",
    );
  }
  if (credentials?.kind !== "password") throw denied(`${base.host} wants a user name and a password`);
  return new Secret(Buffer.from(basic(credentials)));
}

async function fetchToken(
  { parameters }: Challenge,
  base: URL,
  repository: string,
  credentials: Credentials | undefined,
  transport: Transport,
): Promise<Secret> {
  const realm = URL.parse(parameters.get("realm") ?? "");
  if (realm === null || !mayLeadTo(realm, base)) {
    throw ImageError.invalid(`${base.host} names a token service that is not asked`, "an https URL as realm");
  }
  const query = new URLSearchParams({ scope: parameters.get("scope") ?? `repository:${repository}:pull` });
  const service = parameters.get("service");
  if (service !== undefined) query.set("service", service);

  let answer: Answer;
  if (credentials?.kind === "identity-token") {
    query.set("grant_type", "refresh_token");
    query.set("client_id", "contrast");
    query.set("refresh_token", credentials.token.reveal().toString());
    const headers = { "content-type": "application/x-www-form-urlencoded" };
    const question = { method: "POST", url: realm, headers, body: query.toString(), most: MAX_TOKEN_ANSWER } as const;
    answer = await transport.send(question);
  } else {
    for (const [name, value] of query) realm.searchParams.set(name, value);
    const headers = credentials === undefined ? {} : { authorization: basic(credentials) };
    answer = await transport.send({ method: "GET", url: realm, headers, most: MAX_TOKEN_ANSWER });
  }
  if (answer.status === 400 || answer.status === 401 || answer.status === 403) {
    throw denied(`the token service ${realm.host} answers status ${answer.status}`);
  }
  if (answer.status !== 200) throw unexpectedStatus(realm, answer.status);
  const { token, access_token } = parseJson(answer.body, TOKEN_ANSWER, `the token of ${realm.host}`);
  const value = token || access_token || "";
  // Nothing but a token goes into a header.
  if (!/^[\x21-\x7e]+$/.test(value)) throw ImageError.invalid(`no token from ${realm.host}`, "a token");
  return new Secret(Buffer.from(`Bearer ${value}`));
}

function basic({ username, password }: Credentials & { readonly kind: "password" }): string {
  return `Basic ${Buffer.concat([Buffer.from(`${username}:`), password.reveal()]).toString("base64")}`;
}
