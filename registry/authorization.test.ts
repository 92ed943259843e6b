import { expect, test } from "vitest";
import { Secret } from "../runtime/secret.ts";
import type { Credentials } from "./credentials.ts";
import { RESOLVED_CONFIG, makeImage } from "./test-image.ts";
import { password, problemOf, run } from "./test-resolve.ts";
import { type Handler, json, registryOfImage, startServer, status, type TestServer } from "./test-server.ts";

/** What is shown to whom: token services, Basic, redirects. */

const image = makeImage();
const PASSWORD = "correct horse battery staple";
const CREDENTIALS = password("alice", PASSWORD);
const BASIC = `Basic ${Buffer.from(`alice:${PASSWORD}`).toString("base64")}`;
const PULL = "scope=repository%3Aapp%3Apull";

/** A registry that answers only to one value of Authorization, and asks by this challenge. */
function guarded(
  accepted: string,
  challenge: () => string,
  handler: Handler = registryOfImage(image),
): Promise<TestServer> {
  return startServer((request, response) => {
    if (request.headers.authorization === accepted) handler(request, response);
    else response.writeHead(401, { "www-authenticate": challenge() }).end();
  });
}

function known(credentials: Credentials): { readonly credentials: () => Promise<Credentials> } {
  return { credentials: () => Promise.resolve(credentials) };
}

test("a token is fetched where the registry says, and shown from then on", async () => {
  const service = await startServer(json({ token: "t0ken", expires_in: 300 }));
  const registry = await guarded(
    "Bearer t0ken",
    () => `Bearer realm="http://${service.host}/token?a=b",service="hub, \\"the\\" one"`,
  );
  const { images } = await run([`${registry.host}/app:1`]);
  expect(images.get(`${registry.host}/app:1`)?.config).toEqual(RESOLVED_CONFIG);
  expect(service.requests).toEqual([`GET /token?a=b&${PULL}&service=hub%2C+%22the%22+one`]);
  expect(service.authorizations).toEqual([undefined]);
  expect(registry.authorizations).toEqual([undefined, "Bearer t0ken", "Bearer t0ken", "Bearer t0ken"]);
});

test("credentials are for the token service, and the registry sees only the token", async () => {
  const service = await startServer(json({ access_token: "t0ken" }));
  const registry = await guarded(
    "Bearer t0ken",
    () => `Basic realm="x", Bearer realm="http://${service.host}/",scope="aws"`,
  );
  const { images } = await run([`${registry.host}/app:1`], known(CREDENTIALS));
  expect(images.size).toBe(1);
  expect(service.requests).toEqual(["GET /?scope=aws"]);
  expect(service.authorizations).toEqual([BASIC]);
  expect(registry.authorizations).not.toContain(BASIC);
});

test("an identity token is exchanged by POST, and never part of a URL", async () => {
  let body = "";
  const service = await startServer((request, response) => {
    request.on("data", (chunk: Buffer) => (body += chunk.toString()));
    request.on("end", () => json({ access_token: "t0ken" })(request, response));
  });
  const registry = await guarded("Bearer t0ken", () => `Bearer realm="http://${service.host}/oauth",service="acr"`);
  const token = new Secret(Buffer.from("refresh&me"));
  const { images } = await run([`${registry.host}/app:1`], known({ kind: "identity-token", token }));
  expect(images.size).toBe(1);
  expect(service.requests).toEqual(["POST /oauth"]);
  expect(body).toBe(`${PULL}&service=acr&grant_type=refresh_token&client_id=contrast&refresh_token=refresh%26me`);
});

test("Basic is answered by user name and password, only after it was asked for", async () => {
  const registry = await guarded(BASIC, () => `basic realm="registry"`);
  const { images } = await run([`${registry.host}/app:1`], known(CREDENTIALS));
  expect(images.size).toBe(1);
  expect(registry.authorizations).toEqual([undefined, BASIC, BASIC, BASIC]);
});

test.each<[string, string, readonly Credentials[]]>([
  ["without credentials", "wants a user name and a password", []],
  ["with others", "status 401", [password("alice", "wrong")]],
])("an image that needs credentials is refused %s", async (_, got, credentials) => {
  const registry = await guarded(BASIC, () => `Basic realm="registry"`);
  const problem = await problemOf(`${registry.host}/app:1`, { credentials: () => Promise.resolve(credentials[0]) });
  expect(problem).toMatchObject({ kind: "denied", got: expect.stringContaining(got) as unknown });
  expect(registry.requests.length).toBeLessThanOrEqual(2);
});

test.each<[string, string, Handler]>([
  ["refuses", "denied", status(401)],
  ["is not there", "not_found", status(404)],
  ["is busy", "busy", status(503)],
  ["redirects", "invalid_answer", status(302, { location: "https://example.com/" })],
  ["sends no token", "invalid_answer", json({})],
  ["sends a token that is a header", "invalid_answer", json({ token: "t\r\nx: y" })],
  ["sends HTML", "invalid_answer", (_, response) => void response.end("<html>")],
])("a token service that %s is said to", async (_, kind, handler) => {
  const service = await startServer(handler);
  const registry = await guarded("Bearer t0ken", () => `Bearer realm="http://${service.host}/token"`);
  await expect(problemOf(`${registry.host}/app:1`)).resolves.toMatchObject({ kind });
});

test("a registry that never has enough is asked twice", async () => {
  const service = await startServer(json({ token: "t0ken" }));
  const registry = await guarded("never", () => `Bearer realm="http://${service.host}/token"`);
  await expect(problemOf(`${registry.host}/app:1`)).resolves.toMatchObject({ kind: "denied" });
  expect(registry.requests).toHaveLength(2);
  expect(service.requests).toHaveLength(1);
});

test.each([
  `Bearer service="x"`,
  `Bearer realm="/token"`,
  `Bearer realm="http://registry.example.com/token"`,
  `Bearer realm="http://127.0.0.1.example.com/token"`,
  `Bearer realm="ftp://127.0.0.1/token"`,
  `Bearer realm="https://user:password@127.0.0.1/token"`,
])("no token service is asked by %s", async (challenge) => {
  const registry = await guarded("never", () => challenge);
  const problem = await problemOf(`${registry.host}/app:1`, known(CREDENTIALS));
  expect(problem).toMatchObject({ kind: "invalid_answer", got: expect.stringContaining("token service") as unknown });
});

test("a redirect within the registry keeps the authorization", async () => {
  const registry = await guarded(
    BASIC,
    () => `Basic realm="registry"`,
    (request, response) => {
      const { url = "" } = request;
      if (url.startsWith("/mirror")) registryOfImage(image)(Object.assign(request, { url: url.slice(7) }), response);
      else status(308, { location: `/mirror${url}` })(request, response);
    },
  );
  const { images } = await run([`${registry.host}/app:1`], known(CREDENTIALS));
  expect(images.size).toBe(1);
});

test("a redirect to another origin does not take the authorization along, nor back", async () => {
  let registry: TestServer | undefined = undefined as TestServer | undefined;
  const blob = image.config;
  const cdn = await startServer((request, response) => {
    // To a path that the registry would answer to nobody but its user.
    if (request.url === "/back") status(302, { location: `http://${registry?.host}/private` })(request, response);
    else response.end(blob.bytes);
  });
  let target = `http://${cdn.host}/blob`;
  registry = await guarded(
    BASIC,
    () => `Basic realm="registry"`,
    (request, response) => {
      if (request.url?.includes("/blobs/")) status(307, { location: target })(request, response);
      else registryOfImage(image)(request, response);
    },
  );
  const { images } = await run([`${registry.host}/app:1`], known(CREDENTIALS));
  expect(images.size).toBe(1);
  expect(cdn.authorizations).toEqual([undefined]);

  target = `http://${cdn.host}/back`;
  const problem = await problemOf(`${registry.host}/app:1`, known(CREDENTIALS));
  expect(problem.kind).toBe("denied");
  expect([registry.requests.at(-1), registry.authorizations.at(-1)]).toEqual(["GET /private", undefined]);
});

test("where a registry leads to gets no credentials, however it asks", async () => {
  const thief = await startServer(status(401, { "www-authenticate": `Basic realm="x"` }));
  const registry = await startServer(
    registryOfImage(image, {
      [`GET blobs/${image.config.digest}`]: status(302, { location: `http://${thief.host}/` }),
    }),
  );
  const problem = await problemOf(`${registry.host}/app:1`, known(CREDENTIALS));
  expect(problem).toMatchObject({ kind: "denied", got: `status 401 from ${thief.host}` });
  expect(thief.authorizations).toEqual([undefined]);
});

test.each(["http://registry.example.com/", "file:///etc/passwd", "https://a:b@127.0.0.1/"])(
  "a redirect to %s is not followed",
  async (location) => {
    const { host } = await startServer(status(307, { location }));
    const problem = await problemOf(`${host}/app:1`);
    expect(problem).toMatchObject({ kind: "invalid_answer", got: `${host} redirects to where nobody follows` });
  },
);

test("no problem and no line of progress shows a secret", async () => {
  const secrets = [PASSWORD, BASIC.slice(6), "t0ken", "refresh-me"];
  const texts: string[] = [];
  for (const credentials of [
    CREDENTIALS,
    { kind: "identity-token", token: new Secret(Buffer.from("refresh-me")) } as const,
  ]) {
    for (const answer of [status(401), status(503), json({ token: "t0ken" }), json({ token: 5, other: "t0ken" })]) {
      const service = await startServer(answer);
      const registry = await guarded("never", () => `Bearer realm="http://${service.host}/token?x=1"`);
      const { problems, progress, warnings } = await run([`${registry.host}/app:1`], known(credentials));
      expect(problems.size).toBe(1);
      texts.push(JSON.stringify([[...problems], progress, warnings]));
    }
  }
  for (const secret of secrets) expect(texts.join()).not.toContain(secret);
});
