import type { ServerResponse } from "node:http";
import { gzipSync } from "node:zlib";
import { expect, test } from "vitest";
import type { EndorsementCode } from "./error.ts";
import { httpGet, MAX_BODY } from "./fetch.ts";
import { answerWith, startService, type TestNetwork, testNetwork, type TestService } from "./test-service.ts";

const NOW = new Date("2026-06-01T00:00:00Z");

async function serve(
  ...answers: readonly ((response: ServerResponse) => void)[]
): Promise<{
  readonly service: TestService;
  readonly network: TestNetwork;
  readonly get: (deadline?: number) => Promise<string>;
}> {
  const service = await startService();
  const network = testNetwork(NOW);
  let count = 0;
  service.answers.set("crl", (response) => answers[Math.min(count++, answers.length - 1)]?.(response));
  // What is about no deadline has time, whatever else the machine does.
  const get = async (deadline = 10_000): Promise<string> => {
    const { body } = await httpGet(new URL("crl", service.url), network, { deadline });
    return body.toString();
  };
  return { service, network, get };
}

function status(code: number, headers: Readonly<Record<string, string>> = {}): (response: ServerResponse) => void {
  return (response) => response.writeHead(code, headers).end("try later");
}

function refusal(code: EndorsementCode, got: string): unknown {
  return expect.objectContaining({ name: "EndorsementError", code, got: expect.stringContaining(got) as unknown });
}

test("a service that is busy is asked again, after a while", async () => {
  const { service, network, get } = await serve(status(503), status(429), answerWith("list"));
  await expect(get()).resolves.toBe("list");
  expect(service.requests).toHaveLength(3);
  expect(network.slept).toEqual([375, 750]);
});

test("a service that stays busy is not asked for ever", async () => {
  const { service, get } = await serve(status(503));
  await expect(get()).rejects.toEqual(refusal("vendor_unreachable", "status 503 at try 3"));
  expect(service.requests).toHaveLength(3);
});

test.each([
  ["seconds", "7"],
  ["a date", "Mon, 01 Jun 2026 00:00:07 GMT"],
])("Retry-After in %s is waited for", async (_, text) => {
  const { network, get } = await serve(status(429, { "retry-after": text }), answerWith("list"));
  await expect(get()).resolves.toBe("list");
  expect(network.slept).toEqual([7375]);
});

test("a Retry-After that nobody waits for ends it", async () => {
  const { service, network, get } = await serve(status(429, { "retry-after": "31" }), answerWith("list"));
  await expect(get()).rejects.toEqual(refusal("vendor_unreachable", "status 429 at try 1"));
  expect(service.requests).toHaveLength(1);
  expect(network.slept).toEqual([]);
});

test("what the service does not have is not asked for again, and the error names it", async () => {
  const { service, get } = await serve(status(404));
  await expect(get()).rejects.toEqual(refusal("vendor_refused", "status 404"));
  await expect(get()).rejects.toEqual(expect.objectContaining({ where: new URL("crl", service.url).href }));
  expect(service.requests).toHaveLength(2);
});

test.each([301, 302, 307, 308])("a redirect, %s, is refused and not followed", async (code) => {
  const other = await startService();
  other.answers.set("crl", answerWith("list"));
  const { get } = await serve(status(code, { location: new URL("crl", other.url).href }));
  await expect(get()).rejects.toEqual(refusal("vendor_refused", `status ${code}`));
  expect(other.requests).toEqual([]);
});

test.each<[string, (response: ServerResponse) => void]>([
  ["does not answer", () => undefined],
  ["sends the head only", (response) => response.writeHead(200).flushHeaders()],
  ["stops in the middle", (response) => void response.writeHead(200).write("li")],
])("a service that %s is given up at the deadline", async (_, hang) => {
  const { service, get } = await serve(hang);
  await expect(get(200)).rejects.toEqual(refusal("vendor_unreachable", "no complete answer in 200 ms at try 3"));
  expect(service.requests).toHaveLength(3);
});

test("a body that ends early is fetched again", async () => {
  const cut = (response: ServerResponse): void => {
    response.writeHead(200, { "content-length": "100" }).write("li", () => response.destroy());
  };
  const { get } = await serve(cut, answerWith("list"));
  await expect(get()).resolves.toBe("list");
});

test("a service that is not there is named with the system's reason", async () => {
  const { service, get } = await serve(answerWith("list"));
  await service.close();
  await expect(get()).rejects.toEqual(refusal("vendor_unreachable", "ECONNREFUSED"));
});

test("a body is taken up to the limit and not a byte further, compressed or not", async () => {
  const [most, more] = [Buffer.alloc(MAX_BODY), Buffer.alloc(MAX_BODY + 1)];
  const gzip = { "content-encoding": "gzip" };
  for (const answer of [answerWith(most), answerWith(gzipSync(most), gzip)]) {
    const { get } = await serve(answer);
    await expect(get()).resolves.toHaveLength(MAX_BODY);
  }
  for (const answer of [answerWith(more), answerWith(gzipSync(more), gzip)]) {
    const { service, get } = await serve(answer);
    await expect(get()).rejects.toEqual(refusal("malformed_endorsement", `more than ${MAX_BODY} bytes`));
    expect(service.requests).toHaveLength(1);
  }
});

test("a body without an end is cut off", async () => {
  let closed: Promise<unknown> = Promise.resolve();
  const { get } = await serve((response) => {
    closed = new Promise((resolve) => response.once("close", resolve));
    const pour = (): void => {
      while (!response.destroyed && response.write(Buffer.alloc(65_536)));
    };
    response.on("drain", pour);
    pour();
  });
  await expect(get()).rejects.toEqual(refusal("malformed_endorsement", `more than ${MAX_BODY} bytes`));
  await closed;
});
