export * from "../../store/record.ts";
