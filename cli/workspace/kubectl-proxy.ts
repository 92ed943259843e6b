import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { CliError } from "../context.ts";

/**
 * The API server as the user's kubectl reaches it: `kubectl proxy` on a socket that nobody else may open. So whatever logs
 * the user in, and into which cluster, is kubectl's matter.
 *
 * @param cluster the context of the kubeconfig; undefined: the current one
 * @param use is given the path of the socket, which is there until it returns
 * @throws CliError kubectl_failed
 */
export async function withKubectlProxy<T>(
  namespace: string,
  cluster: string | undefined,
  use: (socket: string) => Promise<T>,
): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), "contrast-"));
  const socket = join(folder, "api.sock");
  const args = ["proxy", `--unix-socket=${socket}`, `--accept-paths=^/api/v1/namespaces/${namespace}/configmaps(/|$)`];
  if (cluster !== undefined) args.push(`--context=${cluster}`);
  const kubectl = spawn("kubectl", args, { stdio: ["ignore", "pipe", "pipe"] });
  try {
    const errors: string[] = [];
    createInterface({ input: kubectl.stderr }).on("line", (line) => errors.push(line));
    const serving = once(createInterface({ input: kubectl.stdout }), "line").then(() => true);
    const ended = once(kubectl, "close").then(() => false);
    if (!(await Promise.race([serving, ended]))) throw failed(args, errors.at(-1) ?? "no word");
    return await use(socket);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).syscall?.startsWith("spawn") !== true) throw error;
    throw failed(args, (error as NodeJS.ErrnoException).code ?? "an error");
  } finally {
    kubectl.kill();
    await rm(folder, { recursive: true });
  }
}

function failed(args: readonly string[], got: string): CliError {
  return new CliError("kubectl_failed", "kubectl does not lead to the API server", {
    where: `kubectl ${args[0]}`,
    got,
    hint: "kubectl has to be in the PATH, and `kubectl get configmaps` has to work; or use --state-dir",
  });
}
