import { copyFile, mkdir, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { architecture } from "../../images/architecture.ts";
import { bundle } from "../../images/bundle.ts";
import { engineFile, engineSource } from "../../images/engine/build.ts";
import { engineManifest } from "../../images/engine/package.ts";
import { enginePackage } from "../../mesh-proxy/native/addon.ts";
import { BACKEND, type Kind, PORT, type Programs, type Shipped } from "./kinds.ts";

/** The mesh proxy, as `npm run images` puts it into its image: in a few files, with the engine's package. */

/**
 * @param root of a checkout, with dist/, node_modules/ and the engine
 * @param directory for it, with a Node of its own: what it shares with the bench's Node would not count as its memory
 */
export async function ship(root: string, directory: string): Promise<Shipped> {
  const app = join(directory, "app");
  await bundle(root, ["mesh-proxy/main.js"], app);
  await writeFile(join(app, "package.json"), '{ "type": "module" }\n');
  const own = architecture(process.arch);
  const engine = join(app, "node_modules", enginePackage(own.npm));
  await mkdir(engine, { recursive: true });
  await writeFile(join(engine, "package.json"), JSON.stringify(engineManifest(own.npm, "")));
  await copyFile(engineFile(engineSource(root), own), join(engine, "engine.node"));
  // koffi, which the streams need, and its native code.
  for (const name of ["koffi", "@koromix"]) {
    await symlink(join(root, "node_modules", name), join(app, "node_modules", name));
  }
  const node = join(directory, "node");
  await copyFile(process.execPath, node);
  return { node, main: join(app, "mesh-proxy/main.js") };
}

const VERSION = [process.execPath, "--version"] as const;

export const OWN: readonly Kind[] = [
  { name: "mesh-proxy", version: VERSION, programs: meshProxy("native") },
  // What a machine with Node alone has.
  { name: "mesh-proxy, streams", version: VERSION, programs: meshProxy("streams") },
  ...[1, 2, 4].map((threads) => ({
    name: `mesh-proxy, ${threads} thread${threads === 1 ? "" : "s"}`,
    version: VERSION,
    threads,
    programs: meshProxy("native", threads),
  })),
];

/** Another checkout. */
export async function shippedBy(root: string, directory: string): Promise<Kind> {
  await mkdir(directory);
  const shipped = await ship(root, directory);
  const programs: Programs = async (addresses, paths, options) =>
    meshProxy("native")(addresses, { ...paths, shipped }, options);
  return { name: root, version: VERSION, programs };
}

function meshProxy(engine: "native" | "streams", threads?: number): Programs {
  return async ({ egress, upstream, ingress }, { folder, shipped }, { isResuming, name = "server" }) => {
    const changed = { ...(isResuming ? {} : { resumes: false }), ...(threads === undefined ? {} : { threads }) };
    const isChanged = Object.keys(changed).length > 0;
    const preload = isChanged ? ["--import", join(import.meta.dirname, "changed-engine.ts")] : [];
    const command = [shipped.node, ...preload, shipped.main] as const;
    const common = {
      CONTRAST_LOG_LEVEL: "error",
      CONTRAST_LOG_FORMAT: "json",
      CONTRAST_ENGINE: engine,
      ...(isChanged ? { BENCH_ENGINE_SETTINGS: JSON.stringify(changed) } : {}),
    };
    // All connections of a run come from one address.
    const most = "100000";
    return [
      {
        command: [...command],
        environment: {
          ...common,
          CONTRAST_TLS_CONFIG_DIR: join(folder, "client"),
          CONTRAST_EGRESS_PROXY_CONFIG: `app#${egress}:${PORT}#${upstream}:${PORT}#${name}`,
          CONTRAST_MAX_EGRESS_CONNECTIONS: most,
        },
      },
      {
        command: [...command],
        environment: {
          ...common,
          CONTRAST_TLS_CONFIG_DIR: join(folder, "server"),
          CONTRAST_INGRESS_PROXY_CONFIG: "",
          CONTRAST_INGRESS_MODE: "bind",
          CONTRAST_INGRESS_BIND: ingress,
          CONTRAST_INGRESS_TARGET: BACKEND,
          CONTRAST_INGRESS_PORTS: String(PORT),
          CONTRAST_MAX_INGRESS_CONNECTIONS: most,
          CONTRAST_MAX_INGRESS_CONNECTIONS_PER_SOURCE: most,
        },
      },
    ];
  };
}
