export { parseRecord } from "../../store/parse-record.ts";
