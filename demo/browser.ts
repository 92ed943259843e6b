import { request } from "node:https";

/** A client of the outside world: it knows one CA and nothing else of the mesh, and checks names as browsers do. */
export interface Browser {
  /** PEM, the only root. */
  readonly ca: string;
  /** A stolen identity, if it has one. */
  readonly key?: string;
  readonly cert?: string;
}

export interface Url {
  readonly address: string;
  readonly port: number;
  /** The name in the address bar; the address itself if absent. */
  readonly name?: string;
  readonly path: string;
}

/** @throws the error of TLS, whatever the server or the client refused */
export function get(browser: Browser, url: Url): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    const { name } = url;
    const outgoing = request(
      {
        ...browser,
        agent: false,
        host: url.address,
        port: url.port,
        path: url.path,
        timeout: 5000,
        headers: { host: name ?? url.address },
        ...(name === undefined ? {} : { servername: name }),
      },
      (response) => {
        const chunks: Buffer[] = [];
        response.on("data", (chunk: Buffer) => chunks.push(chunk));
        response.on("error", reject);
        response.on("end", () => {
          resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString() });
        });
      },
    );
    outgoing.on("timeout", () => outgoing.destroy(new Error("no answer in time")));
    outgoing.on("error", reject);
    outgoing.end();
  });
}
