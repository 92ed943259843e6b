import { setFlagsFromString } from "node:v8";

/**
 * V8's young generation keeps the MiB that it begins with. It would grow to 32 MiB for each event loop while connections
 * come in, because they live on, and never shrink while they are idle. What a message leaves behind is little. Loaded before
 * the rest of the program, for the memory is not given back. Where V8 does not know the flag, nothing changes.
 */
setFlagsFromString("--semi-space-growth-factor=1");
