/** The root file system of a guest image, in a file of its own. Paths are absolute, without links on the way. */
export interface RootFileSystem {
  readonly type: "ext4" | "erofs";
  /** Undefined where there is nothing. */
  stat(path: string): Promise<Entry | undefined>;
  /** The contents of a file. */
  read(path: string): Promise<Buffer>;
  /** Where a symbolic link leads, as it stands there. */
  readLink(path: string): Promise<string>;
  /** The names in a folder; none where there is no folder. */
  list(path: string): Promise<readonly string[]>;
  /** Makes all changes. @throws GuestImageError filesystem_full, filesystem_damaged, filesystem_unknown */
  apply(changes: Changes): Promise<void>;
}

export interface Entry {
  readonly kind: "file" | "folder" | "link" | "other";
  readonly isExecutable: boolean;
}

/** In this order. Everything that is added belongs to root. */
export interface Changes {
  /** Files and links that go. */
  readonly remove: readonly string[];
  /** Folders that are made, mode 0755; their parents are there. */
  readonly folders: readonly string[];
  readonly files: readonly NewFile[];
}

export interface NewFile {
  readonly path: string;
  readonly mode: 0o644 | 0o755;
  readonly content: Buffer;
}
