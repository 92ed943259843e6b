import { config } from "zod/mini";

/** Zod makes code of its schemas where it may. The policy of the page lets nobody, and the browser would report the attempt. */
config({ jitless: true });
