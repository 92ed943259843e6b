/**
 * The images of a release, by program: `<registry>/contrast/<program>:<version>@sha256:<64 hex>`. A checkout has none;
 * `npm run release` writes this module anew in the package that it makes.
 */
export const RELEASED_IMAGES: Readonly<Record<string, string>> = {};
