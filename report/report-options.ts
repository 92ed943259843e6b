/** What differs between the reports that are made of the same facts. */
export interface ReportOptions {
  /** Whether the files lie beside the report that `contrast verify` writes with it. */
  readonly files: boolean;
}
