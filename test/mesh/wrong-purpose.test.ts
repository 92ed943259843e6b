import { beforeAll, expect, test } from "vitest";
import { createMesh, type Mesh } from "../../pki/test-mesh.ts";
import { refusedClient, refusedUpstream } from "./refused-peers.ts";

const SUBNET = "127.83.9";

let mesh: Mesh;
beforeAll(async () => void (mesh = await createMesh()));

test("a client whose certificate is for servers only is refused, and the application never hears of it", async () => {
  const peer = await mesh.issue({ usages: ["server"] });
  const lines = await refusedClient({ mesh, peer, subnet: SUBNET });
  expect(lines).toMatchObject([{ code: "client_certificate_untrusted", got: "INVALID_PURPOSE" }]);
});

test("an upstream whose certificate is for clients only is refused with a reset, and gets nothing", async () => {
  const peer = await mesh.issue({ usages: ["client"] });
  const lines = await refusedUpstream({ mesh, peer, subnet: SUBNET });
  expect(lines).toMatchObject([{ code: "upstream_untrusted", got: "INVALID_PURPOSE" }]);
});
