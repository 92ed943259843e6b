import { join } from "node:path";
import { parseArgs } from "node:util";
import { fromHex } from "../../bytes/hex.ts";
import { CodedError, describeError } from "../../runtime/errors.ts";
import { buildCheck } from "./check-program.ts";
import { GuestImageError } from "./error.ts";
import { SUPPORTED } from "./kata.ts";
import { DESCRIPTION, IMAGE, KERNEL_PARAMS, REFERENCE, makeGuestImage } from "./make.ts";
import { parseKernelVerityParams } from "./verity.ts";

/** `npm run guest-image`: makes a hardened guest image out of Kata's. */

const HELP = `npm run guest-image -- --image kata-containers-confidential.img --out <folder> [options]

Makes a guest image whose agent refuses everything without initdata, and starts only with initdata that the CPU reports.
Writes ${IMAGE}, ${DESCRIPTION} and ${REFERENCE} into the folder, which must not be there. It takes Kata ${SUPPORTED}.
It needs e2fsprogs or erofs-utils, whichever file system the image has, and cargo. It needs no root.

  --verity <params>          refuse an image with another hash tree: kernel_verity_params of Kata's configuration
  --salt <hex>               of the new hash tree, 32 bytes (default: made from the contents)
  --kernel-params <params>   that come behind Kata's (default: ${KERNEL_PARAMS})
  --kata-version <version>   where the image does not name its version
`;

const stop = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => stop.abort());

process.exitCode = await main();

async function main(): Promise<number> {
  try {
    const { values } = parseArgs({
      options: {
        image: { type: "string" },
        out: { type: "string" },
        verity: { type: "string" },
        salt: { type: "string" },
        "kata-version": { type: "string" },
        "kernel-params": { type: "string" },
        help: { type: "boolean", default: false },
      },
    });
    if (values.help) {
      process.stdout.write(HELP);
      return 0;
    }
    const { image, out } = values;
    if (image === undefined || out === undefined) throw new Error(`--image and --out are needed; ${HELP}`);
    const verity = values.verity === undefined ? undefined : parseKernelVerityParams(values.verity);
    const salt = values.salt === undefined ? undefined : fromHex(values.salt, 32);
    if (values.salt !== undefined && salt === undefined) {
      throw new GuestImageError("bad_option", "this is no salt", { where: "--salt", want: "64 hexadecimal digits" });
    }
    const talk = (line: string): void => void process.stderr.write(`${line}\n`);
    const cache = join(import.meta.dirname, "../../node_modules/.cache/guest-check");
    const check = (): ReturnType<typeof buildCheck> => buildCheck(cache, stop.signal);
    const { "kata-version": kataVersion, "kernel-params": kernelParams } = values;
    const options = { image, out, check, verity, salt, kataVersion, kernelParams, stop: stop.signal, talk };
    const { description, reference } = await makeGuestImage(options);
    process.stdout.write(`${JSON.stringify({ ...description, ...reference }, undefined, 2)}\n`);
    return 0;
  } catch (error) {
    if (stop.signal.aborted) return 130;
    process.stderr.write(`guest-image: ${describeError(error)}\n`);
    return error instanceof CodedError ? 1 : 2;
  }
}
