import { createHash } from "node:crypto";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { UserAPI } from "../api/userapi_pb.ts";
import type { IdBlock } from "../attestation/simulated/identity.ts";
import { openOrCreateVendor, type SimulatedVendor } from "../attestation/simulated/vendor.ts";
import { ChannelClient } from "../channel/client.ts";
import { generateEcKey } from "../pki/keys.ts";
import { type Program, startProgram } from "./programs.ts";

/** Coordinator and Initializer as the programs they are, under a manifest that trusts a signer and no measurement. */

const ADDRESS = "127.87.3.1";
const policies = { coordinator: Buffer.from("the Coordinator's policy"), web: Buffer.from("web's policy") };
const sha256 = (bytes: Buffer): Buffer => createHash("sha256").update(bytes).digest();

const SIGNED = {
  idKeyDigest: Buffer.alloc(48, 0x1d),
  authorKeyDigest: Buffer.alloc(48, 0xa0),
  familyId: Buffer.alloc(16, 0xfa),
  imageId: Buffer.alloc(16, 0x1a),
};

let directory: string;
let vendor: SimulatedVendor;
const running: Program[] = [];

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "signed-image-test-"));
  vendor = await openOrCreateVendor(join(directory, "vendor"), new Date());
  await launch("coordinator", { ...SIGNED, guestSvn: 6 });
  start(["coordinator/main.ts"], "coordinator", {
    CONTRAST_STATE_DIR: join(directory, "state"),
    CONTRAST_LISTEN_ADDRESS: ADDRESS,
  });
  await running[0]?.line("ready");
  await setManifest();
}, 60_000);

afterEach(async () => {
  for (const program of running.splice(1)) await stop(program);
});

afterAll(async () => {
  for (const program of running) await stop(program);
  rmSync(directory, { recursive: true });
});

async function stop({ child, exited }: Program): Promise<void> {
  child.kill("SIGKILL");
  await exited;
}

async function launch(vm: keyof typeof policies, idBlock?: IdBlock): Promise<void> {
  await vendor.launch(join(directory, vm), { hostData: sha256(policies[vm]), ...(idBlock && { idBlock }) });
}

function start(args: string[], vm: keyof typeof policies, environment: Record<string, string>): Program {
  const program = startProgram(args, {
    CONTRAST_TEE: "simulated",
    CONTRAST_ALLOW_INSECURE: "1",
    CONTRAST_SIMULATED_TEE_DIR: join(directory, vm),
    ...environment,
  });
  running.push(program);
  return program;
}

async function setManifest(): Promise<void> {
  const key = (name: keyof typeof SIGNED): string => SIGNED[name].toString("hex");
  const document = {
    Policies: {
      [sha256(policies.coordinator).toString("hex")]: { SANs: [], Role: "coordinator" },
      [sha256(policies.web).toString("hex")]: { SANs: ["web"] },
    },
    ReferenceValues: {
      insecure: [
        {
          RootDigest: vendor.rootDigest,
          AuthorKeyDigest: key("authorKeyDigest"),
          FamilyID: key("familyId"),
          ImageID: key("imageId"),
          MinimumGuestSVN: 6,
        },
      ],
    },
    WorkloadOwnerKeyDigests: [],
    SeedshareOwnerPubKeys: [],
  };
  const keys = await generateEcKey("P-384");
  const client = new ChannelClient({ target: `${ADDRESS}:1313`, keys, handshakeMs: 5000 });
  try {
    const request = { manifest: Buffer.from(JSON.stringify(document)), policies: Object.values(policies) };
    await client.call(UserAPI.method.setManifest, request, new Date(Date.now() + 10_000));
  } finally {
    client.close();
  }
}

function enrol(volume: string): Program {
  return start(["initializer/main.ts"], "web", {
    COORDINATOR_HOST: ADDRESS,
    CONTRAST_TLS_CONFIG_DIR: join(directory, volume),
  });
}

test("pods with the image, and later with a newer one, are served under the same manifest", async () => {
  for (const guestSvn of [6, 7]) {
    await launch("web", { ...SIGNED, guestSvn });
    expect(await enrol(`volume-${guestSvn}`).exited).toBe(0);
    expect(existsSync(join(directory, `volume-${guestSvn}`, "certChain.pem"))).toBe(true);
  }
});

test.each([
  ["an older image", { ...SIGNED, guestSvn: 5 }, "guest_svn_too_low"],
  ["an image of another product", { ...SIGNED, guestSvn: 6, familyId: Buffer.alloc(16) }, "image_mismatch"],
  [
    "an image of an ID key without an author",
    { ...SIGNED, guestSvn: 6, authorKeyDigest: Buffer.alloc(48) },
    "image_mismatch",
  ],
  ["an image that nobody signed", undefined, "image_mismatch"],
])("a pod with %s gets nothing, and is told why", async (what, idBlock, code) => {
  await launch("web", idBlock);
  const volume = what.replaceAll(" ", "-");
  const initializer = enrol(volume);
  expect(await initializer.exited).toBe(3);
  expect(initializer.log.at(-1)).toMatchObject({ level: "fatal", code });
  expect(existsSync(join(directory, volume, "certChain.pem"))).toBe(false);
});
