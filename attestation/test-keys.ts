import { createPrivateKey, createPublicKey, generateKeyPair } from "node:crypto";
import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { type KeyPair, privateKeyPem } from "../pki/keys.ts";

/**
 * For tests: keys of RSA, which take a second to make. All test files of a checkout share them, and all runs, by way of
 * this folder. Nobody trusts them.
 */
const FOLDER = join(import.meta.dirname, "../node_modules/.cache/contrast-test-keys");

const generateKeys = promisify(generateKeyPair);
const known = new Map<string, Promise<KeyPair>>();

/** @param name the same key for the same name */
export function testRsaKey(modulusLength: number, name: string): Promise<KeyPair> {
  const file = `rsa-${modulusLength}-${name}.pem`;
  const key = known.get(file) ?? readOrMake(modulusLength, join(FOLDER, file));
  known.set(file, key);
  return key;
}

async function readOrMake(modulusLength: number, path: string): Promise<KeyPair> {
  try {
    const privateKey = createPrivateKey(await readFile(path));
    return { privateKey, publicKey: createPublicKey(privateKey) };
  } catch {
    const made = await generateKeys("rsa", { modulusLength });
    // A reader sees a whole file or none. Where nothing can be kept, the next file makes keys of its own.
    const temporary = `${path}.${process.pid}`;
    await mkdir(FOLDER, { recursive: true })
      .then(() => writeFile(temporary, privateKeyPem(made.privateKey), { mode: 0o600 }))
      .then(() => rename(temporary, path))
      .catch(() => undefined);
    return made;
  }
}
