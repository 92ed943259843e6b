/** What a TEE measured of the launch of a VM. */
export interface Launch {
  /** 48 bytes, hex. SNP: MEASUREMENT. TDX: SHA-384 of MRTD and RTMR 0 to 3. */
  readonly measurement: string;
  /** The host may read the VM's memory, or hand it to another host. */
  readonly exposed: boolean;
}
