import type * as Library from "../../verifier/verifier.ts";

/** What a test asks the library in each runtime: nothing here may be of one of them. */

export interface Asked {
  readonly url: string;
  /** Coordinators that lie, each in one way, by name. */
  readonly liars: Readonly<Record<string, string>>;
  readonly manifest: string;
}

/** The same in every runtime. */
export interface Outcome {
  readonly transition: string;
  readonly meshCa: string;
  readonly policies: readonly string[];
  readonly isFrozen: boolean;
  /** Of the statement that it made and verified. */
  readonly after: string;
  readonly refusals: Readonly<Record<string, string>>;
}

/** @param library the module, as the runtime imports it */
export async function ask(library: typeof Library, { url, liars, manifest }: Asked): Promise<Outcome> {
  const options = { allowInsecure: true, policies: true };
  const verified = await library.verifyDeployment({ url, manifest, ...options });
  const followed = await library.followDeployment(verified);
  const statement = await library.toStatement(followed);
  const kept = await library.verifyStatement(statement, { manifest, ...options });
  const refusals: Record<string, string> = {};
  const refusing = async (name: string, attempt: Promise<unknown>): Promise<void> => {
    try {
      await attempt;
      refusals[name] = "verified";
    } catch (error) {
      refusals[name] = error instanceof library.VerifyRefusal ? error.code : String(error);
    }
  };
  for (const [name, liar] of Object.entries(liars)) {
    await refusing(name, library.verifyDeployment({ url: liar, manifest, ...options }));
  }
  await refusing("another manifest", library.verifyDeployment({ url, manifest: `${manifest}\n`, ...options }));
  await refusing("nobody there", library.verifyDeployment({ url: "http://127.121.0.9:9", manifest, ...options }));
  const edited = statement.slice();
  edited[edited.length - 200] = (edited[edited.length - 200] ?? 0) ^ 1;
  await refusing("an edited statement", library.verifyStatement(edited, { manifest, ...options }));
  return {
    transition: verified.transition,
    meshCa: verified.meshCa.keySha256,
    policies: Object.keys(verified.policies).toSorted(),
    isFrozen: Object.isFrozen(verified) && Object.isFrozen(verified.history),
    after: kept.after.time,
    refusals,
  };
}
