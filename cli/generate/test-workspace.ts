import { generateKeyPairSync, type KeyObject } from "node:crypto";
import { join } from "node:path";
import { parseAllDocuments } from "yaml";
import { ImageCache } from "../../registry/cache.ts";
import { digestLike } from "../../registry/digest.ts";
import { fullName, parseReference } from "../../registry/reference.ts";
import { type Resolution, resolveImages } from "../../registry/resolve.ts";
import { type Loose, testFiles, type TestFiles } from "../../kubernetes/test-files.ts";
import { generate, type GenerateOptions, type GenerateResult } from "./generate.ts";

/** A workspace with real files for the tests of `generate`, and resources to begin with. */

export const WEB = `# The web server.
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web   # its name
  namespace: "shop"
spec:
  replicas: 2

  template:
    metadata:
      annotations:
        contrast.edgeless.systems/servicemesh-ingress: web#8080#false
        contrast.edgeless.systems/servicemesh-egress: 'db#127.137.0.1:5432#db:5432'
      labels: {app: web}
    spec:
      runtimeClassName: contrast-cc
      initContainers:
      # Fills the cache.
      - name: cache
        image: cache:1
      containers:
      - name: web
        image: "web:1"
        command: [web, -v]
        env:
        - {name: MODE, value: fast}
        volumeMounts:
        - name: data
          mountPath: /data
      volumes:
      - name: data
        emptyDir: {}
---
# Nothing of this changes:   not even this.
apiVersion: v1
kind: Service
metadata: {name:   web}
spec:
    ports: [ {port: 80} ]   # odd
`;

export const COORDINATOR = `apiVersion: apps/v1
kind: StatefulSet
metadata:
  name: coordinator
spec:
  template:
    metadata:
      annotations:
        contrast.edgeless.systems/pod-role: coordinator
    spec:
      runtimeClassName: contrast-cc
      containers:
        - name: coordinator
          image: contrast/coordinator:0.1.0
`;

export const RSA = generateKeyPairSync("rsa", { modulusLength: 2048 });
export const EC = generateKeyPairSync("ec", { namedCurve: "P-384" });
const NOW = new Date("2026-06-01T00:00:00Z");
export const SNP_VALUES = {
  ProductName: "Milan",
  TrustedMeasurement: "11".repeat(48),
  MinimumTCB: { BootloaderVersion: 3, TEEVersion: 0, SNPVersion: 8, MicrocodeVersion: 115 },
};

export function pem(key: KeyObject): string {
  return key.export({ type: key.type === "private" ? "pkcs8" : "spki", format: "pem" });
}

export interface Workspace extends TestFiles {
  readonly talk: readonly string[];
  readonly run: (options?: Partial<GenerateOptions>) => Promise<GenerateResult>;
  readonly manifest: () => Promise<Loose>;
  readonly editManifest: (change: (manifest: Loose) => void) => Promise<void>;
}

/** A workspace with keys and these files in `app`. */
export async function workspace(files: Readonly<Record<string, string>>): Promise<Workspace> {
  const { dir, read, write } = await testFiles(files);
  const talk: string[] = [];
  const manifest = async (): Promise<unknown> => JSON.parse(await read("manifest.json")) as unknown;
  await write("workload-owner.pem", pem(EC.privateKey));
  await write("seedshare-owner.pem", pem(RSA.privateKey));
  return {
    dir,
    talk,
    read,
    write,
    manifest,
    run: (options) =>
      generate(
        {
          paths: [join(dir, "app")],
          workspaceDir: dir,
          referenceValues: ["metal-qemu-snp"],
          manifestPath: join(dir, "manifest.json"),
          ...options,
        },
        {
          now: () => NOW,
          talk: (line) => talk.push(line),
          warn: (line) => talk.push(line),
          resolveImages: (references) => resolveOffline(references, join(dir, "images")),
          input: fail,
        },
      ),
    editManifest: async (change) => {
      const value = await manifest();
      change(value);
      await write("manifest.json", JSON.stringify(value));
    },
  };
}

function fail(): never {
  throw new Error("nothing is asked for without a network");
}

async function resolveOffline(references: readonly string[], cacheDirectory: string): Promise<Resolution> {
  return resolveImages(references, {
    cacheDirectory,
    offline: true,
    network: { now: fail, random: fail, sleep: fail, environment: {} },
    credentials: fail,
    onWarning: fail,
  });
}

/**
 * Puts an image into the cache of a workspace.
 *
 * @returns its digest
 */
export async function cacheImage(dir: string, reference: string, config: object = {}): Promise<string> {
  const cache = new ImageCache(join(dir, "images"), fail);
  const store = async (value: object): Promise<{ digest: string; size: number }> => {
    const bytes = Buffer.from(JSON.stringify(value));
    const digest = digestLike("sha256", bytes);
    await cache.write(digest, bytes);
    return { digest, size: bytes.length };
  };
  const mediaType = "application/vnd.oci.image.manifest.v1+json";
  const configType = "application/vnd.oci.image.config.v1+json";
  const inner = await store({ architecture: "amd64", os: "linux", config });
  const { digest } = await store({
    schemaVersion: 2,
    mediaType,
    config: { mediaType: configType, ...inner },
    layers: [],
  });
  await cache.writeTag(fullName(parseReference(reference)), digest);
  return digest;
}

/** The pod templates' specs of a text, by the name of the workload. */
export function podSpecs(text: string): Loose {
  const documents = parseAllDocuments(text, { merge: true }).map((document) => document.toJS());
  const workloads = documents.filter((value) => value.spec?.template !== undefined);
  return Object.fromEntries(workloads.map((value) => [value.metadata.name, value.spec.template.spec]));
}

export function annotationOf(text: string): string {
  const [, annotation] = /cc_init_data: "?([A-Za-z0-9+/=]+)/.exec(text) ?? [];
  if (annotation === undefined) throw new Error("no annotation");
  return annotation;
}
