import type { FileHandle } from "node:fs/promises";
import { GuestImageError } from "../error.ts";
import type { Changes } from "../root-file-system.ts";
import * as layout from "./layout.ts";

/**
 * Edits an erofs in its file. Nothing that is there moves: what is new stands behind the end, and folders that change get
 * their contents there. So owners, attributes and compressed files stay as they are, whatever version of mkfs.erofs made
 * them.
 */
export async function editErofs(file: FileHandle, changes: Changes): Promise<void> {
  const editor = new Editor(file, layout.readSuperblock(await readAt(file, 0, layout.BLOCK)));
  await editor.apply(changes);
}

interface Folder {
  readonly inode: number;
  readonly old: layout.FolderInode | undefined;
  readonly parent: Folder | undefined;
  entries: layout.FolderEntry[];
  addedFolders: number;
}

class Editor {
  readonly #file: FileHandle;
  readonly #superblock: layout.Superblock;
  /** Folders that were looked at or made, by their paths. */
  readonly #folders = new Map<string, Folder>();
  readonly #changed = new Set<Folder>();
  /** Where new inodes stand: in blocks behind the end, before all contents. */
  #nextInode: number;
  #inodes = 0;

  constructor(file: FileHandle, superblock: layout.Superblock) {
    this.#file = file;
    this.#superblock = superblock;
    this.#nextInode = layout.inodeAt(this.#superblock, this.#superblock.blocks * layout.BLOCK);
  }

  async apply({ remove, folders, files }: Changes): Promise<void> {
    for (const path of remove) {
      const { folder, name } = await this.#parent(path);
      folder.entries = folder.entries.filter((entry) => !entry.name.equals(name));
      this.#changed.add(folder);
    }
    for (const path of folders) {
      const { folder, name } = await this.#parent(path);
      const made: Folder = {
        inode: this.#add(folder, name, layout.FOLDER),
        old: undefined,
        parent: folder,
        entries: [],
        addedFolders: 0,
      };
      folder.addedFolders++;
      this.#folders.set(path, made);
      this.#changed.add(made);
    }
    const inodes = [];
    for (const file of files) {
      const { folder, name } = await this.#parent(file.path);
      inodes.push({ file, inode: this.#add(folder, name, layout.FILE) });
    }
    let block = this.#superblock.blocks + Math.ceil((this.#inodes * 32) / layout.BLOCK);
    const place = async (content: Buffer): Promise<number> => {
      const at = block;
      block += Math.ceil(content.length / layout.BLOCK);
      await this.#write(content, at * layout.BLOCK);
      return at;
    };
    for (const { file, inode } of inodes) {
      const at = await place(file.content);
      await this.#writeInode(inode, layout.makeInode(0o100_000 | file.mode, file.content.length, at, 1, inode >>> 0));
    }
    for (const folder of this.#changed) {
      const contents = layout.writeEntries([...folder.entries, ...(folder.old === undefined ? dots(folder) : [])]);
      const at = await place(contents);
      const inode =
        folder.old?.moved(at, contents.length, folder.addedFolders) ??
        layout.makeInode(0o040_755, contents.length, at, 2 + folder.addedFolders, folder.inode >>> 0);
      await this.#writeInode(folder.inode, inode);
    }
    await this.#file.truncate(block * layout.BLOCK);
    // The superblock's checksum covers the inodes behind it.
    const first = await readAt(this.#file, 0, layout.BLOCK);
    await this.#write(layout.growSuperblock(first, block, this.#inodes), 0);
  }

  /** A new inode, and its entry in the folder. */
  #add(folder: Folder, name: Buffer, type: number): number {
    if (folder.entries.some((entry) => entry.name.equals(name))) {
      throw new GuestImageError("guest_unknown", "the image has a file where one is added", { got: name.toString() });
    }
    const inode = this.#nextInode++;
    this.#inodes++;
    folder.entries.push({ name, inode: BigInt(inode), type });
    this.#changed.add(folder);
    return inode;
  }

  async #parent(path: string): Promise<{ readonly folder: Folder; readonly name: Buffer }> {
    const at = path.lastIndexOf("/");
    return { folder: await this.#folder(path.slice(0, at)), name: Buffer.from(path.slice(at + 1)) };
  }

  /** @param path "" is the root */
  async #folder(path: string): Promise<Folder> {
    const known = this.#folders.get(path);
    if (known !== undefined) return known;
    let inode = this.#superblock.rootInode;
    let parent: Folder | undefined;
    if (path !== "") {
      const { folder, name } = await this.#parent(path);
      const entry = folder.entries.find((one) => one.name.equals(name));
      if (entry === undefined) throw new GuestImageError("guest_unknown", "the image lacks a folder", { where: path });
      inode = Number(entry.inode);
      parent = folder;
    }
    const offset = layout.inodeOffset(this.#superblock, inode);
    const old = new layout.FolderInode(await readAt(this.#file, offset, 64), path);
    const whole = await readAt(this.#file, old.block * layout.BLOCK, old.size - old.tail);
    const tail = await readAt(this.#file, offset + old.head, old.tail);
    const contents = Buffer.concat([whole, tail]);
    if (contents.length !== old.size) throw layout.damaged(`the contents of ${path}`);
    const folder: Folder = { inode, old, parent, entries: layout.readEntries(contents, path), addedFolders: 0 };
    this.#folders.set(path, folder);
    return folder;
  }

  #writeInode(inode: number, bytes: Buffer): Promise<void> {
    return this.#write(bytes, layout.inodeOffset(this.#superblock, inode));
  }

  async #write(bytes: Buffer, offset: number): Promise<void> {
    await this.#file.write(bytes, 0, bytes.length, offset);
  }
}

function dots({ inode, parent }: Folder): layout.FolderEntry[] {
  return [
    { name: Buffer.from("."), inode: BigInt(inode), type: layout.FOLDER },
    { name: Buffer.from(".."), inode: BigInt(parent?.inode ?? inode), type: layout.FOLDER },
  ];
}

/** Short where the file ends. @param length none of it more than a folder has, or the file is damaged */
export async function readAt(file: FileHandle, offset: number, length: number): Promise<Buffer> {
  if (!(length >= 0 && length <= 16 * 1024 * 1024)) throw layout.damaged(`a folder of ${length} bytes`);
  const bytes = Buffer.alloc(length);
  const { bytesRead } = await file.read(bytes, 0, length, offset);
  return bytes.subarray(0, bytesRead);
}
