import type { TeeKind } from "./evidence.ts";
import { SNP } from "./snp/tee.ts";
import { TDX } from "./tdx/tee.ts";
import type { Tee } from "./tee.ts";

/** Every kind of TEE. */
export const TEES: { readonly [K in TeeKind]: Tee<K> } = { snp: SNP, tdx: TDX };

export const TEE_KINDS = Object.keys(TEES) as TeeKind[];
