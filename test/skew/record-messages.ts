import { type DescMessage, type DescMethodUnary, type MessageInitShape, create, toBinary } from "@bufbuild/protobuf";
import { constants, createHash, generateKeyPairSync, privateDecrypt } from "node:crypto";
import { once } from "node:events";
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { type AddressInfo, connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createServer, type TLSSocket } from "node:tls";
import { ClientHelloSchema } from "../../api/channel_pb.ts";
import { MeshAPI } from "../../api/meshapi_pb.ts";
import { UserAPI } from "../../api/userapi_pb.ts";
import { openSimulatedAttester, SIMULATED_MEASUREMENT } from "../../attestation/simulated/attester.ts";
import { openOrCreateVendor } from "../../attestation/simulated/vendor.ts";
import { toHex } from "../../bytes/encode.ts";
import { ChannelClient } from "../../channel/client.ts";
import { proveClientKey } from "../../channel/client-key.ts";
import { writeMessage } from "../../channel/framing.ts";
import { ALPN, exporterOf, selfSigned, startTls } from "../../channel/tls.ts";
import { type KeyPair, keyPairOf, privateKeyPem, spki, spkiDigest } from "../../pki/keys.ts";
import { keyDigestOf, leaveFor } from "../owner-leave.ts";
import { startProgram } from "../programs.ts";

/**
 * Records what a Coordinator of this checkout keeps and says, and what its clients say. test/skew/record.ts runs it inside the
 * sources of the previous release, so that every byte is that release's.
 *
 *     node test/skew/record-messages.ts <folder>
 */

const [folder = ""] = process.argv.slice(2);
const ADDRESS = "127.47.9.1";
const work = mkdtempSync(join(tmpdir(), "record-messages-"));
mkdirSync(join(folder, "messages"), { recursive: true });
mkdirSync(join(folder, "keys"), { recursive: true });

const save = (name: string, bytes: Uint8Array): void => writeFileSync(join(folder, "messages", `${name}.bin`), bytes);

async function recorded<I extends DescMessage, O extends DescMessage>(
  client: ChannelClient<unknown>,
  name: string,
  method: DescMethodUnary<I, O>,
  request: MessageInitShape<I>,
) {
  save(`${name}.request`, toBinary(method.input, create(method.input, request)));
  const answer = await client.call(method, request, new Date(Date.now() + 20_000));
  save(`${name}.response`, toBinary(method.output, answer));
  return answer;
}

/** The one message of the exchange that comes first, without its length. */
async function readFrame(socket: TLSSocket): Promise<Buffer> {
  let seen = Buffer.alloc(0);
  while (seen.length < 4 || seen.length < 4 + seen.readUInt32BE()) {
    const [piece] = (await once(socket, "data")) as [Buffer];
    seen = Buffer.concat([seen, piece]);
  }
  return seen.subarray(4, 4 + seen.readUInt32BE());
}

/** What a client says first. */
async function recordClientHello(name: string, keys: KeyPair, vm?: string): Promise<void> {
  const identity = await selfSigned(
    keyPairOf(generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey),
    new Date(),
  );
  const trap = createServer({ ...identity, ALPNProtocols: [ALPN] });
  trap.listen(0, ADDRESS);
  await once(trap, "listening");
  const hello = once(trap, "secureConnection").then(([socket]) => readFrame(socket as TLSSocket));
  const target = `${ADDRESS}:${(trap.address() as AddressInfo).port}`;
  const attester = vm === undefined ? undefined : await openSimulatedAttester(join(work, vm));
  const client = new ChannelClient({
    target,
    keys,
    attester,
    appraiseServer: async () => undefined,
    handshakeMs: 5000,
  });
  const failed = client.call(UserAPI.method.getManifests, {}, new Date(Date.now() + 5000)).catch(() => undefined);
  save(name, await hello);
  client.close();
  trap.close();
  await failed;
}

/** What a Coordinator answers, to a client that proves its key or not. */
async function recordServerHello(name: string, port: number, keys: KeyPair): Promise<void> {
  const socket = connect(port, ADDRESS);
  await once(socket, "connect");
  const tls = await startTls(socket, AbortSignal.timeout(5000));
  const hello = { wantsServerEvidence: true, ...proveClientKey(keys, exporterOf(tls)) };
  await writeMessage(tls, ClientHelloSchema, create(ClientHelloSchema, hello));
  save(name, await readFrame(tls));
  tls.destroy();
}

async function main(): Promise<void> {
  const policies = ["the Coordinator's policy", "the policy of a pod"].map((text) => Buffer.from(text));
  const digests = policies.map((policy) => createHash("sha256").update(policy).digest());
  const vendor = await openOrCreateVendor(join(work, "vendor"), new Date());
  for (const [index, name] of ["coordinator", "pod"].entries()) {
    await vendor.launch(join(work, name), { hostData: digests[index] ?? Buffer.alloc(32) });
    cpSync(join(work, name), join(folder, "tee", name), { recursive: true });
  }
  const owner = keyPairOf(generateKeyPairSync("ec", { namedCurve: "P-384" }).privateKey);
  const seedshareOwner = keyPairOf(generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey);
  writeFileSync(join(folder, "keys/workload-owner.pem"), privateKeyPem(owner.privateKey));
  writeFileSync(join(folder, "keys/seedshare-owner.pem"), privateKeyPem(seedshareOwner.privateKey));

  const manifestOf = (name: string): Buffer =>
    Buffer.from(
      JSON.stringify({
        Policies: {
          [digests[0]?.toString("hex") ?? ""]: { SANs: [], Role: "coordinator" },
          [digests[1]?.toString("hex") ?? ""]: { SANs: [name], WorkloadSecretID: name },
        },
        ReferenceValues: { insecure: [{ RootDigest: vendor.rootDigest, TrustedMeasurement: SIMULATED_MEASUREMENT }] },
        WorkloadOwnerKeyDigests: [toHex(spkiDigest(owner.publicKey))],
        SeedshareOwnerPubKeys: [toHex(spki(seedshareOwner.publicKey))],
      }),
    );
  const state = join(work, "state");
  const start = () =>
    startProgram(["coordinator/main.ts"], {
      CONTRAST_TEE: "simulated",
      CONTRAST_ALLOW_INSECURE: "1",
      CONTRAST_SIMULATED_TEE_DIR: join(work, "coordinator"),
      CONTRAST_STATE_DIR: state,
      CONTRAST_LISTEN_ADDRESS: ADDRESS,
    });
  const user = (keys: KeyPair): ChannelClient<unknown> =>
    new ChannelClient({ target: `${ADDRESS}:1313`, keys, handshakeMs: 10_000 });

  let coordinator = start();
  await coordinator.line("ready");
  const client = user(owner);
  const first = await recorded(client, "first-set", UserAPI.method.setManifest, {
    manifest: manifestOf("web"),
    policies,
  });
  const manifest = manifestOf("www");
  const leave = await leaveFor(client, owner, manifest);
  const second = await recorded(client, "second-set", UserAPI.method.setManifest, { manifest, policies, ...leave });
  await recorded(client, "get-manifests", UserAPI.method.getManifests, {});
  client.close();
  await recordClientHello("client-hello.cli", owner);
  await recordClientHello("client-hello.initializer", owner, "pod");
  await recordServerHello("server-hello.accepted", 1313, owner);
  await recordServerHello("server-hello.rejected", 7777, owner);

  const pod = new ChannelClient({
    target: `${ADDRESS}:7777`,
    keys: keyPairOf(generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey),
    attester: await openSimulatedAttester(join(work, "pod")),
    handshakeMs: 10_000,
  });
  await recorded(pod, "new-mesh-cert", MeshAPI.method.newMeshCert, {});
  pod.close();

  coordinator.child.kill("SIGTERM");
  await coordinator.exited;
  cpSync(state, join(folder, "state"), { recursive: true, filter: (path) => !/\/(lock|endorsements)$/.test(path) });

  coordinator = start();
  await coordinator.line("ready");
  const encrypted = first.seedShares?.shares[0]?.encryptedSeed ?? Buffer.alloc(0);
  const padding = constants.RSA_PKCS1_OAEP_PADDING;
  const key = { key: seedshareOwner.privateKey, padding, oaepHash: "sha256", oaepLabel: Buffer.from("seedshare") };
  const recovering = user(seedshareOwner);
  await recorded(recovering, "recover", UserAPI.method.recover, {
    seed: privateDecrypt(key, encrypted),
    salt: first.seedShares?.salt ?? Buffer.alloc(0),
    pinnedTransition: second.latestTransition,
    pinnedRootKey: keyDigestOf(first.rootCaCert),
  });
  recovering.close();
  coordinator.child.kill("SIGTERM");
  await coordinator.exited;
  rmSync(work, { recursive: true });
}

await main();
