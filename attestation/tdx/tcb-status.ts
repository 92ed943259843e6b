/** What a manifest may accept beside UpToDate, by Intel's names; a platform that is revoked never passes. */
export const ALLOWABLE_TCB_STATUSES = [
  "SWHardeningNeeded",
  "ConfigurationNeeded",
  "ConfigurationAndSWHardeningNeeded",
  "OutOfDate",
  "OutOfDateConfigurationNeeded",
  "TDRelaunchAdvised",
  "TDRelaunchAdvisedConfigurationNeeded",
] as const;
