import { sha256Hex } from "../bytes/sha256.ts";
import { annexOf, generationsOf } from "../manifest/generations.ts";
import type { Step } from "../manifest/history.ts";
import type { AuditInput } from "./facts.ts";

/** The history as the report has it: by manifests, and what changed without another one. */
export function historyInput(steps: readonly Step[]): Pick<AuditInput, "history" | "amendments" | "annex"> {
  const { manifests, amendments } = generationsOf(steps);
  const signers = ({ signatures }: Step["transition"]) => signatures.map(({ publicKey }) => sha256Hex(publicKey));
  const last = steps.at(-1);
  return {
    history: manifests.map(({ manifest, transition }) => {
      const { digest, rootKey } = transition;
      return { manifest, transition: digest, signedBy: signers(transition), rootKey };
    }),
    amendments: amendments.map(({ generation, kind, transition, before, after }) => {
      const { digest, annex = "" } = transition;
      return { generation, kind, transition: digest, annex, signedBy: signers(transition), before, after };
    }),
    annex: last?.annex && { digest: sha256Hex(last.annex), content: annexOf(last) },
  };
}
