import { create } from "@bufbuild/protobuf";
import type { KeyObject } from "node:crypto";
import type { TLSSocket } from "node:tls";
import { ClientHelloSchema, ServerHelloSchema } from "../api/channel_pb.ts";
import type { Attester, Evidence } from "../attestation/evidence.ts";
import { channelReportData } from "../attestation/report-data.ts";
import { ChannelError } from "./error.ts";
import { fromWire, toWire } from "./evidence-wire.ts";
import { type KeyPair, spkiDigest } from "../pki/keys.ts";
import { proveClientKey, verifyClientKey } from "./client-key.ts";
import { readMessage, writeMessage } from "./framing.ts";
import { chooseProtocol, type Protocols, PROTOCOLS, requireProtocol } from "./protocol.ts";
import { fromRejected, toRejected } from "./rejection.ts";
import { exporterOf, peerAddress, serverKeyOf, type TlsIdentity } from "./tls.ts";
import { whileConnected } from "./while-connected.ts";

/**
 * The one exchange of evidence after the TLS handshake (docs/design.md §4). Evidence binds the exporter of this
 * connection and the key of the one who shows it, so that it is worth nothing on any other connection or in the other
 * direction.
 */

/** What a peer shows, not verified yet. */
export interface Claimant {
  /** Address and port that it connected from, or was connected to. */
  readonly address: string;
  /** A server's is that of its TLS certificate, a client's that of its hello; that it holds the private half is proven. */
  readonly publicKey: KeyObject;
  /** Absent where the peer did not show any. */
  readonly evidence: Evidence | undefined;
  /** What REPORTDATA must be in evidence that was made for this connection by this peer: 64 bytes. */
  readonly reportData: Uint8Array;
}

/**
 * Decides about a peer: gives what it is from now on, or throws the refusal. `abandoned` fires, at a server, when the
 * peer no longer waits for the decision.
 */
export type Appraiser<P> = (claimant: Claimant, abandoned?: AbortSignal) => Promise<P>;

/** How a server meets its peers. */
export interface Reception<P> {
  readonly identity: TlsIdentity;
  readonly attester: Attester;
  readonly appraise: Appraiser<P>;
  /** How long a hello may be, in bytes. */
  readonly helloBytes: number;
  /** Waits until it is this peer's turn to be appraised. Until then nothing that it says is verified. */
  readonly awaitTurn: () => Promise<void>;
  /** This version's, where left out. */
  readonly protocols?: Protocols | undefined;
}

/** The server's side. A refusal is told to the client before it is thrown. */
export async function answerExchange<P>(socket: TLSSocket, reception: Reception<P>): Promise<P> {
  const { identity, attester, appraise, awaitTurn } = reception;
  try {
    const exporter = exporterOf(socket);
    const hello = await readMessage(socket, ClientHelloSchema, reception.helloBytes);
    const protocol = chooseProtocol(hello, reception.protocols);
    await awaitTurn();
    const [clientKey, signature] = [Buffer.from(hello.publicKey), Buffer.from(hello.signature)];
    const publicKey = verifyClientKey({ publicKey: clientKey, signature }, exporter);
    const claimant = {
      address: peerAddress(socket),
      publicKey,
      evidence: fromWire(hello.evidence),
      reportData: channelReportData("client", exporter, spkiDigest(publicKey)),
    };
    const { peer, evidence } = await whileConnected(socket, async (abandoned) => ({
      peer: await appraise(claimant, abandoned),
      evidence: hello.wantsServerEvidence
        ? toWire(await attester.collect(channelReportData("server", exporter, identity.keyDigest)))
        : undefined,
    }));
    const accepted = {
      case: "accepted",
      value: { protocol, ...(evidence === undefined ? {} : { evidence }) },
    } as const;
    await writeMessage(socket, ServerHelloSchema, create(ServerHelloSchema, { answer: accepted }));
    return peer;
  } catch (error) {
    const rejected = { case: "rejected", value: toRejected(error) } as const;
    await writeMessage(socket, ServerHelloSchema, create(ServerHelloSchema, { answer: rejected })).catch(
      () => undefined,
    );
    throw error;
  }
}

export interface Offer<P> {
  /** Shows evidence, if this side is a confidential VM that has to prove it. */
  readonly attester?: Attester | undefined;
  /** Asks for the server's evidence and decides about it. */
  readonly appraiseServer?: Appraiser<P> | undefined;
  /** This version's, where left out. */
  readonly protocols?: Protocols | undefined;
}

/**
 * The client's side.
 *
 * @param keys who the client is
 * @returns what `appraiseServer` made of the server; undefined where the server was not asked
 * @throws RemoteError where the server refuses
 */
export async function startExchange<P>(socket: TLSSocket, keys: KeyPair, offer: Offer<P>): Promise<P | undefined> {
  const exporter = exporterOf(socket);
  const serverKey = serverKeyOf(socket);
  const { protocols = PROTOCOLS } = offer;
  const evidence = await offer.attester?.collect(channelReportData("client", exporter, spkiDigest(keys.publicKey)));
  const hello = create(ClientHelloSchema, {
    ...(evidence === undefined ? {} : { evidence: toWire(evidence) }),
    wantsServerEvidence: offer.appraiseServer !== undefined,
    protocol: protocols.newest,
    oldestProtocol: protocols.oldest,
    ...proveClientKey(keys, exporter),
  });
  await writeMessage(socket, ClientHelloSchema, hello);
  const { answer } = await readMessage(socket, ServerHelloSchema);
  if (answer.case === "rejected") throw fromRejected(answer.value);
  if (answer.case === undefined) {
    throw new ChannelError("malformed_message", "the server neither accepted nor refused", { where: "ServerHello" });
  }
  requireProtocol(answer.value.protocol, protocols);
  return offer.appraiseServer?.({
    address: peerAddress(socket),
    publicKey: serverKey,
    evidence: fromWire(answer.value.evidence),
    reportData: channelReportData("server", exporter, spkiDigest(serverKey)),
  });
}
