import { isIP } from "node:net";
import { checkServerIdentity, connect as tlsConnect, type PeerCertificate, type TLSSocket } from "node:tls";
import { Agent, type buildConnector, Dispatcher, fetch as undiciFetch, type RequestInit, type Response } from "undici";
import { followDeployment, type VerifiedDeployment } from "./verifier.ts";

/**
 * `fetch` into a deployment that was verified, for Node. A connection is used where the other side has a certificate of this
 * mesh CA for the name that was asked for; no other CA counts, not the system's, nor the root CA of the deployment, under which
 * every mesh CA of before could speak. After a `set` the workloads have certificates of another mesh CA: that one is trusted
 * once the deployment has attested itself anew, with a history that continues the known one.
 */
export interface MeshFetchOptions {
  /** What the client shows, PEM: its chain and its key. Asked for at every connection, for certificates are renewed. */
  readonly client?: (() => { readonly certChain: string; readonly key: string }) | undefined;
  /** The name that certificates have to have, in the place of the host of the URL. */
  readonly serverName?: string | undefined;
  /** Until a connection is there, and for the verification of a new mesh CA, each; in milliseconds. Default: 10,000. */
  readonly connectTimeoutMs?: number | undefined;
  /**
   * After this time a new connection waits until the deployment is verified again, in milliseconds. Without it, that is done only
   * when a certificate is not of the known mesh CA: a workload that owners took out of the deployment is believed till then.
   */
  readonly maxAgeMs?: number | undefined;
  /** Told what the deployment is, each time that it is another than before. */
  readonly onFollow?: ((verified: VerifiedDeployment) => void) | undefined;
}

export interface MeshFetch {
  (url: string | URL, init?: RequestInit): Promise<Response>;
  /** For undici, or whatever takes its dispatchers. */
  readonly dispatcher: Dispatcher;
  /** What is trusted at this moment. */
  readonly verified: () => VerifiedDeployment;
  /** Verifies the deployment again. @throws VerifyRefusal */
  readonly follow: () => Promise<VerifiedDeployment>;
  /** Ends connections once their requests are answered. */
  readonly close: () => Promise<void>;
}

/** @param verified what `verifyDeployment` returned */
export function meshFetch(verified: VerifiedDeployment, options: MeshFetchOptions = {}): MeshFetch {
  const trust = new Trust(verified, options);
  const dispatcher = new MeshDispatcher(trust, options);
  const fetch = (url: string | URL, init: RequestInit = {}): Promise<Response> =>
    undiciFetch(url, { ...init, dispatcher });
  return Object.assign(fetch, {
    dispatcher,
    verified: () => trust.verified,
    follow: () => trust.follow(),
    close: () => dispatcher.close(),
  });
}

const CONNECT_MS = 10_000;

/** After a verification that made nothing new trusted: whoever shows wrong certificates must not have it repeated at will. */
const QUIET_MS = 5000;

/** What is trusted, and how it becomes something else. */
class Trust {
  readonly #options: MeshFetchOptions;
  readonly #listeners = new Set<() => void>();
  #verified: VerifiedDeployment;
  #following: Promise<VerifiedDeployment> | undefined;
  #isQuiet = false;
  #isOld = false;
  #age: NodeJS.Timeout | undefined;

  constructor(verified: VerifiedDeployment, options: MeshFetchOptions) {
    this.#options = options;
    this.#verified = verified;
    this.#begin();
  }

  get verified(): VerifiedDeployment {
    return this.#verified;
  }

  /** @param listener is told when another mesh CA is trusted */
  onChange(listener: () => void): void {
    this.#listeners.add(listener);
  }

  /** What a new connection is made with. @throws VerifyRefusal where it is too old, and can't be verified again */
  async current(): Promise<VerifiedDeployment> {
    return this.#isOld ? this.follow() : this.#verified;
  }

  /** One verification for all who ask. @throws VerifyRefusal */
  follow(): Promise<VerifiedDeployment> {
    this.#following ??= this.#follow().finally(() => {
      this.#following = undefined;
    });
    return this.#following;
  }

  /**
   * The same for who saw a certificate of another mesh CA than this one.
   *
   * @returns undefined where it was done just now, and there is no other
   * @throws VerifyRefusal
   */
  async followFrom(meshCa: string): Promise<VerifiedDeployment | undefined> {
    if (this.#verified.meshCa.pem === meshCa) {
      if (this.#isQuiet && this.#following === undefined) return undefined;
      this.#isQuiet = true;
      setTimeout(() => (this.#isQuiet = false), QUIET_MS).unref();
      await this.follow();
    }
    return this.#verified.meshCa.pem === meshCa ? undefined : this.#verified;
  }

  async #follow(): Promise<VerifiedDeployment> {
    const { onFollow, connectTimeoutMs = CONNECT_MS } = this.#options;
    const before = this.#verified;
    const after = await followDeployment(before, { signal: AbortSignal.timeout(connectTimeoutMs) });
    this.#verified = after;
    this.#begin();
    const isAnother = after.meshCa.pem !== before.meshCa.pem;
    if (isAnother) for (const listener of this.#listeners) listener();
    if (isAnother || after.transition !== before.transition) onFollow?.(after);
    return after;
  }

  #begin(): void {
    const { maxAgeMs } = this.#options;
    this.#isOld = false;
    clearTimeout(this.#age);
    if (maxAgeMs !== undefined) this.#age = setTimeout(() => (this.#isOld = true), maxAgeMs).unref();
  }
}

/** Connections of one mesh CA: with another one, new requests take new connections. */
class MeshDispatcher extends Dispatcher {
  readonly #connect: buildConnector.connector;
  #agent: Agent;

  constructor(trust: Trust, options: MeshFetchOptions) {
    super();
    this.#connect = connectorOf(trust, options);
    this.#agent = new Agent({ connect: this.#connect });
    trust.onChange(() => {
      const before = this.#agent;
      this.#agent = new Agent({ connect: this.#connect });
      // What is under way is answered; nothing else goes there.
      void before.close();
    });
  }

  override dispatch(options: Agent.DispatchOptions, handler: Dispatcher.DispatchHandler): boolean {
    return this.#agent.dispatch(options, handler);
  }

  override async close(): Promise<void> {
    await this.#agent.close();
  }

  override async destroy(): Promise<void> {
    await this.#agent.destroy();
  }
}

function connectorOf(trust: Trust, options: MeshFetchOptions): buildConnector.connector {
  return ({ protocol, hostname, port }, callback) => {
    const open = async (): Promise<TLSSocket> => {
      if (protocol !== "https:")
        throw new TypeError(`${protocol}//${hostname} has no TLS, so nothing says who answers`);
      const { meshCa } = await trust.current();
      const target = { host: hostname.replace(/^\[(.*)\]$/, "$1"), port: Number(port || 443) };
      try {
        return await connectTls(target, meshCa.pem, options);
      } catch (error) {
        const after = isOfAnotherCa(error) ? await trust.followFrom(meshCa.pem) : undefined;
        if (after === undefined) throw error;
        return connectTls(target, after.meshCa.pem, options);
      }
    };
    open().then(
      (socket) => callback(null, socket),
      (error: unknown) => callback(error instanceof Error ? error : new Error(String(error)), null),
    );
  };
}

interface Target {
  readonly host: string;
  readonly port: number;
}

function connectTls(
  { host, port }: Target,
  meshCa: string,
  { client, serverName = host, connectTimeoutMs = CONNECT_MS }: MeshFetchOptions,
): Promise<TLSSocket> {
  const { certChain, key } = client?.() ?? {};
  return new Promise((resolve, reject) => {
    const socket = tlsConnect({
      host,
      port,
      ca: meshCa,
      ...(certChain === undefined ? {} : { cert: certChain, key }),
      minVersion: "TLSv1.3",
      ALPNProtocols: ["http/1.1"],
      // Whatever NODE_TLS_REJECT_UNAUTHORIZED says.
      rejectUnauthorized: true,
      // The host of the URL, and not the header `Host`, which callers may set to what others say.
      ...(isIP(serverName) === 0 ? { servername: serverName } : {}),
      checkServerIdentity: (_, certificate) => faultOfName(serverName, certificate),
    });
    const late = setTimeout(
      () => socket.destroy(new Error(`no connection to ${host}:${port} in time`)),
      connectTimeoutMs,
    );
    socket.setNoDelay(true);
    socket.once("secureConnect", () => {
      clearTimeout(late);
      socket.off("error", reject);
      resolve(socket);
    });
    socket.once("error", reject);
    socket.once("close", () => {
      clearTimeout(late);
      reject(new Error(`${host}:${port} ended the connection`));
    });
  });
}

/** Node falls back to the common name, which is no name of the mesh: it is a workload's that has no other. */
function faultOfName(name: string, certificate: PeerCertificate): Error | undefined {
  if (certificate.subjectaltname === undefined) return new Error(`the certificate has no name, and not ${name}`);
  return checkServerIdentity(name, certificate);
}

/** What OpenSSL says of a chain that does not end in the CA it was given. */
const OTHER_CA: ReadonlySet<unknown> = new Set([
  "CERT_SIGNATURE_FAILURE",
  "DEPTH_ZERO_SELF_SIGNED_CERT",
  "SELF_SIGNED_CERT_IN_CHAIN",
  "UNABLE_TO_GET_ISSUER_CERT",
  "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
  "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
]);

function isOfAnotherCa(error: unknown): boolean {
  return error instanceof Error && "code" in error && OTHER_CA.has(error.code);
}
