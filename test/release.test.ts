import { execFileSync, spawnSync } from "node:child_process";
import {
  appendFileSync,
  chmodSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { parseImageReplacements } from "../cli/generate/image-replacements.ts";
import { architecture } from "../images/architecture.ts";
import { IMAGES } from "../images/catalog.ts";
import { engineFile, enginePackage } from "../mesh-proxy/native/addon.ts";
import { createMesh, writeTlsConfig } from "../pki/test-mesh.ts";
import { sectionOf } from "../release/changelog.ts";
import { obstacles } from "../release/readiness.ts";
import { commitTime } from "../runtime/build-time.ts";
import { VERSION } from "../runtime/version.ts";
import { writeSmallImages } from "../images/test-images.ts";
import { createCliDeployment } from "./cli-deployment.ts";
import { type Program, startProgram } from "./programs.ts";

/** `npm run release` for real, but with small images in place of those that take minutes to build. */

const root = join(import.meta.dirname, "..");
const scratch = mkdtempSync(join(tmpdir(), "contrast-release-test-"));
const built = join(scratch, "images");
const first = join(scratch, "first");
afterAll(() => rmSync(scratch, { recursive: true }));

const NO_ENGINE = engineFile() === undefined ? " (skipped: there is no engine; npm run build:engine)" : "";

const REGISTRY = "registry.example.com:5000/team";

beforeAll(() => {
  writeSmallImages(built, engineFile());
  const { status, stderr } = release("--images", built, "--out", first, "--registry", REGISTRY);
  expect(status, stderr).toBe(0);
}, 180_000);

function release(...args: string[]): { status: number | null; stdout: string; stderr: string } {
  return spawnSync(process.execPath, [join(root, "release/program.ts"), "--dry-run", ...args], { encoding: "utf8" });
}

const PACKAGE = `contrast-mesh-contrast-${VERSION}`;
const { oci } = architecture(process.arch);
const packed = (cpu: string): string => `contrast-mesh-engine-linux-${cpu}-gnu-${VERSION}`;
const read = (name: string): string => readFileSync(join(first, name), "utf8");
const pinned = (name: string): string => {
  const images = JSON.parse(readFileSync(join(built, "images.json"), "utf8")) as {
    reference: string;
    digest: string;
  }[];
  const image = images.find(({ reference }) => reference === `contrast/${name}:${VERSION}`);
  return `${REGISTRY}/${image?.reference}@${image?.digest}`;
};

test("a release has images, packages, executables, bills of materials, resources, notes and the checksums of all of them", () => {
  const resources = new Set(readdirSync(join(root, "deploy")).filter((name) => /\.ya?ml$/.test(name)));
  expect(readdirSync(first).filter((name) => !resources.has(name))).toEqual([
    "SHA256SUMS",
    "contrast-linux-LICENSES.txt",
    `contrast-linux-${oci}`,
    `contrast-linux-${oci}.cdx.json`,
    `${PACKAGE}.cdx.json`,
    `${PACKAGE}.tgz`,
    ...["arm64", "x64"].flatMap((cpu) => [`${packed(cpu)}.cdx.json`, `${packed(cpu)}.tgz`]),
    "contrast-verify.html",
    "demo",
    "emojivoto-demo.yml",
    "helm",
    "image-replacements.txt",
    "images",
    "prometheus",
    "release-notes.md",
  ]);
  expect(readdirSync(join(first, "images"))).toEqual(
    IMAGES.flatMap(({ name }) => [name, `${name}.${oci}.cdx.json`]).toSorted(),
  );
  expect(read("release-notes.md")).toContain("### Added");
  execFileSync("sha256sum", ["--check", "--strict", "--quiet", "SHA256SUMS"], { cwd: first });
  const files = readdirSync(first, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  expect(read("SHA256SUMS").trim().split("\n")).toHaveLength(files.length - 1);
});

test("the same sources and images give the same bytes", () => {
  const second = join(scratch, "second");
  expect(release("--images", built, "--out", second, "--registry", REGISTRY).status).toBe(0);
  expect(readFileSync(join(second, "SHA256SUMS"), "utf8")).toBe(read("SHA256SUMS"));
}, 180_000);

test("image replacements name each image by its digest, and generate reads them", () => {
  const lines = IMAGES.map(({ name }) => `contrast/${name}:${VERSION}=${pinned(name)}`);
  expect(read("image-replacements.txt")).toBe(`${lines.join("\n")}\n`);
  expect(parseImageReplacements(read("image-replacements.txt"), "image-replacements.txt").size).toBe(IMAGES.length);
});

test("resources differ from those of the checkout in the digests alone", () => {
  for (const [folder, source] of [
    ["", "deploy"],
    ["demo", "demo/deployment"],
  ] as const) {
    const filesOf = (path: string): string[] =>
      readdirSync(path, { recursive: true, encoding: "utf8" })
        .filter((name) => statSync(join(path, name)).isFile())
        .filter((name) => name.startsWith("helm/") || (/\.ya?ml$/.test(name) && name !== "compose.yml"))
        .toSorted();
    const others = (name: string): boolean =>
      name !== "emojivoto-demo.yml" && (folder !== "" || !name.startsWith("demo/"));
    const files = filesOf(join(first, folder)).filter(others);
    expect(files).toEqual(filesOf(join(root, source)));
    for (const file of files) {
      const text = read(join(folder, file));
      expect(text, file).not.toMatch(/(?:i|I)mage: contrast\//);
      const unpinned = text.replaceAll(new RegExp(`mage: ${REGISTRY}/(\\S+)@sha256:[0-9a-f]{64}`, "g"), "mage: $1");
      expect(unpinned, file).toBe(readFileSync(join(root, source, file), "utf8"));
    }
  }
});

test("the npm package can be published, and runs where it is installed, with the images of the release", () => {
  const home = join(scratch, "home");
  mkdirSync(home);
  execFileSync("tar", ["-xzf", join(first, `${PACKAGE}.tgz`), "-C", home]);
  const manifest = JSON.parse(readFileSync(join(home, "package/package.json"), "utf8")) as Record<string, unknown>;
  expect(manifest).toMatchObject({
    name: "@contrast-mesh/contrast",
    version: VERSION,
    engines: { node: ">=20" },
    license: "Apache-2.0",
    bin: { contrast: "dist/cli/main.js" },
    publishConfig: { access: "public", provenance: true },
  });
  const optional = { [enginePackage("arm64")]: VERSION, [enginePackage("x64")]: VERSION };
  expect(manifest["optionalDependencies"]).toEqual(optional);
  for (const key of ["private", "scripts", "devDependencies"]) expect(manifest).not.toHaveProperty(key);
  expect(readdirSync(join(home, "package"))).toEqual(["CHANGELOG.md", "LICENSE", "README.md", "dist", "package.json"]);

  installProduction(join(home, "package"));
  const contrast = (...args: string[]): string =>
    execFileSync(process.execPath, [join(home, "package/dist/cli/main.js"), ...args], { encoding: "utf8", cwd: home });
  // Built twice from one commit, it is the same: the time is the commit's, and no program asks git for it.
  const builtAt = readFileSync(join(home, "package/dist/runtime/build-time.js"), "utf8");
  expect(builtAt).toContain(commitTime(root)?.toISOString() ?? "undefined");
  expect(builtAt).not.toContain("git");
  const version = contrast("--version");
  for (const name of ["coordinator", "initializer", "mesh-proxy"]) expect(version).toContain(`  ${pinned(name)}\n`);
  expect(execFileSync(join(first, `contrast-linux-${oci}`), ["--version"], { encoding: "utf8", env: {} })).toBe(
    version,
  );

  cpSync(join(first, "demo"), join(home, "deployment"), { recursive: true });
  const result = contrast(
    "generate",
    "--offline",
    "--reference-values",
    "metal-qemu-snp",
    "--output",
    "json",
    "deployment",
  );
  // All images are known or have a digest; only the demo's applications are nobody's to know.
  const { findings } = JSON.parse(result) as { findings: { code: string; got: string }[] };
  expect(findings.filter(({ code }) => code === "image_digest")).toEqual([]);
  expect(findings.filter(({ code, got }) => code === "image_unknown" && !got.includes("emojivoto"))).toEqual([]);
  const web = readFileSync(join(home, "deployment/web.yml"), "utf8");
  for (const name of ["initializer", "mesh-proxy", "emojivoto"]) expect(web).toContain(`image: ${pinned(name)}\n`);
}, 180_000);

test("the README's words install the one file, and no other than that of the release", () => {
  const [, section = ""] = readFileSync(join(root, "README.md"), "utf8").split("\n## Install the command line\n");
  const [text = ""] = section.split("\n## ");
  const lines = text.split("\n").flatMap((line) => (line.startsWith("    ") ? [line.trim()] : []));
  expect(lines).toHaveLength(2);
  const script = `set -e\n${lines.join("\n").replaceAll("linux-amd64", `linux-${oci}`)}\n`;
  const downloads = join(scratch, "downloads");
  const file = join(downloads, `contrast-linux-${oci}`);
  mkdirSync(downloads);
  for (const name of ["SHA256SUMS", basename(file)]) cpSync(join(first, name), join(downloads, name));
  // As a browser leaves it.
  chmodSync(file, 0o644);
  const env = { PATH: process.env["PATH"] ?? "", HOME: join(scratch, "person") };
  const install = (): number | null =>
    spawnSync("bash", ["-c", script], { cwd: downloads, env, stdio: "ignore" }).status;
  expect(install()).toBe(0);
  const installed = join(env.HOME, ".local/bin/contrast");
  expect(execFileSync(installed, ["--version"], { encoding: "utf8", env: {} })).toContain(`contrast ${VERSION}\n`);
  expect(statSync(installed).size / 1e6).toBeCloseTo(120, -1);
  appendFileSync(file, "x");
  expect(install()).toBe(1);
});

/** A program of somebody who has the package: it prints what it got as JSON. */
const USE = `import { verifyDeployment, VerifyRefusal, type VerifiedDeployment } from "@contrast-mesh/contrast/verifier";
import { meshFetch } from "@contrast-mesh/contrast/mesh-fetch";

const options = JSON.parse(process.argv[2] ?? "");
const verified: VerifiedDeployment = await verifyDeployment(options);
const fetch = meshFetch(verified);
const followed: VerifiedDeployment = await fetch.follow();
await fetch.close();
const refused = await verifyDeployment({ ...options, allowInsecure: false }).catch((error: unknown) => error);
const codeOf = (error: { code?: string }): string | undefined => error.code;
const hidden = [
  await import("@contrast-mesh/contrast" as string).catch(codeOf),
  await import("@contrast-mesh/contrast/dist/cli/program.js" as string).catch(codeOf),
];
const root: string = verified.rootCa.keySha256;
const isRefusal = refused instanceof VerifyRefusal;
console.log(JSON.stringify({ root, followed: followed.rootCa.keySha256, refused: { isRefusal }, hidden }));
`;

describe("the npm package, installed in an empty folder", () => {
  const home = join(scratch, "installed");
  const engine = join(home, "node_modules", enginePackage(process.arch));
  let certificates: string;

  beforeAll(async () => {
    mkdirSync(home);
    writeFileSync(join(home, "package.json"), JSON.stringify({ type: "module", ...installed }));
    writeFileSync(join(home, "package-lock.json"), JSON.stringify(lockOf(installed)));
    const args = ["install", "--prefer-offline", "--ignore-scripts", "--no-audit", "--no-fund"];
    execFileSync("npm", args, { cwd: home, stdio: ["ignore", "ignore", "pipe"] });
    const mesh = await createMesh();
    certificates = await writeTlsConfig(mesh, await mesh.issue());
  }, 180_000);
  afterAll(() => rmSync(certificates, { recursive: true }));

  /** As it would be installed by name: the packages of this release are in no registry. */
  const file = (name: string): string => `file:${join(first, name)}.tgz`;
  const installed = {
    dependencies: { "@contrast-mesh/contrast": file(PACKAGE) },
    overrides: Object.fromEntries(["arm64", "x64"].map((cpu) => [enginePackage(cpu), file(packed(cpu))])),
  };

  test("npx runs it by its name, from a folder with nothing else in it", async () => {
    const deployment = createCliDeployment("127.184.3.1");
    onTestFinished(async () => deployment.remove());
    expect((await deployment.generate()).code).toBe(0);
    await deployment.startCoordinator("state");
    expect((await deployment.contrast("set")).code).toBe(0);
    const npx = (...args: string[]): { status: number | null; stdout: string; stderr: string } =>
      spawnSync("npx", ["--offline", "@contrast-mesh/contrast", ...args], { cwd: home, encoding: "utf8" });
    const verified = npx("--insecure", "--workspace-dir", deployment.file("."), "verify", "-c", "127.184.3.1");
    expect(verified.status, verified.stderr).toBe(0);
    expect(verified.stdout).toMatch(/^result: /m);
    const refused = npx("verify", "-c", "127.184.3.1");
    expect(refused.stderr).toMatch(/^error: unreadable_file: /m);
    expect(refused.status).toBe(2);
  });

  test("its library verifies, and connects by what it has verified; TypeScript finds the types, and nobody the rest", async () => {
    const deployment = createCliDeployment("127.184.3.2");
    onTestFinished(async () => deployment.remove());
    expect((await deployment.generate()).code).toBe(0);
    await deployment.startCoordinator("state");
    expect((await deployment.contrast("set")).code).toBe(0);
    const options = { url: "http://127.184.3.2:1314", manifest: deployment.read("manifest.json"), allowInsecure: true };
    writeFileSync(join(home, "use.ts"), USE);
    const typescript = ["--module", "nodenext", "--strict", "--lib", "es2024,dom", "--types", "node", "use.ts"];
    expect(spawnSync(join(root, "node_modules/.bin/tsc"), typescript, { cwd: home, encoding: "utf8" })).toMatchObject({
      stdout: "",
      status: 0,
    });
    const used = spawnSync(process.execPath, ["use.js", JSON.stringify(options)], { cwd: home, encoding: "utf8" });
    expect(used.stderr).toBe("");
    const { root: rootCa, followed, refused, hidden } = JSON.parse(used.stdout) as Record<string, unknown>;
    expect(rootCa).toMatch(/^[0-9a-f]{64}$/);
    expect(followed).toBe(rootCa);
    expect(refused).toMatchObject({ isRefusal: true });
    expect(hidden).toEqual(["ERR_PACKAGE_PATH_NOT_EXPORTED", "ERR_PACKAGE_PATH_NOT_EXPORTED"]);
  });

  describe.skipIf(engineFile() === undefined)(`with the native engine${NO_ENGINE}`, () => {
    /** @param chosen what CONTRAST_ENGINE says, if anything */
    const start = (chosen?: "native"): Program => {
      const variables = {
        CONTRAST_TLS_CONFIG_DIR: certificates,
        CONTRAST_EGRESS_PROXY_CONFIG: "app#127.184.1.1:8080#127.184.1.2:8080#app",
        CONTRAST_LOG_FORMAT: "json",
        CONTRAST_ENGINE: "native",
      };
      const within = chosen === undefined ? ["env", "--unset=CONTRAST_ENGINE"] : [];
      return startProgram(
        [join(home, "node_modules/@contrast-mesh/contrast/dist/mesh-proxy/main.js")],
        variables,
        within,
      );
    };
    const readyWith = async (chosen?: "native"): Promise<unknown> => {
      const program = start(chosen);
      const { engine } = await program.line("ready");
      program.child.kill("SIGTERM");
      expect(await program.exited).toBe(0);
      return engine;
    };

    test("npm installs that of this machine alone, and the proxy takes it", async () => {
      expect(readdirSync(join(home, "node_modules/@contrast-mesh"))).toEqual(["contrast", basename(engine)]);
      expect(readFileSync(join(engine, "engine.node")).equals(readFileSync(engineFile() ?? ""))).toBe(true);
      expect(await readyWith()).toBe("native");
      expect(await readyWith("native")).toBe("native");
    });

    test("without it the proxy runs on streams, unless it is to be native: then it does not start", async () => {
      rmSync(engine, { recursive: true });
      expect(await readyWith()).toBe("streams");
      const refused = start("native");
      expect(await refused.exited).toBe(1);
      expect([...refused.text, ...refused.log.map((line) => JSON.stringify(line))].join("\n")).toMatch(
        /the native engine can't be loaded.*@contrast-mesh\/engine-linux-.*npm run build:engine/,
      );
    });
  });
});

/** What this checkout was installed with, which is in npm's cache. @param manifest of the folder to install in */
function lockOf(manifest: object): object {
  return { lockfileVersion: 3, packages: { "": manifest, ...Object.fromEntries(production()) } };
}

/** The entries of the lock file that `npm install --omit=dev` would fetch. */
function production(): [string, { readonly optional?: true }][] {
  const lock = JSON.parse(readFileSync(join(root, "package-lock.json"), "utf8")) as {
    packages: Record<string, { dev?: true; optional?: true }>;
  };
  return Object.entries(lock.packages).filter(([path, { dev }]) => path !== "" && dev === undefined);
}

/** What `npm install --omit=dev` would fetch, from the checkout. */
function installProduction(folder: string): void {
  for (const [path, { optional }] of production()) {
    if (optional === undefined) cpSync(join(root, path), join(folder, path), { recursive: true });
  }
}

test("the bill of the npm package lists what it brings along, each once, and nothing of development", () => {
  const { components } = JSON.parse(read(`${PACKAGE}.cdx.json`)) as { components: { name: string; purl: string }[] };
  const names = components.map(({ name }) => name);
  expect(names).toEqual(
    expect.arrayContaining(["@grpc/grpc-js", "koffi", "@koromix/koffi-linux-x64", enginePackage("x64"), "zod"]),
  );
  expect(names).not.toContain("vitest");
  expect(new Set(components.map(({ purl }) => purl)).size).toBe(components.length);
});

test("damaged images, images of another version and a folder with something in it are refused in one line", () => {
  const damaged = join(scratch, "damaged");
  cpSync(built, damaged, { recursive: true });
  const blobs = join(damaged, "coordinator/blobs/sha256");
  const [blob = ""] = readdirSync(blobs);
  writeFileSync(join(blobs, blob), "x");
  const other = join(scratch, "other-version");
  cpSync(built, other, { recursive: true });
  writeFileSync(join(other, "images.json"), read("../images/images.json").replaceAll(`:${VERSION}`, ":0.0.9"));

  const withoutEngines = join(scratch, "without-engines");
  cpSync(built, withoutEngines, { recursive: true });
  rmSync(join(withoutEngines, "engines"), { recursive: true });

  for (const [images, out, said] of [
    [
      damaged,
      "a",
      `unusable_images: the images can't be released (at ${join(scratch, "a/images/coordinator/blobs/sha256", blob)}, got a blob`,
    ],
    [other, "b", `got no contrast/initializer:${VERSION}`],
    [join(scratch, "nowhere"), "c", "got ENOENT"],
    [
      withoutEngines,
      "d",
      `the native engines can't be released (at ${join(withoutEngines, "engines")}, got no engine)`,
    ],
    [built, "first", "output_exists: the folder of the release is not empty"],
  ] as const) {
    const { status, stderr } = release("--images", images, "--out", join(scratch, out));
    expect(stderr).toContain(said);
    expect(stderr.trim().split("\n")).toHaveLength(1);
    expect(status).toBe(1);
  }
});

test("a wrong option, or a registry that makes no image reference, is a usage error", () => {
  for (const args of [
    ["--registri", "x"],
    ["--registry", "https://example.com"],
    ["--registry", "Example"],
  ]) {
    const { status, stderr } = release(...args);
    expect(stderr.trim().split("\n")).toHaveLength(1);
    expect(status).toBe(2);
  }
});

test("a checkout is released only if it is clean, new, described, and has a place to be pulled from", async () => {
  const checkout = join(scratch, "checkout");
  mkdirSync(checkout);
  const git = (...args: string[]): void => {
    const who = ["-c", "user.name=test", "-c", "user.email=test@example.com"];
    execFileSync("git", [...who, ...args], { cwd: checkout, stdio: "ignore" });
  };
  const write = (name: string, text: string): void => writeFileSync(join(checkout, name), text);
  const manifest = { name: "contrast", version: VERSION, repository: "github:example/contrast" };
  write("package.json", JSON.stringify(manifest));
  write("CHANGELOG.md", `# Changelog\n\n## [${VERSION}] - 2026-01-01\n\n- It begins.\n`);
  git("init");
  git("add", ".");
  git("commit", "-m", "x");
  expect(await obstacles(checkout, "ghcr.io/example")).toEqual([]);

  expect(await obstacles(withoutGit(checkout), "ghcr.io/example")).toEqual([
    expect.stringMatching(/^git knows nothing about this folder: build_failed: git failed .*not a git repository/),
  ]);

  git("tag", `v${VERSION}`);
  write("package.json", JSON.stringify({ name: "contrast", version: "0.0.9" }));
  write("CHANGELOG.md", "# Changelog\n\n## [Unreleased]\n\n- It begins.\n");
  expect(await obstacles(checkout, undefined)).toEqual([
    `package.json is version 0.0.9, runtime/version.ts ${VERSION}`,
    `CHANGELOG.md has no section [${VERSION}] with a date`,
    "the tree has 2 changes that are not committed",
    `the tag v${VERSION} is there already`,
    "package.json names no repository, which npm's provenance needs",
    "no --registry: nobody could pull the images",
  ]);
});

function withoutGit(checkout: string): string {
  const copy = `${checkout}-copy`;
  cpSync(checkout, copy, { recursive: true, filter: (path) => !path.endsWith(".git") });
  return copy;
}

test("the section of a version is found by its dated heading, and ends at the next one", () => {
  const changelog =
    "# C\n\n## [Unreleased]\n\n- c\n\n## [1.2.0] - 2026-02-01\n\n### Added\n\n- b\n\n## [1.0.0] - 2026-01-01\n\n- a\n\n[1.0.0]: https://example.com\n";
  expect(sectionOf(changelog, "1.2.0")).toBe("### Added\n\n- b");
  expect(sectionOf(changelog, "1.0.0")).toBe("- a");
  expect(sectionOf(changelog, "1.1.0")).toBeUndefined();
  expect(sectionOf("## [1.0.0]\n\n- a\n", "1.0.0")).toBeUndefined();
  expect(sectionOf("## [1.0.0] - 2026-01-01\n\n## [0.9.0] - 2026-01-01\n\n- a\n", "1.0.0")).toBeUndefined();
  expect(sectionOf(readFileSync(join(root, "CHANGELOG.md"), "utf8"), VERSION)).toContain("### Added");
});
