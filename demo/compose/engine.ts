import { spawn } from "node:child_process";
import { once } from "node:events";
import { text } from "node:stream/consumers";
import { CodedError } from "../../runtime/errors.ts";

export type ComposeCode =
  /** No docker, no compose v2, or no engine that answers. */
  | "engine_missing"
  /** A port that is to be published is in use. */
  | "port_taken"
  /** The disk is full. */
  | "disk_full"
  /** Docker said no. */
  | "engine_failed"
  /** A container did not come up. */
  | "not_started";

export class ComposeError extends CodedError<ComposeCode> {}

/** One compose project on the engine that `docker` talks to. */
export class Compose {
  readonly #project: readonly string[];
  readonly #environment: Readonly<Record<string, string | undefined>>;

  /** @param environment of docker; it also has the variables of the file */
  constructor(file: string, environment: Readonly<Record<string, string | undefined>>) {
    this.#project = ["compose", "--file", file, "--ansi", "never"];
    this.#environment = environment;
  }

  /** @throws ComposeError engine_missing */
  async requireEngine(): Promise<void> {
    const hint = "on Debian 12: images/install-engine.sh, then run it again as root, or start dockerd";
    if ((await this.#docker(["version"])).code === 127) {
      throw new ComposeError("engine_missing", "docker is not installed", { hint });
    }
    const { code, errors } = await this.#docker(["info", "--format", "{{.ServerVersion}}"]);
    if (code !== 0) {
      throw new ComposeError("engine_missing", "the Docker engine does not answer", { got: lastLine(errors), hint });
    }
    if ((await this.#docker(["compose", "version", "--short"])).code !== 0) {
      throw new ComposeError("engine_missing", "docker has no compose v2", { hint });
    }
  }

  /**
   * Starts services, and what they depend on, and waits until they are healthy.
   *
   * @param stop ends it, or keeps it from beginning
   * @throws ComposeError
   */
  async up(stop: AbortSignal, ...services: string[]): Promise<void> {
    stop.throwIfAborted();
    const { code, errors } = await this.#docker([...this.#project, "up", "--detach", "--wait", ...services], stop);
    if (code === 0) return;
    stop.throwIfAborted();
    const failed = await this.#failed();
    if (failed !== undefined) {
      const { service, line } = failed;
      throw new ComposeError("not_started", `${service} did not come up`, {
        got: line,
        hint: `docker compose logs ${service}`,
      });
    }
    throw this.#error("the deployment can't be started", errors);
  }

  /** Stops everything of the project and removes it: containers, networks, volumes. Nothing to remove is no error. */
  async down(): Promise<void> {
    await this.#call("the deployment can't be removed", [...this.#project, "down", "--volumes", "--timeout", "5"]);
  }

  async restart(service: string): Promise<void> {
    await this.#call("a container can't be restarted", [...this.#project, "restart", "--timeout", "10", service]);
  }

  /** As a host ends it: without asking. */
  async kill(service: string): Promise<void> {
    await this.#call("a container can't be killed", [...this.#project, "kill", "--signal", "KILL", service]);
  }

  /** @param archive images, as `docker save` writes them */
  async load(archive: string): Promise<void> {
    await this.#call("the images can't be loaded", ["load", "--quiet", "--input", archive]);
  }

  /** The address of a service on the project's network. */
  async address(service: string): Promise<string> {
    const id = await this.#call("a container is missing", [...this.#project, "ps", "--quiet", service]);
    const format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
    return this.#call("a container can't be looked at", ["inspect", "--format", format, id]);
  }

  /** Containers, networks and volumes of the project that are there, one a line. */
  async leftovers(): Promise<string> {
    const filter = ["--quiet", "--filter", "label=com.docker.compose.project=contrast-demo"];
    const lists = [
      ["ps", "--all"],
      ["network", "ls"],
      ["volume", "ls"],
    ].map((list) => this.#call("the engine can't be asked", [...list, ...filter]));
    return (await Promise.all(lists)).filter((list) => list !== "").join("\n");
  }

  async logs(service: string, lines: number): Promise<string> {
    return this.#call("the logs can't be read", [
      ...this.#project,
      "logs",
      "--no-log-prefix",
      "--tail",
      `${lines}`,
      service,
    ]);
  }

  /** A container that ended with an error or is not healthy, and the last thing it said. */
  async #failed(): Promise<{ service: string; line: string } | undefined> {
    const listed = await this.#docker([...this.#project, "ps", "--all", "--format", "json"]);
    for (const line of listed.output.split("\n").filter((text) => text.startsWith("{"))) {
      const { Service, State, Health, ExitCode } = JSON.parse(line) as Record<string, string | number>;
      const isBad = Health === "unhealthy" || (State === "exited" && ExitCode !== 0);
      if (isBad) return { service: String(Service), line: lastLine(await this.logs(String(Service), 1)) };
    }
    return undefined;
  }

  async #call(message: string, args: readonly string[]): Promise<string> {
    const { code, output, errors } = await this.#docker(args);
    if (code !== 0) throw this.#error(message, errors);
    return output.trim();
  }

  #error(message: string, errors: string): ComposeError {
    const got = lastLine(errors);
    if (/no space left on device/i.test(errors)) return new ComposeError("disk_full", "the disk is full", { got });
    if (/port is already allocated|address already in use/i.test(errors)) {
      const hint = "set CONTRAST_WEB_PORT or CONTRAST_COORDINATOR_PORT to a free one";
      return new ComposeError("port_taken", "a port is in use", { got, hint });
    }
    return new ComposeError("engine_failed", message, { got });
  }

  async #docker(
    args: readonly string[],
    stop?: AbortSignal,
  ): Promise<{ code: number; output: string; errors: string }> {
    const child = spawn("docker", args, { env: this.#environment, stdio: ["ignore", "pipe", "pipe"] });
    stop?.addEventListener("abort", () => child.kill(), { once: true });
    const closed = once(child, "close") as Promise<[number | null]>;
    const missing = new Promise<never>((_resolve, reject) => child.once("error", reject));
    try {
      const all = Promise.all([text(child.stdout), text(child.stderr), closed]);
      const [output, errors, [code]] = await Promise.race([all, missing]);
      return { code: code ?? -1, output, errors };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
      return { code: 127, output: "", errors: "" };
    }
  }
}

function lastLine(all: string): string {
  return all.trim().split("\n").at(-1)?.slice(0, 500) ?? "";
}
