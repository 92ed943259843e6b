import type { ChipVendors } from "./vendors.ts";

const refuse = (): Promise<never> => Promise.reject(new Error("nobody is to be asked"));

/** For tests in which nothing may be asked for. */
export const NO_VENDORS: ChipVendors = {
  withVcek: async (evidence) => evidence,
  issuers: refuse,
  snpCrl: refuse,
  tdxCollateral: refuse,
};
