import { type Command, InvalidArgumentError } from "commander";
import { NO_PROXY, PROXY_URL, REGISTRY_PLACE, type RegistryMirror } from "../../manifest/guest-pull.ts";
import { collect } from "../options.ts";

/** What guests are told about pulling images. The host reads it, so that no value has room for a credential. */
export function addGuestOptions(command: Command): Command {
  return command
    .option("--guest-ca <file>", "CAs that guests trust when they pull images, PEM (repeatable)", collect)
    .option(
      "--guest-registry-mirror <from=to>",
      "where guests look for a registry's images first (repeatable)",
      collectMirror,
    )
    .option("--guest-https-proxy <url>", "HTTP proxy by which guests pull images", matching(PROXY_URL, PROXY))
    .option("--guest-no-proxy <hosts>", "hosts that guests ask without it, with commas", matching(NO_PROXY, HOSTS));
}

const PROXY = "http://HOST:PORT without user name, password and path";
const HOSTS = "names, addresses or networks with commas";

function matching(pattern: RegExp, want: string): (text: string) => string {
  return (text) => {
    if (pattern.test(text)) return text;
    throw new InvalidArgumentError(`Want ${want}.`);
  };
}

/** @throws InvalidArgumentError */
export function parseRegistryMirror(text: string): RegistryMirror {
  const [registry = "", mirror = "", ...others] = text.split("=");
  if (others.length === 0 && REGISTRY_PLACE.test(registry) && REGISTRY_PLACE.test(mirror)) return { registry, mirror };
  throw new InvalidArgumentError("Want two places like docker.io=mirror.example:5000/docker.");
}

function collectMirror(text: string, before?: readonly string[]): readonly string[] {
  parseRegistryMirror(text);
  return collect(text, before);
}
