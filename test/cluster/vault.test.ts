import { readFileSync } from "node:fs";
import { chmod, cp, mkdtemp, mkdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { buildahOf } from "../../cluster/images.ts";
import { REGISTRY } from "../../cluster/layout.ts";
import { HAS_OPENBAO, NO_OPENBAO, OPENBAO } from "../openbao.ts";
import { describeOnCluster, LAYOUT } from "./cluster.ts";
import { released, RUNNING, Shell } from "./deployment.ts";

/** docs/vault.md, from its first command to its last, and what it promises of recovery and rekey. */

const root = join(import.meta.dirname, "../..");
const NAMESPACE = "vault";
const IMAGE = "openbao/openbao:2.7.2";

/** The blocks of commands, in their order. */
const [deployment = "", set = "", init = "", restart = "", secret = "", read = ""] = Array.from(
  readFileSync(join(root, "docs/vault.md"), "utf8").matchAll(/^```sh\n(.*?)^```$/gms),
  ([, commands = ""]) => commands,
);

/** OpenBao with a shell, as the image of its makers has one. @returns its reference with a digest */
async function pushOpenBao(): Promise<string> {
  const buildah = buildahOf(LAYOUT);
  const folder = await mkdtemp(join(tmpdir(), "openbao-image-"));
  try {
    await mkdir(join(folder, "bin"));
    await mkdir(join(folder, "tmp"));
    // Not by mkdir, whose mode the umask cuts.
    await chmod(join(folder, "tmp"), 0o1777);
    await cp(OPENBAO, join(folder, "bin/bao"));
    await cp("/bin/busybox", join(folder, "bin/busybox"));
    for (const name of ["sh", "sleep", "sha256sum", "cat", "ls"]) await symlink("busybox", join(folder, "bin", name));
    const container = (await buildah("from", "scratch")).trim();
    await buildah("copy", "-q", container, folder, "/");
    await buildah("config", "--env", "PATH=/bin", container);
    await buildah("commit", "-q", "--rm", container, IMAGE);
    const digest = join(folder, "digest");
    await buildah("push", "-q", "--tls-verify=false", "--digestfile", digest, IMAGE, `docker://${REGISTRY}/${IMAGE}`);
    return `${REGISTRY}/${IMAGE}@${(await readFile(digest, "utf8")).trim()}`;
  } finally {
    await rm(folder, { recursive: true });
  }
}

if (!HAS_OPENBAO) test.skip(`cluster: OpenBao unseals itself: ${NO_OPENBAO}`);
else
  describeOnCluster("OpenBao unseals itself, and mesh certificates log in", () => {
    let shell: Shell;

    /** Types commands with the variables that earlier ones have set. */
    const type = async (commands: string): Promise<string> =>
      shell.run(`export PATH="${join(OPENBAO, "..")}:$PATH" HOME=/nonexistent PLATFORM=simulated
if [ -e .variables ]; then . ./.variables; fi
${commands}
declare -p coordinator vault BAO_ADDR BAO_TLS_SERVER_NAME BAO_CACERT BAO_TOKEN 2>/dev/null >.variables || true`);

    const unsealed = "until bao status >/dev/null; do sleep 1; done";

    beforeAll(async () => {
      shell = await Shell.open(NAMESPACE);
      const replacements = await readFile(released("image-replacements.txt"), "utf8");
      await shell.write("image-replacements.txt", `${replacements}${IMAGE}=${await pushOpenBao()}\n`);
      for (const name of ["vault.yml", "shop.yml"]) {
        await writeFile(join(shell.folder, name), readFileSync(join(root, "demo/vault", name)));
      }
    });

    afterAll(async () => shell.close());

    test("deploy, set, verify", async () => {
      expect(read).not.toBe("");
      await type(`kubectl apply -f ${released("runtime-simulated.yml")}
${deployment.replace("-f deployment/", "-f simulated-tee.json -f deployment/")}
kubectl wait --for=jsonpath='{.status.loadBalancer.ingress}' service/coordinator service/vault --timeout=60s
${RUNNING}
${set.replace(/^contrast set .*$/m, "for try in $(seq 30); do $& && break; sleep 1; done\nkubectl rollout status deployment/coordinator --timeout=120s")}`);
    });

    test("initialise, delete the pod: it is unsealed by itself", async () => {
      await type(init);
      await type(restart);
      expect(await type("bao status -format=json")).toMatch(/"sealed": false/);
    });

    test("a role by an extension of the mesh's certificates, and the secret is read by its pod", async () => {
      await type(secret);
      const log = async (): Promise<string> => shell.kubectl("logs", "deployment/shop", "-c", "shop", "--tail=20");
      await expect.poll(log, { timeout: 90_000, interval: 1000 }).toMatch(/^[0-9a-f]{64} /m);
      await type(read);
    });

    test("a pod of another id is not logged in", async () => {
      await type(`bao write auth/cert/certs/shop certificate=@verify/mesh-ca.pem token_policies=shop required_extensions=1.3.9901.2.4.2:other
kubectl rollout restart deployment/shop
kubectl rollout status deployment/shop --timeout=120s`);
      const log = async (): Promise<string> => shell.kubectl("logs", "deployment/shop", "-c", "shop");
      await expect
        .poll(log, { timeout: 60_000, interval: 1000 })
        .toContain("no chain matching all constraints could be found");
    });

    test("all Coordinators were lost: it waits sealed, and after the recovery it unseals itself", async () => {
      await type(`kubectl delete pod -l app.kubernetes.io/name=coordinator
kubectl wait --for=jsonpath='{.status.phase}'=Running pod -l app.kubernetes.io/name=coordinator --timeout=120s
kubectl delete pod vault-0 --wait=false
for try in $(seq 60); do contrast recover -c "\${coordinator}:1313" && break; sleep 1; done
kubectl rollout status deployment/coordinator --timeout=120s
contrast verify -c "\${coordinator}:1313"
${unsealed}
[ "$(bao kv get -field=password kv/shop)" = correct-horse ]`);
    });
  });
