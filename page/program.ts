import "./no-eval.ts";
import { sha256Hex } from "../bytes/sha256.ts";
import { settle } from "../crypto/node.ts";
import { startPage } from "./page.ts";
import { verifyQuestion } from "./verify.ts";

/** The page of `contrast verify --serve`: what the browser has comes in here. */

startPage({
  verify: (question, signal, say) =>
    verifyQuestion(question, {
      fetch: (url, init) => fetch(url, init),
      now: () => new Date(),
      random: (length) => crypto.getRandomValues(new Uint8Array(length)),
      signal,
      say,
    }),
  describe: async (bytes) => `${bytes.length} bytes, SHA-256 ${await settle(() => sha256Hex(bytes))}`,
});
