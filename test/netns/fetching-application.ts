import { createServer } from "node:http";

/**
 * An application with server-side request forgery: fetches whatever URL it is asked for.
 * Usage: node fetching-application.ts HOST PORT
 */
const [host, port] = process.argv.slice(2);
const PATIENCE_MS = 1_500;
const server = createServer((request, response) => {
  void (async () => {
    const url = new URL(request.url ?? "", "http://app").searchParams.get("url") ?? "";
    try {
      const got = await fetch(url, { signal: AbortSignal.timeout(PATIENCE_MS) });
      response.writeHead(got.status).end(Buffer.from(await got.arrayBuffer()));
    } catch (error) {
      const { name, cause } = error as Error;
      response.writeHead(502).end(cause instanceof Error && "code" in cause ? String(cause.code) : name);
    }
  })();
});
server.listen(Number(port), host, () => process.stderr.write(`${JSON.stringify({ msg: "listening" })}\n`));
