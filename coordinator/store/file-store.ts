export * from "../../store/file-store.ts";
