import { createPrivateKey } from "node:crypto";
import { readdirSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { type AddressInfo, connect as dial, createServer } from "node:net";
import { once } from "node:events";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { UserAPI } from "../api/userapi_pb.ts";
import { ChannelClient } from "../channel/client.ts";
import { attestedHistory } from "../manifest/attested-history.ts";
import { Guest, lacksForGuests, makeGuestImage } from "../initializer/volume/test-guest.ts";
import { type Annex, EMPTY_ANNEX, encodeAnnex, parseAnnex } from "../manifest/annex.ts";
import { type KeyPair, keyPairOf } from "../pki/keys.ts";
import { createCliDeployment } from "./cli-deployment.ts";
import { signAmendment } from "./owner-leave.ts";

/** The Initializer in a guest, and the Coordinator on the host: from the first start of a pod to a wiped disk. */

const ADDRESS = "127.45.30.1";
const lacks = lacksForGuests();
const label = (what: string): string => (lacks === undefined ? what : `${what}: ${lacks}`);
const DISK = 64 * 2 ** 20;

const deployment = createCliDeployment(ADDRESS);
/** QEMU's network leads to 127.0.0.1 alone. */
const way = createServer((socket) => {
  const there = dial(7777, ADDRESS);
  socket.pipe(there).pipe(socket);
  for (const end of [socket, there]) end.on("error", () => void [socket.destroy(), there.destroy()]);
});

let guest: Guest | undefined;
let owner: KeyPair;
let id = "";

afterAll(async () => {
  await guest?.kill();
  way.close();
  await deployment.remove();
});

const later = (): Date => new Date(Date.now() + 20_000);

async function asOwner<T>(use: (client: ChannelClient<unknown>) => Promise<T>): Promise<T> {
  const client = new ChannelClient({ target: `${ADDRESS}:1313`, keys: owner, handshakeMs: 10_000 });
  try {
    return await use(client);
  } finally {
    client.close();
  }
}

async function annexInForce(): Promise<Annex> {
  const answer = await asOwner((client) => client.call(UserAPI.method.getManifests, {}, later()));
  const bytes = attestedHistory(answer).steps.at(-1)?.annex;
  return bytes === undefined ? EMPTY_ANNEX : parseAnnex(bytes);
}

async function allowFormat(volume: string): Promise<void> {
  const volumes = new Map([[id, new Map([[volume, { allowed: 1, used: 0 }]])]]);
  const annex = encodeAnnex({ ...(await annexInForce()), volumes });
  const request = await asOwner((client) => signAmendment(client, owner, annex));
  await asOwner((client) => client.call(UserAPI.method.amend, request, later()));
}

function teeFiles(): Record<string, Buffer> {
  const folder = deployment.file("simulated-tee/web");
  return Object.fromEntries(readdirSync(folder).map((name) => [`tee/${name}`, readFileSync(`${folder}/${name}`)]));
}

describe.skipIf(lacks !== undefined)(label("an encrypted volume"), { timeout: 300_000 }, () => {
  beforeAll(async () => {
    expect((await deployment.generate()).code).toBe(0);
    await deployment.startCoordinator("state");
    expect((await deployment.contrast("set")).code).toBe(0);
    owner = keyPairOf(createPrivateKey(deployment.read("workload-owner.pem")));
    const { Policies } = JSON.parse(deployment.read("manifest.json")) as {
      Policies: Record<string, { WorkloadSecretID?: string; SANs: string[] }>;
    };
    id = Object.values(Policies).find(({ SANs }) => SANs.includes("web"))?.WorkloadSecretID ?? "";
    way.listen(0, "127.0.0.1");
    await once(way, "listening");
  }, 60_000);

  test("waits for an owner's leave, uses it up, and a wiped disk is not formatted again", async () => {
    const disk = deployment.file("disk");
    writeFileSync(disk, "");
    truncateSync(disk, DISK);
    const image = await makeGuestImage(deployment.file("."), teeFiles());
    const running = await Guest.start({ ...image, disks: [disk], folder: deployment.file(".") });
    guest = running;
    const variables = {
      COORDINATOR_HOST: `10.0.2.2:${(way.address() as AddressInfo).port}`,
      CONTRAST_TEE: "simulated",
      CONTRAST_ALLOW_INSECURE: "1",
      CONTRAST_SIMULATED_TEE_DIR: "/tee",
      CONTRAST_TLS_CONFIG_DIR: "/run/tls-config",
      CONTRAST_VOLUME_NAME: "data",
      CONTRAST_VOLUME_DEVICE: "/dev/vdb",
    };
    for (const [name, value] of Object.entries(variables)) await running.sh(`export ${name}=${value}`);
    const initializer = "node /opt/contrast/initializer.mjs";
    const enrolled = await running.sh(`${initializer} 2>&1; ls /run/tls-config`, 150_000);
    expect(enrolled.text).toContain("workload-secret-seed");

    await running.sh(`(${initializer} volume >/run/log 2>&1; echo $? >/run/code) &`);
    const waitFor = (text: string) =>
      running.sh(
        `until busybox grep -q '${text}' /run/log || [ -e /run/code ]; do busybox sleep 0.2; done; cat /run/log`,
      );
    expect((await waitFor("waiting")).text).toContain('"code":"volume_not_formatted"');
    await allowFormat("data");
    expect((await waitFor("is formatted and mounted")).text).toContain("the volume is formatted and mounted");
    expect((await annexInForce()).volumes.get(id)?.get("data")).toEqual({ allowed: 1, used: 1 });
    const stopped = await running.sh(
      "busybox killall node; until [ -e /run/code ]; do busybox sleep 0.2; done; cat /run/log /run/code",
    );
    expect(stopped.text).toMatch(/the volume is closed.*\n0$/);

    // The host wipes it.
    truncateSync(disk, 0);
    truncateSync(disk, DISK);
    const refused = await running.sh(`CONTRAST_TIMEOUT=1s ${initializer} volume 2>&1`);
    expect(refused.text).toContain("volume_not_formatted: the disk is empty, and no owner allows to format it");
    expect(refused.code).toBe(3);
    expect(readFileSync(disk).every((byte) => byte === 0)).toBe(true);
  });
});
