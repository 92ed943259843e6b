import { createPrivateKey, X509Certificate } from "node:crypto";
import { cpSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { UserAPI } from "../../api/userapi_pb.ts";
import { ChannelClient } from "../../channel/client.ts";
import { encodeAnnex } from "../../manifest/annex.ts";
import { keyPairOf } from "../../pki/keys.ts";
import { createCliDeployment } from "../cli-deployment.ts";
import { signAmendment } from "../owner-leave.ts";
import { checkOutPrevious, NO_PREVIOUS, PREVIOUS, type Release } from "./release.ts";

/** Programs of the previous release and of this checkout, as processes, with the software TEE. */

describe.skipIf(NO_PREVIOUS !== "")(`beside release ${PREVIOUS.version}${NO_PREVIOUS}`, { timeout: 300_000 }, () => {
  let previous: Release;
  beforeAll(() => {
    previous = checkOutPrevious();
  });
  afterAll(() => previous.remove());

  test.each([
    ["this Coordinator serves that CLI and that Initializer", "127.47.2.1", ["cli", "initializer"]],
    ["that Coordinator serves this CLI and this Initializer", "127.47.2.2", ["coordinator"]],
  ] as const)("%s", async (_, address, programs) => {
    const deployment = createCliDeployment(
      address,
      Object.fromEntries(programs.map((program) => [program, previous.root])),
    );
    const { contrast, result, generate, read, editManifest, startCoordinator, stop, enroll } = deployment;
    try {
      expect(await generate()).toMatchObject({ code: 0 });
      let coordinator = await startCoordinator("state");
      await result("set");
      expect(await result("verify")).toMatchObject({ generation: 1 });
      const { chain, secret } = await enroll("volume");
      expect(new X509Certificate(readFileSync(chain)).subjectAltName).toContain("web");

      editManifest((manifest) => (manifest["CertificateLifetime"] = "48h"));
      await result("set");
      expect(await result("verify")).toMatchObject({ generation: 2 });

      if (!programs.some((program) => program === "cli")) {
        // That Coordinator knows no annex.
        const value = ["--from-file", join(deployment.directory, "workspace/manifest.json")];
        const told = { code: 4, stderr: expect.stringContaining("upgrade that first") as string };
        expect(await contrast("secret", "set", "db", "--for", "web", ...value)).toMatchObject(told);
        expect(await contrast("volume", "allow-format", "data", "--for", "web")).toMatchObject(told);
        expect(await result("secret", "list")).toMatchObject({ secrets: [] });
      }

      await stop(coordinator);
      coordinator = await startCoordinator("state");
      expect(await contrast("verify")).toMatchObject({ code: 5 });
      await result("recover");
      expect(await result("verify")).toMatchObject({ generation: 2 });
      expect((await enroll("another volume")).secret).toBe(secret);
      expect(new X509Certificate(read("mesh-ca.pem")).ca).toBe(true);
      await stop(coordinator);
    } finally {
      await deployment.remove();
    }
  });

  test("an upgrade: the Coordinator first, then the CLI and the Initializers", async () => {
    const releases: Record<string, string> = {
      cli: previous.root,
      coordinator: previous.root,
      initializer: previous.root,
    };
    const deployment = createCliDeployment("127.47.2.3", releases);
    const { result, generate, editManifest, startCoordinator, stop, enroll, directory } = deployment;
    try {
      expect(await generate()).toMatchObject({ code: 0 });
      let coordinator = await startCoordinator("state");
      await result("set");
      await result("verify");
      const { secret } = await enroll("before");
      await stop(coordinator);
      cpSync(join(directory, "state"), join(directory, "backup"), { recursive: true });

      delete releases["coordinator"];
      coordinator = await startCoordinator("state");
      await result("recover");
      expect((await enroll("meanwhile")).secret).toBe(secret);

      delete releases["cli"];
      delete releases["initializer"];
      expect(await result("verify")).toMatchObject({ generation: 1 });
      editManifest((manifest) => (manifest["CertificateLifetime"] = "48h"));
      await result("set");
      expect(await result("verify")).toMatchObject({ generation: 2 });
      expect((await enroll("after")).secret).toBe(secret);
      await stop(coordinator);
    } finally {
      await deployment.remove();
    }
  });

  test("an amended deployment is refused by that CLI and that Coordinator by a code, and serves that Initializer", async () => {
    const releases: Record<string, string> = {};
    const deployment = createCliDeployment("127.41.23.1", releases);
    const { contrast, result, generate, startCoordinator, stop, enroll, file } = deployment;
    try {
      expect(await generate()).toMatchObject({ code: 0 });
      let coordinator = await startCoordinator("state");
      await result("set");
      const { secret } = await enroll("before");
      const owner = keyPairOf(createPrivateKey(readFileSync(file("workload-owner.pem"))));
      const client = new ChannelClient({ target: "127.41.23.1:1313", keys: owner, handshakeMs: 10_000 });
      const volumes = new Map([["web", new Map([["data", { allowed: 1, used: 0 }]])]]);
      const amendment = await signAmendment(client, owner, encodeAnnex({ secrets: new Map(), volumes }));
      await client.call(UserAPI.method.amend, amendment, new Date(Date.now() + 20_000));
      client.close();

      Object.assign(releases, { cli: previous.root, initializer: previous.root });
      expect(await contrast("verify")).toMatchObject({
        code: 3,
        stderr: expect.stringMatching(/broken_history: .*version.*use the `contrast` of the Coordinator's version/s),
      });
      expect((await enroll("that Initializer")).secret).toBe(secret);
      await stop(coordinator);

      releases["coordinator"] = previous.root;
      await expect(startCoordinator("state")).rejects.toThrow("unknown_state_version");

      // Nothing of it is lost for this one.
      for (const program of ["cli", "coordinator", "initializer"]) delete releases[program];
      coordinator = await startCoordinator("state");
      await result("recover");
      expect((await enroll("after")).secret).toBe(secret);
      await stop(coordinator);
    } finally {
      await deployment.remove();
    }
  });
});
