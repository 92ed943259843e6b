import { readFileSync } from "node:fs";
import { UserAPI } from "../../api/userapi_pb.ts";
import { ChannelClient } from "../../channel/client.ts";
import { generateEcKey } from "../../pki/keys.ts";

/**
 * Sets a manifest from within a pod. Usage: node set-manifest.ts HOST:PORT MANIFEST POLICY...
 */
const [target = "", ...files] = process.argv.slice(2);
const [manifest = Buffer.alloc(0), ...policies] = files.map((file) => readFileSync(file));
const keys = await generateEcKey("P-256");
const client = new ChannelClient({ target, keys, handshakeMs: 10_000 });
await client.call(UserAPI.method.setManifest, { manifest, policies }, new Date(Date.now() + 10_000));
client.close();
